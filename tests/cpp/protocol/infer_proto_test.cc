// Requests in protobuf wire format, written here with protozero field by field.
#include <chrono>
#include <ctime>
#include <protozero/pbf_writer.hpp>

#include "inference/validation.h"
#include "protocol/protocol_test_support.h"

namespace fastserve {
namespace {

using protozero::pbf_writer;
using testing::HasSubstr;

std::string Message(const std::function<void(pbf_writer&)>& write) {
  std::string bytes;
  pbf_writer writer(bytes);
  write(writer);
  return bytes;
}

std::string Tensor1(const std::string& type, const std::vector<std::int64_t>& shape,
                    const std::function<void(pbf_writer&)>& write_contents = nullptr) {
  return Message([&](pbf_writer& writer) {
    writer.add_string(1, "INPUT");
    writer.add_string(2, type);
    writer.add_packed_int64(3, shape.begin(), shape.end());
    if (write_contents) writer.add_message(5, Message(write_contents));
  });
}

Parsed ParseInputs(const std::vector<std::string>& inputs,
                   const std::vector<std::string>& raw = {}) {
  return ParseProto(Message([&](pbf_writer& writer) {
    writer.add_string(1, "model");
    for (const std::string& input : inputs) writer.add_message(5, input);
    for (const std::string& bytes : raw) writer.add_bytes(7, bytes);
  }));
}

std::string Parameter1(const std::string& key,
                       const std::function<void(pbf_writer&)>& write_value) {
  return Message([&](pbf_writer& writer) {
    writer.add_string(1, key);
    writer.add_message(2, Message(write_value));
  });
}

Parsed ParseParameter(const std::string& key, const std::function<void(pbf_writer&)>& write_value) {
  return ParseProto(
      Message([&](pbf_writer& writer) { writer.add_message(4, Parameter1(key, write_value)); }));
}

TEST(ProtoRequest, FieldsComeInAnyOrderAndTheLastScalarHolds) {
  const Parsed parsed = ParseProto(Message([](pbf_writer& writer) {
    writer.add_bytes(7, "ab");
    writer.add_string(3, "first");
    writer.add_message(6, Message([](pbf_writer& output) { output.add_string(1, "OUT"); }));
    writer.add_message(5, Message([](pbf_writer& input) {
                         input.add_int64(3, 1);  // not packed
                         input.add_string(2, "INT8");
                         const std::int64_t packed[] = {2};
                         input.add_packed_int64(3, std::begin(packed), std::end(packed));
                         input.add_string(1, "INPUT");
                       }));
    writer.add_string(3, "second");
    writer.add_string(2, "12");
    writer.add_string(1, "model");
  }));
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(parsed.request->id, "second");
  EXPECT_EQ(parsed.request->model_name, "model");
  EXPECT_EQ(parsed.request->model_version, 12);
  EXPECT_EQ(Dims(parsed.input()), (std::vector<std::int64_t>{1, 2}));
  EXPECT_EQ(BytesOf(parsed.input().data), "ab");
  EXPECT_EQ(parsed.request->outputs.at(0).name, "OUT");
}

TEST(ProtoRequest, UnknownFieldsAndUnexpectedWireTypesAreSkipped) {
  const Parsed parsed = ParseProto(Message([](pbf_writer& writer) {
    writer.add_uint64(1000, 5);
    writer.add_fixed32(1, 7);  // model_name with another wire type
    writer.add_uint64(5, 7);   // inputs with another wire type
    writer.add_fixed64(99, 1);
    writer.add_string(98, "x");
    writer.add_string(1, "model");
  }));
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(parsed.request->model_name, "model");
  EXPECT_TRUE(parsed.request->inputs.empty());
}

TEST(ProtoRequest, ContentsMayBeUnpackedAndSplit) {
  const std::string first = Message([](pbf_writer& contents) {
    contents.add_int32(2, -1);
    const std::int32_t packed[] = {2, -3};
    contents.add_packed_int32(2, std::begin(packed), std::end(packed));
  });
  const std::string second = Message([](pbf_writer& contents) { contents.add_int32(2, 4); });
  const std::string input = Tensor1("INT16", {4}) + Message([&](pbf_writer& writer) {
                              writer.add_message(5, first);
                              writer.add_message(5, second);
                            });
  const Parsed parsed = ParseInputs({input});
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(BytesOf(parsed.input().data), BytesOf(std::vector<std::int16_t>{-1, 2, -3, 4}));
}

TEST(ProtoRequest, UnpackedFloatsAreRead) {
  const Parsed parsed = ParseInputs(
      {Tensor1("FP32", {2},
               [](pbf_writer& contents) {
                 contents.add_float(6, 1.5F);
                 contents.add_float(6, -2.5F);
               }),
       Tensor1("FP64", {1}, [](pbf_writer& contents) { contents.add_double(7, 0.1); })});
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(BytesOf(parsed.input(0).data), BytesOf(std::vector<float>{1.5F, -2.5F}));
  EXPECT_EQ(BytesOf(parsed.input(1).data), BytesOf(std::vector<double>{0.1}));
}

TEST(ProtoRequest, EmptyContentsAreAnEmptyTensor) {
  const Parsed parsed = ParseInputs({Tensor1("FP32", {0}, [](pbf_writer&) {})});
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(parsed.input().data.size, 0U);
}

TEST(ProtoRequest, AlignedRawContentsAreNotCopied) {
  const std::string bytes = BytesOf(std::vector<double>{1, 2});
  const std::string message = Message([&](pbf_writer& writer) {
    writer.add_message(5, Tensor1("FP64", {2}));
    writer.add_bytes(7, bytes);
  });
  const std::size_t offset = message.size() - bytes.size();
  EXPECT_EQ(FirstRawInputOffset(std::as_bytes(std::span(message.data(), offset))), offset);
  for (const std::size_t shift : {(8 - offset % 8) % 8, (9 - offset % 8) % 8}) {
    BufferPtr buffer = AllocateHostBuffer(shift + message.size());
    std::memcpy(buffer->data() + shift, message.data(), message.size());
    const bool aligned = (shift + offset) % 8 == 0;
    const std::uint64_t copied = CopiedBytes();
    InferRequest request;
    const BufferView view(buffer, buffer->data() + shift, message.size());
    ASSERT_TRUE(ParseModelInferRequest(view, &request).ok());
    EXPECT_EQ(CopiedBytes() - copied, aligned ? 0U : bytes.size());
    EXPECT_EQ(request.inputs[0].data.data == view.data + offset, aligned);
    EXPECT_EQ(BytesOf(request.inputs[0].data), bytes);
  }
}

TEST(ProtoRequest, FirstRawOffsetNeedsTheBeginningOnly) {
  const std::string head =
      Message([](pbf_writer& writer) { writer.add_message(5, Tensor1("INT8", {300})); });
  const std::string message =
      head + Message([](pbf_writer& writer) { writer.add_bytes(7, std::string(300, 'x')); });
  const auto offset_in = [](std::string_view text) {
    return FirstRawInputOffset(std::as_bytes(std::span(text)));
  };
  for (std::size_t size = 0; size < head.size() + 3; ++size)
    EXPECT_FALSE(offset_in(message.substr(0, size)).has_value());
  for (std::size_t size = head.size() + 3; size <= message.size(); ++size) {
    EXPECT_EQ(offset_in(message.substr(0, size)), head.size() + 3);
  }
  EXPECT_FALSE(offset_in(head).has_value());
  EXPECT_FALSE(offset_in(std::string(20, '\xFF')).has_value());
}

TEST(ProtoRequest, ParametersKeepTheirKindAndValue) {
  Parsed parsed = ParseParameter("p", [](pbf_writer& value) { value.add_bool(1, true); });
  EXPECT_EQ(parsed.request->parameters.at("p"), Parameter(true));
  parsed = ParseParameter("p", [](pbf_writer& value) { value.add_int64(2, -5); });
  EXPECT_EQ(parsed.request->parameters.at("p"), Parameter(std::int64_t{-5}));
  parsed = ParseParameter("p", [](pbf_writer& value) { value.add_string(3, "text"); });
  EXPECT_EQ(parsed.request->parameters.at("p"), Parameter("text"));
  parsed = ParseParameter("p", [](pbf_writer& value) { value.add_double(4, 0.5); });
  EXPECT_EQ(parsed.request->parameters.at("p"), Parameter(0.5));
  parsed = ParseParameter("p", [](pbf_writer& value) { value.add_uint64(5, ~0ULL); });
  EXPECT_EQ(parsed.request->parameters.at("p"), Parameter(std::uint64_t{~0ULL}));
  parsed = ParseParameter("sequence_id", [](pbf_writer& value) { value.add_int64(2, -1); });
  EXPECT_EQ(std::get<std::uint64_t>(parsed.request->sequence_id), ~0ULL);
  parsed = ParseParameter("sequence_id", [](pbf_writer& value) { value.add_string(3, "s"); });
  EXPECT_EQ(std::get<std::string>(parsed.request->sequence_id), "s");
  parsed = ParseParameter("priority", [](pbf_writer& value) { value.add_uint64(5, 9); });
  EXPECT_EQ(parsed.request->priority, 9U);
  parsed = ParseParameter("triton_enable_empty_final_response",
                          [](pbf_writer& value) { value.add_bool(1, true); });
  EXPECT_TRUE(parsed.request->enable_empty_final_response);
}

TEST(ProtoRefusals, ReservedParameters) {
  const auto text = [](const std::string& key, const std::function<void(pbf_writer&)>& write) {
    const Parsed parsed = ParseParameter(key, write);
    EXPECT_EQ(parsed.status.code(), StatusCode::kInvalidArgument) << key;
    return parsed.message();
  };
  const auto string_value = [](pbf_writer& value) { value.add_string(3, "x"); };
  const auto negative = [](pbf_writer& value) { value.add_int64(2, -1); };
  EXPECT_THAT(text("triton_x", string_value),
              HasSubstr("is a reserved parameter and cannot be specified"));
  EXPECT_THAT(text("headers", string_value),
              HasSubstr("is a reserved parameter and cannot be specified"));
  EXPECT_THAT(text("sequence_start", string_value),
              HasSubstr("invalid value type for 'sequence_start' parameter, expected bool_param."));
  EXPECT_THAT(text("priority", string_value), HasSubstr("expected int64_param or uint64_param."));
  EXPECT_THAT(text("priority", negative),
              HasSubstr("invalid value for 'priority', expected value >= 0."));
  EXPECT_THAT(text("timeout", negative),
              HasSubstr("invalid value for 'timeout', expected value >= 0."));
  EXPECT_THAT(text("sequence_id", [](pbf_writer& value) { value.add_double(4, 1); }),
              HasSubstr("expected int64_param or string_param."));
  EXPECT_THAT(text("p", [](pbf_writer&) {}), HasSubstr("invalid value type for 'p' parameter"));
}

TEST(ProtoRefusals, ModelVersionsThatAreNoNumbers) {
  const auto version = [](const std::string& text) {
    return ParseProto(Message([&](pbf_writer& writer) { writer.add_string(2, text); }));
  };
  EXPECT_EQ(version("").request->model_version, -1);
  EXPECT_EQ(version("0").request->model_version, 0);
  EXPECT_THAT(version("abc").message(),
              HasSubstr("failed to get model version from specified version string 'abc'"));
  EXPECT_THAT(version("1x").message(), HasSubstr("failed to get model version"));
  EXPECT_THAT(version("99999999999999999999").message(), HasSubstr("failed to get model version"));
  EXPECT_THAT(
      version("-1").message(),
      HasSubstr("invalid model version specified '-1' , version should be an integral value > 0"));
}

TEST(ProtoRefusals, DataThatDoesNotFitTheInput) {
  const auto ints = [](pbf_writer& contents) { contents.add_int32(2, 300); };
  const auto floats = [](pbf_writer& contents) { contents.add_float(6, 1); };
  EXPECT_THAT(ParseInputs({Tensor1("INT32", {1}, ints)}, {"abcd"}).message(),
              HasSubstr("contents field must not be specified when using raw_input_contents for "
                        "'INPUT' for model 'model'"));
  EXPECT_THAT(
      ParseInputs({Tensor1("INT32", {1})}).message(),
      HasSubstr("unable to find data for input tensor 'INPUT' for model 'model' in request."));
  EXPECT_THAT(ParseInputs({Tensor1("INT8", {1}), Tensor1("INT8", {1})}, {"a"}).message(),
              HasSubstr("unable to find data"));
  EXPECT_THAT(
      ParseInputs({Tensor1("INT8", {1})}, {"a", "b"}).message(),
      HasSubstr("unexpected additional raw_input_contents for model 'model': got 2 for 1 inputs"));
  EXPECT_THAT(ParseInputs({Tensor1("FP32", {1}, ints)}).message(),
              HasSubstr("of type 'INT32', expected datatype 'FP32'"));
  EXPECT_THAT(ParseInputs({Tensor1("FP16", {1}, floats)}).message(),
              HasSubstr("of type 'FP32', expected datatype 'FP16'"));
  EXPECT_THAT(ParseInputs({Tensor1("INT32", {2},
                                   [&](pbf_writer& contents) {
                                     ints(contents);
                                     floats(contents);
                                   })})
                  .message(),
              HasSubstr("binary data was already supplied."));
  EXPECT_THAT(ParseInputs({Tensor1("INT8", {1}, ints)}).message(),
              HasSubstr("out of the range of INT8"));
  EXPECT_THAT(ParseInputs({Tensor1("FLOAT", {1}, floats)}).message(),
              HasSubstr("invalid datatype for input INPUT: 'FLOAT'"));
}

TEST(ProtoRefusals, ShapesThatAreNoSizes) {
  EXPECT_THAT(ParseInputs({Tensor1("FP32", {-1, 3})}, {"abcd"}).message(),
              HasSubstr("has shape [-1,3]"));
  EXPECT_THAT(ParseInputs({Tensor1("FP32", {INT64_MAX, 3})}, {"abcd"}).message(),
              HasSubstr("63 bits"));
  // A huge shape allocates nothing: the data decides.
  const Parsed parsed =
      ParseInputs({Tensor1("FP64", {INT64_MAX}, [](pbf_writer& c) { c.add_double(7, 1); })});
  EXPECT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(parsed.input().data.size, 8U);
}

TEST(ProtoRefusals, SharedMemoryIsNamedAsNotOffered) {
  const std::string region =
      Parameter1("shared_memory_region", [](pbf_writer& value) { value.add_string(3, "R"); });
  Parsed parsed = ParseInputs(
      {Tensor1("FP32", {1}) + Message([&](pbf_writer& writer) { writer.add_message(4, region); })});
  EXPECT_EQ(parsed.status.code(), StatusCode::kUnsupported);
  EXPECT_THAT(parsed.message(), HasSubstr("input 'INPUT' asks for shared memory region 'R'"));
  parsed = ParseProto(Message([&](pbf_writer& writer) {
    writer.add_message(6, Message([&](pbf_writer& output) { output.add_message(2, region); }));
  }));
  EXPECT_EQ(parsed.status.code(), StatusCode::kUnsupported);
}

TEST(ProtoRefusals, MalformedBytes) {
  const std::string truncated_varints = Message([](pbf_writer& input) {
    input.add_string(1, "INPUT");
    input.add_string(2, "INT64");
    input.add_message(5, Message([](pbf_writer& contents) { contents.add_string(3, "\x80"); }));
  });
  const std::string odd_floats =
      Tensor1("FP32", {1}, [](pbf_writer& contents) { contents.add_string(6, "abc"); });
  for (const std::string& message :
       {std::string("\x0A\x7F"), std::string("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"),
        std::string("\x00\x01", 2), std::string("\x0B\x0C"),
        Message([&](pbf_writer& writer) { writer.add_message(5, truncated_varints); }),
        Message([&](pbf_writer& writer) { writer.add_message(5, odd_floats); })}) {
    const Parsed parsed = ParseProto(message);
    EXPECT_EQ(parsed.status.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(parsed.message(), HasSubstr("malformed ModelInferRequest"));
  }
  EXPECT_THAT(
      ParseProto(Message([](pbf_writer& writer) { writer.add_string(3, "\xFF"); })).message(),
      HasSubstr("field 'id' of the request is not valid UTF-8"));
}

TEST(ProtoHardening, MillionsOfTinyElementsTakeLinearTime) {
  const auto cpu_time = [](int count) {
    const std::string input = Tensor1("BYTES", {count}, [&](pbf_writer& contents) {
      for (int i = 0; i < count; ++i) contents.add_bytes(8, "x");
    });
    const std::clock_t start = std::clock();
    const Parsed parsed = ParseInputs({input});
    EXPECT_TRUE(parsed.ok()) << parsed.message();
    EXPECT_EQ(parsed.input().data.size, static_cast<std::size_t>(count) * 5);
    return std::clock() - start;
  };
  const std::clock_t few = cpu_time(200000);
  EXPECT_LT(cpu_time(2000000), 40 * few);
}

// HARDENING 16: what a client may list is bounded by what the model has.
TEST(ProtoRequest, AHundredThousandRequestedOutputsAreRefusedQuicklyAndBriefly) {
  constexpr int kOutputs = 100'000;
  ModelSpec spec;
  spec.name = "model";
  spec.outputs.resize(1);
  spec.outputs[0].name = "OUT";
  for (const bool distinct : {true, false}) {
    const std::string message = Message([distinct](pbf_writer& writer) {
      writer.add_string(1, "model");
      for (int i = 0; i < kOutputs; ++i) {
        const std::string name = distinct ? "OUT" + std::to_string(i) : "OUT";
        writer.add_message(6, Message([&](pbf_writer& output) { output.add_string(1, name); }));
      }
    });
    const auto start = std::chrono::steady_clock::now();
    const Parsed parsed = ParseProto(message);
    ASSERT_TRUE(parsed.ok()) << parsed.message();
    EXPECT_EQ(parsed.request->outputs.size(), std::size_t{kOutputs});
    parsed.request->spec = std::make_shared<ModelSpec>(spec);
    const Status refusal = ValidateRequest(parsed.request.get());
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(5));
    EXPECT_EQ(refusal.code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(refusal.message(), HasSubstr("output 'OUT"));
    EXPECT_LT(refusal.message().size(), 1000U);
  }
}

}  // namespace
}  // namespace fastserve
