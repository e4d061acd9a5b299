// The generate extension: which member becomes what, the shapes of tensors, and the answer's form.
#include "protocol/generate_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "protocol_test_support.h"

namespace fastserve {
namespace {

TensorSpec Input(const std::string& name, DataType type, const std::vector<std::int64_t>& dims) {
  TensorSpec tensor;
  tensor.name = name;
  tensor.type = type;
  tensor.dims = Shape(dims.begin(), dims.end());
  return tensor;
}

ModelSpec SpecOf(std::vector<TensorSpec> inputs, int max_batch_size = 0) {
  ModelSpec spec;
  spec.name = "model";
  spec.max_batch_size = max_batch_size;
  spec.inputs = std::move(inputs);
  return spec;
}

Parsed Parse(const ModelSpec& spec, std::string_view json, const InferJsonLimits& limits = {}) {
  Parsed parsed;
  parsed.request->model_name = "model";
  parsed.status = ParseGenerateRequest(BufferOf(json), limits, spec, parsed.request.get());
  return parsed;
}

TEST(GenerateRequest, MembersAreInputsTheIdOrParameters) {
  const ModelSpec spec =
      SpecOf({Input("TEXT", DataType::kBytes, {1}), Input("STREAM", DataType::kBool, {1})});
  const Parsed parsed = Parse(spec, R"({"TEXT":"a\nb","id":"7","top_k":3,"parameters":{"t":0.5,
      "name":"x","STREAM":true},"priority":2})");
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(parsed.request->id, "7");
  EXPECT_EQ(parsed.request->priority, 2U);
  ASSERT_EQ(parsed.request->inputs.size(), 2U);
  EXPECT_EQ(BytesOf(parsed.input(0).data), Serialized({"a\nb"}));
  EXPECT_EQ(BytesOf(parsed.input(1).data), std::string("\x01", 1));
  const Parameters expected = {{"name", std::string("x")}, {"t", 0.5}, {"top_k", std::int64_t{3}}};
  EXPECT_EQ(parsed.request->parameters, expected);
}

TEST(GenerateRequest, AnInputNamedIdIsAnInput) {
  const Parsed parsed = Parse(SpecOf({Input("id", DataType::kInt32, {1})}), R"({"id":4})");
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  EXPECT_EQ(parsed.request->id, "");
  EXPECT_EQ(BytesOf(parsed.input().data), BytesOf(std::vector<std::int32_t>{4}));
}

struct ShapeCase {
  std::vector<std::int64_t> dims;
  int max_batch_size;
  std::string json;
  std::vector<std::int64_t> shape;  // empty: refused
};

class GenerateShape : public testing::TestWithParam<ShapeCase> {};

TEST_P(GenerateShape, IsThatOfTheArrayOrFilledFromTheEnd) {
  const ShapeCase& given = GetParam();
  const ModelSpec spec = SpecOf({Input("X", DataType::kInt32, given.dims)}, given.max_batch_size);
  const Parsed parsed = Parse(spec, "{\"X\":" + given.json + "}");
  ASSERT_EQ(parsed.ok(), !given.shape.empty()) << parsed.message();
  if (parsed.ok()) {
    EXPECT_EQ(Dims(parsed.input()), given.shape);
  }
}

using Values = std::vector<std::int64_t>;
INSTANTIATE_TEST_SUITE_P(
    Rules, GenerateShape,
    testing::Values(
        ShapeCase{{1}, 0, "5", {1}}, ShapeCase{{1}, 8, "5", {1, 1}},
        ShapeCase{{1}, 8, "[5,6,7]", {3, 1}}, ShapeCase{{-1}, 8, "[5,6,7]", {1, 3}},
        ShapeCase{{-1}, 0, "[]", {0}}, ShapeCase{{-1, 2}, 8, "[1,2,3,4]", {1, 2, 2}},
        ShapeCase{{2, -1}, 0, "[1,2,3,4,5,6]", {2, 3}}, ShapeCase{{2}, 0, "[1,2,3]", {}},
        ShapeCase{{1}, 0, "[1,2]", {}}, ShapeCase{{-1, -1}, 0, "[[1,2,3],[4,5,6]]", {2, 3}},
        ShapeCase{{-1, -1}, 8, "[[1,2,3],[4,5,6]]", {1, 2, 3}},
        ShapeCase{{-1}, 8, "[[1,2,3],[4,5,6]]", {2, 3}},
        ShapeCase{{-1}, 0, "[[1,2,3],[4,5,6]]", {}}, ShapeCase{{-1, -1}, 0, "[[1,2],[3]]", {}},
        ShapeCase{{-1, -1}, 0, "[1,[2]]", {}}, ShapeCase{{-1, -1}, 0, "[[1],2]", {}},
        ShapeCase{{-1, -1}, 0, "[[],[]]", {2, 0}}, ShapeCase{{-1, -1}, 0, "[[],[[]]]", {}}));

struct WrongCase {
  std::string json;
  std::string message;
};

class WrongGenerateRequest : public testing::TestWithParam<WrongCase> {};

TEST_P(WrongGenerateRequest, IsRefusedWithTheReason) {
  const ModelSpec spec =
      SpecOf({Input("TEXT", DataType::kBytes, {-1}), Input("N", DataType::kUint8, {-1}),
              Input("HALF", DataType::kFp16, {-1})});
  const Parsed parsed = Parse(spec, GetParam().json);
  ASSERT_FALSE(parsed.ok());
  EXPECT_EQ(parsed.status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(parsed.message(), testing::HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Texts, WrongGenerateRequest,
    testing::Values(WrongCase{"[]", "non-object as object"}, WrongCase{"1", "non-object"},
                    WrongCase{"", "failed to parse the request JSON buffer"},
                    WrongCase{"{} {}", "failed to parse the request JSON buffer"},
                    WrongCase{std::string("{}\0", 3), "failed to parse the request JSON buffer"},
                    WrongCase{R"({"TEXT":[1]})", "non-string as string"},
                    WrongCase{R"({"TEXT":null})", "null or an object"},
                    WrongCase{R"({"TEXT":[{}]})", "null or an object"},
                    WrongCase{R"({"N":"a"})", "element is a string"},
                    WrongCase{R"({"N":[1,"a"]})", "element is a string"},
                    WrongCase{R"({"N":[1,true]})", "element is true"},
                    WrongCase{R"({"N":256})", "out of range for UINT8"},
                    WrongCase{R"({"N":[1,-1]})", "'-1'"},
                    WrongCase{R"({"N":1,"parameters":{"N":2}})", "input 'N' already exists"},
                    WrongCase{R"({"HALF":1})", "receiving FP16 data via JSON"},
                    WrongCase{R"({"id":1})", "non-string as string"},
                    WrongCase{R"({"id":[]})", "non-string as string"},
                    WrongCase{"{\"id\":\"\xff\"}", "not valid UTF-8"},
                    WrongCase{R"({"x":null})", "parameter 'x' has invalid type"},
                    WrongCase{R"({"x":[1]})", "parameter 'x' has invalid type"},
                    WrongCase{R"({"parameters":[1]})", "Expected JSON object for keyword"},
                    WrongCase{R"({"parameters":{"parameters":{}}})",
                              "Converting keyword: 'parameters': parameter 'parameters' has"},
                    WrongCase{R"({"triton_x":1})", "is a reserved parameter"}));

TEST(GenerateRequest, WhatItExpandsToIsLimited) {
  const ModelSpec spec = SpecOf({Input("X", DataType::kFp64, {-1})});
  InferJsonLimits limits;
  limits.max_input_bytes = 64;
  EXPECT_TRUE(Parse(spec, R"({"X":[1,2,3,4,5,6,7,8]})", limits).ok());
  EXPECT_FALSE(Parse(spec, R"({"X":[1,2,3,4,5,6,7,8,9]})", limits).ok());
  EXPECT_FALSE(Parse(spec, R"({"parameters":{"a":1}})" + std::string(64, ' '), limits).ok());
}

InferResponse AnswerOf(std::vector<Tensor> outputs) {
  InferResponse response;
  response.model_name = "model";
  response.model_version = 3;
  response.outputs = std::move(outputs);
  return response;
}

TEST(GenerateResponse, OneElementIsAValueAndMoreAreAFlatArray) {
  InferResponse response =
      AnswerOf({TensorOf("TEXT", DataType::kBytes, {1, 1}, Serialized({"a\nb"})),
                TensorOf("N", DataType::kInt32, {2, 2}, BytesOf(std::vector<int>{1, 2, 3, 4})),
                TensorOf("NONE", DataType::kInt32, {0}, "")});
  response.id = "7";
  response.parameters = {{"done", true}, {"TEXT", std::string("hidden")}, {"id", std::int64_t{1}}};
  std::string json = "data: ";
  ASSERT_TRUE(AppendGenerateResponse(response, &json).ok());
  EXPECT_EQ(json, R"(data: {"id":"7","model_name":"model","model_version":"3","done":true,)"
                  R"("TEXT":"a\nb","N":[1,2,3,4],"NONE":[]})");
}

TEST(GenerateResponse, WhatHasNoJsonFormLeavesNothingBehind) {
  std::string json = "data: ";
  const InferResponse response = AnswerOf({TensorOf("H", DataType::kFp16, {1}, "ab")});
  EXPECT_FALSE(AppendGenerateResponse(response, &json).ok());
  EXPECT_EQ(json, "data: ");
}

}  // namespace
}  // namespace fastserve
