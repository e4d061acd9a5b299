// Answers over HTTP: the JSON text, and which tensors follow it as bytes.
#include <cmath>
#include <limits>

#include "protocol/json_writer.h"
#include "protocol/protocol_test_support.h"

namespace fastserve {
namespace {

using testing::HasSubstr;

InferResponse ResponseOf(std::vector<Tensor> outputs) {
  InferResponse response;
  response.model_name = "model";
  response.model_version = 1;
  response.outputs = std::move(outputs);
  return response;
}

std::string Json(const InferRequest& request, const InferResponse& response) {
  WireMessage body;
  std::size_t json_size = 99;
  const Status status = BuildInferResponse(request, response, &body, &json_size);
  EXPECT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(json_size, 0U);
  EXPECT_EQ(body.size(), body.Flatten().size());
  return body.Flatten();
}

template <typename T>
std::string DataOf(DataType type, const std::vector<T>& values) {
  std::string json;
  const auto count = static_cast<std::int64_t>(values.size());
  EXPECT_TRUE(AppendJsonTensor(TensorOf("O", type, {count}, BytesOf(values)), &json).ok());
  return json;
}

TEST(JsonResponse, HasTritonsKeysInTritonsOrder) {
  InferRequest request;
  InferResponse response = ResponseOf(
      {TensorOf("OUT", DataType::kInt32, {1, 2}, BytesOf(std::vector<std::int32_t>{7, -8}))});
  EXPECT_EQ(Json(request, response),
            R"({"model_name":"model","model_version":"1","outputs":[)"
            R"({"name":"OUT","datatype":"INT32","shape":[1,2],"data":[7,-8]}]})");
  response.id = "a\"b";
  response.parameters = {
      {"b", false}, {"d", 0.5}, {"i", std::int64_t{-1}}, {"s", "x\n"}, {"u", std::uint64_t{~0ULL}}};
  response.outputs.clear();
  EXPECT_EQ(Json(request, response),
            R"({"id":"a\"b","model_name":"model","model_version":"1","parameters":)"
            R"({"b":false,"d":0.5,"i":-1,"s":"x\n","u":18446744073709551615},"outputs":[]})");
}

TEST(JsonResponse, EveryTypeIsWrittenExactly) {
  EXPECT_EQ(DataOf<std::uint8_t>(DataType::kBool, {1, 0, 2}), "[true,false,true]");
  EXPECT_EQ(DataOf<std::uint8_t>(DataType::kUint8, {0, 255}), "[0,255]");
  EXPECT_EQ(DataOf<std::int8_t>(DataType::kInt8, {-128, 127}), "[-128,127]");
  EXPECT_EQ(DataOf<std::uint16_t>(DataType::kUint16, {65535}), "[65535]");
  EXPECT_EQ(DataOf<std::int16_t>(DataType::kInt16, {-32768}), "[-32768]");
  EXPECT_EQ(DataOf<std::uint32_t>(DataType::kUint32, {4294967295U}), "[4294967295]");
  EXPECT_EQ(DataOf<std::int64_t>(DataType::kInt64, {INT64_MIN}), "[-9223372036854775808]");
  EXPECT_EQ(DataOf<std::uint64_t>(DataType::kUint64, {UINT64_MAX}), "[18446744073709551615]");
  EXPECT_EQ(DataOf<float>(DataType::kFp32, {0.1F, 1.0F, -0.0F, 1e20F}), "[0.1,1.0,-0.0,1e+20]");
  EXPECT_EQ(DataOf<double>(DataType::kFp64, {0.1, 1e-7, 1.25e30}), "[0.1,1e-07,1.25e+30]");
  EXPECT_EQ(DataOf<float>(DataType::kFp32, {NAN, INFINITY, -INFINITY}), "[NaN,Infinity,-Infinity]");
  EXPECT_EQ(DataOf<float>(DataType::kFp32, {}), "[]");
}

TEST(JsonResponse, FloatsReadBackAsTheSameFloats) {
  std::vector<float> values;
  for (std::uint32_t i = 0; i < 20000; ++i) {
    const std::uint32_t bits = i * 214748U + 17U;
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    if (std::isfinite(value)) values.push_back(value);
  }
  const std::string data = DataOf(DataType::kFp32, values);
  const Parsed parsed = ParseJson(OneInput(R"("shape":[)" + std::to_string(values.size()) +
                                           R"(],"datatype":"FP32","data":)" + data));
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(BytesOf(parsed.input().data), BytesOf(values));
}

TEST(JsonResponse, StringsAreEscaped) {
  std::string json;
  const std::string bytes =
      Serialized({"", "a\"\\/", std::string("\0\x1F", 2), "\b\f\n\r\t", "\xE2\x82\xAC\xFF"});
  ASSERT_TRUE(AppendJsonTensor(TensorOf("O", DataType::kBytes, {5}, bytes), &json).ok());
  EXPECT_EQ(json,
            "[\"\",\"a\\\"\\\\/\",\"\\u0000\\u001F\",\"\\b\\f\\n\\r\\t\",\"\xE2\x82\xAC\xFF\"]");
}

TEST(JsonResponse, BytesThatDoNotFitTheShapeAreAnError) {
  std::string json;
  for (const Tensor& tensor : {TensorOf("O", DataType::kInt32, {2}, "abcd"),
                               TensorOf("O", DataType::kBytes, {2}, Serialized({"a"})),
                               TensorOf("O", DataType::kBytes, {1}, Serialized({"a", "b"})),
                               TensorOf("O", DataType::kBytes, {1}, "\xFF\x00\x00"),
                               TensorOf("O", DataType::kBytes, {1}, std::string("\x05\0\0\0ab", 6)),
                               TensorOf("O", DataType::kInt8, {-1}, "")}) {
    const Status status = AppendJsonTensor(tensor, &json);
    EXPECT_EQ(status.code(), StatusCode::kInternal);
    EXPECT_THAT(status.message(),
                HasSubstr("output tensor shape does not match size of output for 'O'"));
  }
}

TEST(JsonResponse, HalfPrecisionMustBeBinary) {
  const InferRequest request;
  WireMessage body;
  std::size_t json_size = 0;
  for (const DataType type : {DataType::kFp16, DataType::kBf16}) {
    const Status status = BuildInferResponse(request, ResponseOf({TensorOf("O", type, {1}, "ab")}),
                                             &body, &json_size);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(
        status.message(),
        HasSubstr("data via JSON is not supported. Please use the binary data format for output"));
  }
}

TEST(BinaryResponse, TensorsFollowAsViewsInOrder) {
  InferRequest request;
  request.outputs = {{"A", 0, true}, {"B", 0, false}, {"C", 0, true}};
  const InferResponse response = ResponseOf({TensorOf("C", DataType::kInt8, {2}, "cc"),
                                             TensorOf("B", DataType::kInt8, {1}, "\x01"),
                                             TensorOf("A", DataType::kFp16, {1}, "aa")});
  WireMessage body;
  std::size_t json_size = 0;
  const std::uint64_t copied = CopiedBytes();
  ASSERT_TRUE(BuildInferResponse(request, response, &body, &json_size).ok());
  EXPECT_EQ(CopiedBytes(), copied);
  const std::string text = body.Flatten();
  EXPECT_EQ(text.substr(0, json_size),
            R"({"model_name":"model","model_version":"1","outputs":[)"
            R"({"name":"C","datatype":"INT8","shape":[2],"parameters":{"binary_data_size":2}},)"
            R"({"name":"B","datatype":"INT8","shape":[1],"data":[1]},)"
            R"({"name":"A","datatype":"FP16","shape":[1],"parameters":{"binary_data_size":2}}]})");
  EXPECT_EQ(text.substr(json_size), "ccaa");
  ASSERT_EQ(body.pieces.size(), 2U);
  EXPECT_EQ(body.pieces[0].tail.data, response.outputs[0].data.data);
}

TEST(BinaryResponse, UnlistedOutputsFollowTheDefault) {
  InferRequest request;
  request.binary_data_output = true;
  WireMessage body;
  std::size_t json_size = 0;
  ASSERT_TRUE(BuildInferResponse(request, ResponseOf({TensorOf("O", DataType::kInt8, {1}, "x")}),
                                 &body, &json_size)
                  .ok());
  EXPECT_EQ(body.Flatten().substr(json_size), "x");
  // No bytes follow: the whole body is JSON.
  ASSERT_TRUE(BuildInferResponse(request, ResponseOf({TensorOf("O", DataType::kInt8, {0}, "")}),
                                 &body, &json_size)
                  .ok());
  EXPECT_EQ(json_size, 0U);
}

TEST(ErrorJson, IsValidJsonWhateverTheMessageHolds) {
  EXPECT_EQ(ErrorJson("plain"), R"({"error":"plain"})");
  EXPECT_EQ(ErrorJson("a\"b\x01\xC3\xA9"), "{\"error\":\"a\\\"b\\u0001\xC3\xA9\"}");
  for (const char* invalid : {"x\xFF", "x\xC3", "x\xED\xA0\x80", "x\xC0\x80", "x\xF4\x90\x80\x80",
                              "x\x80", "x\xE0\x80\x80"}) {
    EXPECT_THAT(ErrorJson(invalid), testing::MatchesRegex(R"(\{"error":"x\?+"\})")) << invalid;
  }
}

}  // namespace
}  // namespace fastserve
