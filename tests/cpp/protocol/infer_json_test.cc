// Requests as JSON: what is read, and what is refused with which words.
#include <cmath>
#include <ctime>
#include <limits>

#include "protocol/protocol_test_support.h"

namespace fastserve {
namespace {

using testing::HasSubstr;

constexpr std::string_view kFp32 = R"("shape":[2],"datatype":"FP32",)";

TEST(JsonRequest, KeysComeInAnyOrder) {
  const char* members[] = {R"("shape":[1,2],"datatype":"INT32","data":[7,8])",
                           R"("data":[7,8],"shape":[1,2],"datatype":"INT32")",
                           R"("data":[[7,8]],"datatype":"INT32","shape":[1,2])",
                           R"("datatype":"INT32","data":[[7],[8]],"shape":[1,2])",
                           R"("shape":[1,2],"data":[7,8],"datatype":"INT32")"};
  for (const char* text : members) {
    const Parsed parsed = ParseJson(OneInput(text));
    ASSERT_TRUE(parsed.ok()) << text << ": " << parsed.message();
    EXPECT_EQ(BytesOf(parsed.input().data), BytesOf(std::vector<std::int32_t>{7, 8})) << text;
  }
}

TEST(JsonRequest, NameMayComeLast) {
  const Parsed parsed =
      ParseJson(R"({"inputs":[{"data":["x"],"datatype":"BYTES","shape":[1],"name":"LAST"}]})");
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(parsed.input().name, "LAST");
  EXPECT_EQ(BytesOf(parsed.input().data), Serialized({"x"}));
}

TEST(JsonRequest, StringsBeforeTheirDataTypeAreRead) {
  const Parsed parsed = ParseJson(
      OneInput(R"("data":[["a\n","\u0000"],["","\u20ac"]],"shape":[2,2],"datatype":"BYTES")"));
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(BytesOf(parsed.input().data),
            Serialized({"a\n", std::string(1, '\0'), "", "\xE2\x82\xAC"}));
}

TEST(JsonRequest, NumbersBeforeTheirDataTypeIncludeLiterals) {
  const Parsed parsed =
      ParseJson(OneInput(R"("data":[NaN,-Infinity, 1.5e3 , 0],"datatype":"FP64","shape":[4])"));
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  double values[4];
  std::memcpy(values, parsed.input().data.data, sizeof(values));
  EXPECT_TRUE(std::isnan(values[0]));
  EXPECT_EQ(values[1], -std::numeric_limits<double>::infinity());
  EXPECT_EQ(values[2], 1500.0);
  EXPECT_EQ(values[3], 0.0);
}

TEST(JsonRequest, BoolsAreLiteralsOrZeroAndOne) {
  const Parsed parsed =
      ParseJson(OneInput(R"("shape":[4],"datatype":"BOOL","data":[true,false,1,0])"));
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(BytesOf(parsed.input().data), BytesOf(std::vector<std::uint8_t>{1, 0, 1, 0}));
}

TEST(JsonRequest, FloatsAreRoundedOnce) {
  // Read as a double first, this rounds to 1.0: it lies just above the middle of two floats.
  const Parsed parsed = ParseJson(OneInput(
      R"("shape":[3],"datatype":"FP32","data":[1.00000005960464477539062500001,1e40,1e-60])"));
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  float values[3];
  std::memcpy(values, parsed.input().data.data, sizeof(values));
  EXPECT_EQ(values[0], std::nextafter(1.0F, 2.0F));
  EXPECT_EQ(values[1], std::numeric_limits<float>::infinity());
  EXPECT_EQ(values[2], 0.0F);
}

TEST(JsonRequest, ScalarsAndEmptyTensorsAreTensors) {
  Parsed parsed = ParseJson(OneInput(R"("shape":[],"datatype":"FP32","data":[2.5])"));
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(BytesOf(parsed.input().data), BytesOf(std::vector<float>{2.5F}));
  for (const char* type : {"FP32", "BYTES", "INT64"}) {
    parsed =
        ParseJson(OneInput(R"("shape":[0,4],"data":[],"datatype":")" + std::string(type) + "\""));
    ASSERT_TRUE(parsed.ok()) << parsed.message();
    EXPECT_EQ(parsed.input().data.size, 0U);
  }
}

TEST(JsonRequest, UnknownKeysAreIgnoredWithTheirValues) {
  const Parsed parsed = ParseJson(
      R"({"x":{"inputs":[{"y":[[{}]]}],"z":"\u00e9"},"inputs":[{"extra":[1,{"data":2}],"name":"INPUT","shape":[1],)"
      R"("datatype":"INT8","parameters":{"p":{"q":[]},"r":null},"data":[-5],"more":null}],"n":null,"t":true})");
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(BytesOf(parsed.input().data), "\xFB");
}

TEST(JsonRequest, OutputsSayHowTheyAreWanted) {
  const Parsed parsed =
      ParseJson(R"({"outputs":[{"name":"A"},{"name":"B","parameters":{"binary_data":false}},)"
                R"({"parameters":{"binary_data":true,"classification":3,"other":[1]},"name":"C"}],)"
                R"("parameters":{"binary_data_output":true},"inputs":[]})");
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  ASSERT_EQ(parsed.request->outputs.size(), 3U);
  EXPECT_TRUE(
      parsed.request->outputs[0].binary_data);  // the default of the request, which came later
  EXPECT_FALSE(parsed.request->outputs[1].binary_data);
  EXPECT_TRUE(parsed.request->outputs[2].binary_data);
  EXPECT_EQ(parsed.request->outputs[2].classification_count, 3U);
}

TEST(JsonRequest, ParametersKeepTheirKindAndValue) {
  const Parsed parsed = ParseJson(
      R"({"inputs":[],"parameters":{"b":true,"i":-7,"u":18446744073709551615,"d":1.5,"s":"t","n":NaN,)"
      R"("sequence_id":"abc","sequence_end":true,"timeout":18446744073709551615,"triton_enable_empty_final_response":true}})");
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  const Parameters& parameters = parsed.request->parameters;
  EXPECT_EQ(parameters.size(), 6U);
  EXPECT_EQ(parameters.at("b"), Parameter(true));
  EXPECT_EQ(parameters.at("i"), Parameter(std::int64_t{-7}));
  EXPECT_EQ(parameters.at("u"), Parameter(std::uint64_t{18446744073709551615U}));
  EXPECT_EQ(parameters.at("d"), Parameter(1.5));
  EXPECT_EQ(parameters.at("s"), Parameter("t"));
  EXPECT_TRUE(std::isnan(std::get<double>(parameters.at("n"))));
  EXPECT_EQ(std::get<std::string>(parsed.request->sequence_id), "abc");
  EXPECT_TRUE(parsed.request->sequence_end);
  EXPECT_EQ(parsed.request->timeout_us, 18446744073709551615U);
  EXPECT_TRUE(parsed.request->enable_empty_final_response);
}

struct Refused {
  std::string json;
  std::string text;
};

class JsonRefusals : public testing::TestWithParam<Refused> {};

TEST_P(JsonRefusals, SayWhatIsWrong) {
  const Parsed parsed = ParseJson(GetParam().json);
  EXPECT_EQ(parsed.status.code(), StatusCode::kInvalidArgument) << GetParam().json;
  EXPECT_THAT(parsed.message(), HasSubstr(GetParam().text)) << GetParam().json;
}

std::string Fp32Data(std::string_view data) {
  return OneInput(std::string(kFp32) + R"("data":)" + std::string(data));
}

INSTANTIATE_TEST_SUITE_P(
    Syntax, JsonRefusals,
    testing::Values(Refused{"",
                            "failed to parse the request JSON buffer: The document is empty. at 0"},
                    Refused{"{", "failed to parse the request JSON buffer"},
                    Refused{"[]", "non-object as object"}, Refused{"5", "non-object as object"},
                    Refused{R"({"inputs":[]}x)", "root must not be followed"},
                    Refused{std::string("{\"inputs\":[]}\0\0", 15), "root must not be followed"},
                    Refused{R"({"inputs":[],})", "Missing a name for object member"},
                    Refused{Fp32Data("[1,2,]"), "Invalid value"}, Refused{Fp32Data("[01,2]"), "at"},
                    Refused{Fp32Data("[+1,2]"), "Invalid value"},
                    Refused{Fp32Data("[1.,2]"), "fraction"},
                    Refused{Fp32Data("[nan,2]"), "Invalid value"},
                    Refused{R"({"id":"\ud800","inputs":[]})", "surrogate"},
                    Refused{"{\"id\":\"a\nb\",\"inputs\":[]}", "failed to parse"}));

INSTANTIATE_TEST_SUITE_P(
    Structure, JsonRefusals,
    testing::Values(
        Refused{"{}",
                "Unable to parse 'inputs': attempt to access non-existing object member 'inputs'"},
        Refused{R"({"inputs":{}})",
                "Unable to parse 'inputs': attempt to access JSON non-array as array"},
        Refused{R"({"inputs":null})", "non-array as array"},
        Refused{R"({"inputs":[5]})", "non-object as object"},
        Refused{R"({"inputs":[[]]})", "non-object as object"},
        Refused{R"({"id":5,"inputs":[]})", "Unable to parse 'id'"},
        Refused{R"({"id":["x"],"inputs":[]})", "non-string as string"},
        Refused{"{\"id\":\"\xFF\",\"inputs\":[]}", "not valid UTF-8"},
        Refused{R"({"inputs":[],"inputs":[]})", "key 'inputs' is given twice"},
        Refused{Fp32Data(R"([1,2],"data":[1,2])"), "key 'data' is given twice"},
        Refused{R"({"inputs":[{"shape":[1],"datatype":"FP32","data":[1]}]})",
                "non-existing object member 'name'"},
        Refused{OneInput(R"("datatype":"FP32","data":[1])"), "member 'shape' of input 'INPUT'"},
        Refused{OneInput(R"("shape":[1],"data":[1])"), "member 'datatype' of input 'INPUT'"},
        Refused{OneInput(R"("shape":[1],"datatype":"FP32")"),
                "But no field is set for input 'INPUT'"},
        Refused{
            OneInput(
                R"("shape":[1],"datatype":"FP32","data":[1],"parameters":{"binary_data_size":4})"),
            "But set 'data' 'binary_data_size'"},
        Refused{OneInput(R"("shape":[1],"datatype":"FLOAT","data":[1])"),
                "invalid datatype for input INPUT: 'FLOAT'"},
        Refused{OneInput(R"("shape":[1],"datatype":"TYPE_FP32","data":[1])"), "invalid datatype"},
        Refused{OneInput(R"("shape":[-1],"datatype":"FP32","data":[1])"),
                "Unable to parse 'shape': attempt to access JSON non-unsigned-integer as "
                "unsigned-integer"},
        Refused{OneInput(R"("shape":[9223372036854775808],"datatype":"FP32","data":[1])"),
                "Unable to parse 'shape'"},
        Refused{OneInput(R"("shape":[1.0],"datatype":"FP32","data":[1])"),
                "Unable to parse 'shape'"},
        Refused{OneInput(R"("shape":["1"],"datatype":"FP32","data":[1])"),
                "Unable to parse 'shape'"},
        Refused{OneInput(R"("shape":[[1]],"datatype":"FP32","data":[1])"),
                "Unable to parse 'shape'"},
        Refused{R"({"inputs":[],"outputs":[{}]})", "member 'name' of an output"},
        Refused{R"({"inputs":[],"outputs":[{"name":"A","parameters":{"binary_data":1}}]})",
                "Unable to parse 'binary_data'"},
        Refused{R"({"inputs":[],"outputs":[{"name":"A","parameters":{"classification":-1}}]})",
                "'classification'"},
        Refused{
            R"({"inputs":[],"outputs":[{"name":"A","parameters":{"classification":4294967296}}]})",
            "'classification'"}));

INSTANTIATE_TEST_SUITE_P(
    Data, JsonRefusals,
    testing::Values(
        Refused{Fp32Data("[1]"),
                "Shape does not match true shape of 'data' field: expected 2 elements, got 1"},
        Refused{Fp32Data("[1,2,3]"), "expected 2 elements, got more"},
        Refused{Fp32Data("5"), "non-array as array"}, Refused{Fp32Data("{}"), "non-array as array"},
        Refused{Fp32Data("[1,{}]"), "null or an object"},
        Refused{Fp32Data("[1,null]"), "non-number as number"},
        Refused{Fp32Data(R"([1,"2"])"), "a string"},
        Refused{Fp32Data("[1,true]"), "non-number as number"},
        Refused{OneInput(R"("data":[1,2],"shape":[3],"datatype":"FP32")"),
                "expected 3 elements, got 2"},
        Refused{OneInput(R"("data":[1,"x"],"shape":[2],"datatype":"FP32")"),
                "strings and numbers are mixed"},
        Refused{OneInput(R"("data":["x",1],"shape":[2],"datatype":"BYTES")"),
                "non-string as string"},
        Refused{OneInput(R"("data":["x","y"],"shape":[2],"datatype":"FP32")"),
                "non-number as number"},
        Refused{OneInput(R"("data":[1,2],"shape":[2],"datatype":"BYTES")"), "non-string as string"},
        Refused{OneInput(R"("shape":[2],"datatype":"BYTES","data":["x"])"),
                "expected 2 elements, got 1"},
        Refused{OneInput(R"("shape":[1],"datatype":"UINT8","data":[256])"),
                "value '256' is out of range for UINT8"},
        Refused{OneInput(R"("shape":[1],"datatype":"UINT8","data":[-1])"),
                "non-unsigned-integer as unsigned-integer"},
        Refused{OneInput(R"("shape":[1],"datatype":"INT8","data":[128])"), "out of range for INT8"},
        Refused{OneInput(R"("shape":[1],"datatype":"INT64","data":[9223372036854775808])"),
                "out of range for INT64"},
        Refused{OneInput(R"("shape":[1],"datatype":"INT32","data":[1.5])"),
                "non-signed-integer as signed-integer"},
        Refused{OneInput(R"("shape":[1],"datatype":"INT32","data":[1e2])"),
                "non-signed-integer as signed-integer"},
        Refused{OneInput(R"("shape":[1],"datatype":"BOOL","data":[2])"), "non-boolean as boolean"},
        Refused{OneInput(R"("shape":[1],"datatype":"FP16","data":[1])"),
                "receiving FP16 data via JSON is not supported. Please use the binary data format "
                "for input INPUT"},
        Refused{OneInput(R"("shape":[1],"datatype":"BF16","data":[1])"),
                "receiving BF16 data via JSON is not supported"},
        Refused{OneInput(R"("data":[1],"shape":[1],"datatype":"FP16")"),
                "receiving FP16 data via JSON is not supported"}));

INSTANTIATE_TEST_SUITE_P(
    ReservedParameters, JsonRefusals,
    testing::Values(
        Refused{R"({"inputs":[],"parameters":{"headers":"x"}})",
                "is a reserved parameter and cannot be specified"},
        Refused{R"({"inputs":[],"parameters":{"triton_x":1}})",
                "is a reserved parameter and cannot be specified"},
        Refused{R"({"inputs":[],"parameters":{"triton_x":1}})", "reserved for Triton usage"},
        Refused{R"({"inputs":[],"parameters":{"triton_enable_empty_final_response":"v"}})",
                "reserved for Triton usage"},
        Refused{R"({"inputs":[],"parameters":{"sequence_id":-1}})",
                "Unable to parse 'sequence_id'"},
        Refused{R"({"inputs":[],"parameters":{"sequence_id":1.5}})",
                "Unable to parse 'sequence_id'"},
        Refused{R"({"inputs":[],"parameters":{"sequence_start":1}})",
                "Unable to parse 'sequence_start'"},
        Refused{R"({"inputs":[],"parameters":{"priority":"1"}})", "Unable to parse 'priority'"},
        Refused{R"({"inputs":[],"parameters":{"timeout":-1}})", "Unable to parse 'timeout'"},
        Refused{R"({"inputs":[],"parameters":{"binary_data_output":0}})",
                "Unable to parse 'binary_data_output'"},
        Refused{R"({"inputs":[],"parameters":{"x":null}})", "parameter 'x' has invalid type"},
        Refused{R"({"inputs":[],"parameters":{"x":[1]}})", "parameter 'x' has invalid type"},
        Refused{R"({"inputs":[],"parameters":[]})", "non-object as object"}));

TEST(JsonRequest, SharedMemoryIsNamedAsNotOffered) {
  const std::string parameters =
      R"("parameters":{"shared_memory_region":"R","shared_memory_byte_size":4})";
  Parsed parsed = ParseJson(OneInput(R"("shape":[1],"datatype":"FP32",)" + parameters));
  EXPECT_EQ(parsed.status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(parsed.message(), HasSubstr("input 'INPUT' asks for shared memory region 'R'"));
  parsed = ParseJson(R"({"inputs":[],"outputs":[{"name":"A",)" + parameters + "}]}");
  EXPECT_EQ(parsed.status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(parsed.message(), HasSubstr("output 'A'"));
}

TEST(JsonHardening, NestingHasALimit) {
  const auto nested = [](int depth) {
    return OneInput(R"("shape":[1],"datatype":"INT32","data":)" + std::string(depth, '[') + "5" +
                    std::string(depth, ']'));
  };
  EXPECT_TRUE(
      ParseJson(nested(97)).ok());  // the request, the inputs and the input are three levels
  const Parsed parsed = ParseJson(nested(98));
  EXPECT_EQ(parsed.message(), "JSON nesting depth exceeds maximum allowed limit (100)");
  for (const char* open : {"[", "{\"a\":", "{\"inputs\":["}) {
    std::string bomb;
    for (int i = 0; i < 250000; ++i) bomb += open;
    EXPECT_FALSE(ParseJson(bomb).ok()) << open;
    EXPECT_THAT(ParseJson("{\"x\":" + bomb).message(), HasSubstr("(100)")) << open;
  }
}

TEST(JsonHardening, DeclaredShapesAllocateNothing) {
  const char* shapes[] = {"[1000000000]", "[4611686018427387904]", "[1000000,1000000]"};
  for (const char* shape : shapes) {
    const std::string members =
        R"("shape":)" + std::string(shape) + R"(,"datatype":"FP64","data":[1])";
    const Parsed parsed = ParseJson(OneInput(members));
    EXPECT_THAT(parsed.message(),
                HasSubstr("exceeds the maximum allowed input size of 67108864 bytes"));
    EXPECT_THAT(ParseJson(OneInput(R"("datatype":"FP64","data":[1],"shape":)" + std::string(shape)))
                    .message(),
                HasSubstr("exceeds the maximum allowed input size"));
  }
  EXPECT_THAT(ParseJson(OneInput(R"("shape":[1000],"datatype":"FP64","data":[1])")).message(),
              HasSubstr("expected 1000"));
  EXPECT_THAT(ParseJson(OneInput(R"("shape":[4611686018427387904,4],"datatype":"FP64","data":[1])"))
                  .message(),
              HasSubstr("63 bits"));
}

TEST(JsonHardening, TextAndWhatItGrowsToAreLimited) {
  const std::string json = OneInput(R"("shape":[8],"datatype":"FP64","data":[0,0,0,0,0,0,0,0])");
  EXPECT_TRUE(ParseJson(json, {}, {.max_input_bytes = 128}).ok());
  EXPECT_EQ(ParseJson(json, {}, {.max_input_bytes = 60}).message(),
            "request JSON size of " + std::to_string(json.size()) +
                " bytes exceeds the maximum allowed input size of 60 bytes. Use "
                "--http-max-input-size to increase the limit.");
  const std::string zeros =
      R"({"name":"I","shape":[16],"datatype":"INT64","data":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]})";
  const std::string many = R"({"inputs":[)" + zeros + "," + zeros + "]}";
  EXPECT_TRUE(ParseJson(many, {}, {.max_input_bytes = 256}).ok());
  EXPECT_THAT(ParseJson(many, {}, {.max_input_bytes = 255}).message(),
              HasSubstr("request JSON size of 256 bytes exceeds"));
}

TEST(JsonHardening, MillionsOfTinyElementsTakeLinearTime) {
  const auto cpu_time = [](int count) {
    std::string json = R"({"inputs":[{"name":"I","datatype":"BYTES","data":[)";
    for (int i = 0; i < count; ++i) json += "\"\",";
    json.back() = ']';
    json += R"(,"shape":[)" + std::to_string(count) + "]}]}";
    const std::clock_t start = std::clock();
    const Parsed parsed = ParseJson(json);
    EXPECT_TRUE(parsed.ok()) << parsed.message();
    EXPECT_EQ(parsed.input().data.size, static_cast<std::size_t>(count) * 4);
    return std::clock() - start;
  };
  // Ten times the elements: a quadratic reader would take a hundred times as long.
  const std::clock_t few = cpu_time(200000);
  EXPECT_LT(cpu_time(2000000), 40 * few);
}

// --- binary tensors
// -----------------------------------------------------------------------------------------------

std::string BinaryInput(std::string_view name, std::string_view type, std::string_view shape,
                        std::string_view size) {
  return R"({"name":")" + std::string(name) + R"(","datatype":")" + std::string(type) +
         R"(","shape":)" + std::string(shape) + R"(,"parameters":{"binary_data_size":)" +
         std::string(size) + "}}";
}

TEST(BinaryTensors, FollowInTheOrderOfTheInputs) {
  const std::string json = R"({"inputs":[)" + BinaryInput("A", "INT8", "[3]", "3") +
                           R"(,{"name":"J","datatype":"INT8","shape":[1],"data":[9]},)" +
                           BinaryInput("B", "BYTES", "[1]", "6") + "," +
                           BinaryInput("C", "FP32", "[0]", "0") + "]}";
  const Parsed parsed = ParseJson(json, "abc" + Serialized({"xy"}));
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(BytesOf(parsed.input(0).data), "abc");
  EXPECT_EQ(BytesOf(parsed.input(1).data), "\x09");
  EXPECT_EQ(BytesOf(parsed.input(2).data), Serialized({"xy"}));
  EXPECT_EQ(parsed.input(3).data.size, 0U);
}

TEST(BinaryTensors, AlignedBytesAreNotCopied) {
  const std::string bytes = BytesOf(std::vector<float>{1, 2, 3, 4});
  std::string json = R"({"inputs":[)" + BinaryInput("A", "FP32", "[4]", "16") + "]}";
  for (const bool aligned : {true, false}) {
    while ((json.size() % 4 == 0) != aligned) json.push_back(' ');
    BufferPtr buffer = AllocateHostBuffer(json.size() + bytes.size());
    std::memcpy(buffer->data(), (json + bytes).data(), buffer->size());
    const std::uint64_t copied = CopiedBytes();
    InferRequest request;
    ASSERT_TRUE(ParseInferRequest(buffer, json.size(), {}, &request).ok());
    EXPECT_EQ(CopiedBytes() - copied, aligned ? 0U : 16U);
    EXPECT_EQ(request.inputs[0].data.data == buffer->data() + json.size(), aligned);
    EXPECT_EQ(BytesOf(request.inputs[0].data), bytes);
  }
}

TEST(BinaryTensors, SizesAreCheckedAgainstTheBody) {
  const auto one = [](std::string_view size, std::string_view binary) {
    return ParseJson(R"({"inputs":[)" + BinaryInput("A", "FP32", "[1]", size) + "]}", binary)
        .message();
  };
  EXPECT_EQ(one("4", "abcd"), "");
  EXPECT_THAT(
      one("4", "abc"),
      HasSubstr("unexpected size for input 'A', expecting 1 additional bytes for model 'model'"));
  EXPECT_THAT(one("18446744073709551615", "abcd"),
              HasSubstr("expecting 18446744073709551611 additional bytes"));
  EXPECT_THAT(one("4", "abcde"), HasSubstr("unexpected additional input data for model 'model'"));
  EXPECT_THAT(one("-4", "abcd"), HasSubstr("Unable to parse 'binary_data_size'"));
  EXPECT_THAT(one("4.0", "abcd"), HasSubstr("Unable to parse 'binary_data_size'"));
  EXPECT_THAT(one("\"4\"", "abcd"), HasSubstr("Unable to parse 'binary_data_size'"));
  EXPECT_THAT(ParseJson(OneInput(R"("shape":[1],"datatype":"INT8","data":[1])"), "rest").message(),
              HasSubstr("unexpected additional input data"));
}

TEST(BinaryTensors, HeaderLengthBeyondTheBodyIsRefused) {
  InferRequest request;
  const Status status = ParseInferRequest(BufferOf("{}"), 3, {}, &request);
  EXPECT_THAT(status.message(),
              HasSubstr("inference header size should be in range (0, 2), got: 3"));
}

}  // namespace
}  // namespace fastserve
