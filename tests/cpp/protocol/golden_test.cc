// Messages that the official client encoded are read as it meant them, and ours are byte for byte
// as protobuf writes them.
#include <fstream>
#include <sstream>

#include "protocol/protocol_test_support.h"

namespace fastserve {
namespace {

struct Golden {
  std::string file;
  std::string input;
  std::string datatype;
  std::vector<std::int64_t> dims;
  std::string bytes;
};

std::string FromHex(const std::string& hex) {
  std::string bytes;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return bytes;
}

std::vector<Golden> ReadGoldens() {
  std::vector<Golden> goldens;
  std::ifstream file(FASTSERVE_GOLDEN_FILE);
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    Golden golden;
    std::string dims;
    std::string hex;
    words >> golden.file >> golden.input >> golden.datatype >> dims >> hex;
    std::istringstream dim_words(dims == "-" ? "" : dims);
    for (std::string dim; std::getline(dim_words, dim, ',');)
      golden.dims.push_back(std::stoll(dim));
    golden.bytes = FromHex(hex);
    goldens.push_back(std::move(golden));
  }
  return goldens;
}

std::string ReadSeed(const std::string& name) {
  std::ifstream file(std::string(FASTSERVE_CORPUS_DIR) + "/" + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Parsed ParseSeed(const std::string& name) {
  const std::string seed = ReadSeed(name);
  if (name.starts_with("infer_proto/")) return ParseProto(seed);
  std::uint32_t json_size = 0;
  std::memcpy(&json_size, seed.data(), sizeof(json_size));
  const std::string_view body = std::string_view(seed).substr(sizeof(json_size));
  return ParseJson(body.substr(0, json_size), body.substr(json_size));
}

class GoldenRequests : public testing::TestWithParam<Golden> {};

TEST_P(GoldenRequests, ReadAsTheClientMeantThem) {
  const Golden& golden = GetParam();
  const Parsed parsed = ParseSeed(golden.file);
  ASSERT_TRUE(parsed.ok()) << parsed.message();
  const InferRequest& request = *parsed.request;
  ASSERT_EQ(request.inputs.size(), 1U);
  EXPECT_EQ(request.inputs[0].name, golden.input);
  EXPECT_EQ(DataTypeName(request.inputs[0].type), golden.datatype);
  EXPECT_EQ(Dims(request.inputs[0]), golden.dims);
  EXPECT_EQ(BytesOf(request.inputs[0].data), golden.bytes);

  EXPECT_EQ(request.id, "request-1");
  EXPECT_EQ(std::get<std::uint64_t>(request.sequence_id), 42U);
  EXPECT_TRUE(request.sequence_start);
  EXPECT_FALSE(request.sequence_end);
  EXPECT_EQ(request.priority, 7U);
  EXPECT_EQ(request.timeout_us, 1000U);
  ASSERT_EQ(request.outputs.size(), 1U);
  EXPECT_EQ(request.outputs[0].name, "OUTPUT");
  EXPECT_EQ(request.outputs[0].classification_count, 2U);
  EXPECT_EQ(request.outputs[0].binary_data, golden.file.find("/binary_") != std::string::npos);
  const Parameters expected = {{"custom", "value"}, {"flag", true}, {"number", std::int64_t{5}}};
  EXPECT_EQ(request.parameters, expected);
}

TEST_P(GoldenRequests, EveryTruncationFailsCleanly) {
  const Golden& golden = GetParam();
  const std::string seed = ReadSeed(golden.file);
  if (golden.file.starts_with("infer_proto/")) {
    // A protobuf message may end between any two fields: only a cut inside one is an error. Nothing
    // may crash.
    for (std::size_t size = 0; size < seed.size(); ++size) {
      const Parsed parsed = ParseProto(seed.substr(0, size));
      EXPECT_TRUE(parsed.ok() || parsed.status.code() == StatusCode::kInvalidArgument);
    }
    return;
  }
  std::uint32_t json_size = 0;
  std::memcpy(&json_size, seed.data(), sizeof(json_size));
  const std::string body = seed.substr(sizeof(json_size));
  for (std::size_t size = 0; size < body.size(); ++size) {
    const std::size_t json = std::min<std::size_t>(size, json_size);
    const Parsed parsed = ParseJson(body.substr(0, json), body.substr(json, size - json));
    EXPECT_EQ(parsed.status.code(), StatusCode::kInvalidArgument) << "cut at " << size;
  }
}

std::vector<Golden> Requests() {
  std::vector<Golden> requests;
  for (Golden& golden : ReadGoldens()) {
    if (golden.input != "-") requests.push_back(std::move(golden));
  }
  return requests;
}

INSTANTIATE_TEST_SUITE_P(Client, GoldenRequests, testing::ValuesIn(Requests()),
                         [](const auto& info) {
                           std::string name = info.param.file;
                           std::replace(name.begin(), name.end(), '/', '_');
                           return name;
                         });

// The answer that make_seeds.py encodes with the protobuf library.
InferResponse GoldenResponse() {
  InferResponse response;
  response.model_name = "model";
  response.model_version = 3;
  response.id = "request-1";
  response.parameters["triton_final_response"] = true;
  for (const Golden& golden : Requests()) {
    if (!golden.file.starts_with("infer_proto/raw_")) continue;
    response.outputs.push_back(TensorOf(
        "OUTPUT_" + golden.datatype, *ParseDataType(golden.datatype), golden.dims, golden.bytes));
  }
  return response;
}

std::string GoldenBytes(const std::string& name) {
  for (const Golden& golden : ReadGoldens()) {
    if (golden.file == name) return golden.bytes;
  }
  return "no golden of this name";
}

TEST(GoldenResponses, AreTheBytesThatProtobufWrites) {
  const InferRequest request;
  const InferResponse response = GoldenResponse();
  ASSERT_EQ(response.outputs.size(), 12U);
  WireMessage message;
  ASSERT_TRUE(BuildModelInferResponse(request, response, &message).ok());
  EXPECT_EQ(message.Flatten(), GoldenBytes("response"));
  ASSERT_TRUE(BuildModelStreamInferResponse(request, response, &message).ok());
  EXPECT_EQ(message.Flatten(), GoldenBytes("stream"));
}

TEST(GoldenResponses, StreamErrorKeepsTheRequestId) {
  InferRequest request;
  request.id = "request-1";
  InferResponse response;
  response.status = Status::Internal("it failed");
  WireMessage message;
  ASSERT_TRUE(BuildModelStreamInferResponse(request, response, &message).ok());
  EXPECT_EQ(message.Flatten(), GoldenBytes("stream_error"));
}

}  // namespace
}  // namespace fastserve
