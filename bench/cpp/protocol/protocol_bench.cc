// What a request costs in the codecs: the [1,16] FP32 request of the comparison in
// docs/performance.md, and larger ones.
#include <benchmark/benchmark.h>

#include <cstring>
#include <string>
#include <vector>

#include "protocol/infer_json.h"
#include "protocol/infer_proto.h"

namespace fastserve {
namespace {

BufferView Copy(const std::string& bytes) {
  BufferPtr buffer = AllocateHostBuffer(bytes.size());
  std::memcpy(buffer->data(), bytes.data(), bytes.size());
  return buffer;
}

std::vector<float> Values(std::int64_t count) {
  std::vector<float> values;
  values.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) values.push_back(static_cast<float>(i) * 0.37F - 1.0F);
  return values;
}

std::string JsonRequest(std::int64_t count) {
  std::string json = R"({"inputs":[{"name":"INPUT0","shape":[1,)";
  json.append(std::to_string(count)).append(R"(],"datatype":"FP32","data":[)");
  for (const float value : Values(count)) json.append(std::to_string(value)).push_back(',');
  json.back() = ']';
  return json + "}]}";
}

// Field 5 {name, datatype, shape} and field 7, as the official client writes them; lengths below
// 128 take one byte.
std::string ProtoRequest(std::int64_t count) {
  std::string input = "\x0A\x06INPUT0\x12\x04";
  input.append("FP32\x1A\x02\x01");
  input.push_back(static_cast<char>(count));
  std::string message = "\x0A\x05model\x2A";
  message.push_back(static_cast<char>(input.size()));
  message.append(input);
  message.push_back('\x3A');
  message.push_back(static_cast<char>(count * 4));
  const std::vector<float> values = Values(count);
  return message.append(reinterpret_cast<const char*>(values.data()),
                        values.size() * sizeof(float));
}

InferResponse Response(std::int64_t count) {
  const std::vector<float> values = Values(count);
  Tensor output{"OUTPUT0", DataType::kFp32, {1, count}, {}};
  output.data = Copy({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float)});
  InferResponse response;
  response.model_name = "model";
  response.model_version = 1;
  response.outputs.push_back(std::move(output));
  return response;
}

// Parsing in place destroys the text, so each round copies it first: the copy is part of the
// figure.
void BM_ParseJson(benchmark::State& state) {
  const std::string json = JsonRequest(state.range(0));
  const BufferView body = Copy(json);
  for (auto _ : state) {
    std::memcpy(body.data, json.data(), json.size());
    InferRequest request;
    const Status status = ParseInferRequest(body, body.size, {}, &request);
    if (!status.ok()) state.SkipWithError(status.message().c_str());
    benchmark::DoNotOptimize(request);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_ParseJson)->Arg(1)->Arg(16)->Arg(1024)->Arg(262144);

void BM_BuildJson(benchmark::State& state) {
  const InferRequest request;
  const InferResponse response = Response(state.range(0));
  for (auto _ : state) {
    WireMessage body;
    std::size_t json_size = 0;
    benchmark::DoNotOptimize(BuildInferResponse(request, response, &body, &json_size).ok());
    benchmark::DoNotOptimize(body);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_BuildJson)->Arg(1)->Arg(16)->Arg(1024)->Arg(262144);

void BM_ParseProto(benchmark::State& state) {
  const BufferView message = Copy(ProtoRequest(state.range(0)));
  for (auto _ : state) {
    InferRequest request;
    const Status status = ParseModelInferRequest(message, &request);
    if (!status.ok()) state.SkipWithError(status.message().c_str());
    benchmark::DoNotOptimize(request);
  }
}
BENCHMARK(BM_ParseProto)->Arg(16);

void BM_BuildProto(benchmark::State& state) {
  const InferRequest request;
  const InferResponse response = Response(state.range(0));
  for (auto _ : state) {
    WireMessage message;
    benchmark::DoNotOptimize(BuildModelInferResponse(request, response, &message).ok());
    benchmark::DoNotOptimize(message);
  }
}
BENCHMARK(BM_BuildProto)->Arg(16);

}  // namespace
}  // namespace fastserve
