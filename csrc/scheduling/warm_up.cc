#include "scheduling/warm_up.h"

#include <cstring>
#include <fstream>
#include <limits>
#include <random>
#include <utility>

#include "base/mutex.h"
#include "scheduling/batch_assembler.h"

namespace fastserve {

namespace {

// Waits for one execution.
class Awaited final : public ExecutionObserver {
 public:
  void OnExecuted(Execution* /*execution*/, Status status) override {
    const MutexLock lock(mutex_);
    status_ = std::move(status);
    done_ = true;
    changed_.NotifyAll();
  }
  Status Wait() {
    const MutexLock lock(mutex_);
    while (!done_) changed_.Wait(mutex_);
    return status_;
  }

 private:
  Mutex mutex_;
  ConditionVariable changed_;
  bool done_ GUARDED_BY(mutex_) = false;
  Status status_ GUARDED_BY(mutex_);
};

// Waits for the last responses of requests to a decoupled model.
class AwaitedAnswers final : public ResponseSink {
 public:
  void OnResponse(const RequestPtr& /*request*/, InferResponse response, bool final) override {
    const MutexLock lock(mutex_);
    if (!response.status.ok()) status_ = std::move(response.status);
    if (!final) return;
    ++answered_;
    changed_.NotifyAll();
  }
  Status Wait(std::size_t count) {
    const MutexLock lock(mutex_);
    while (answered_ < count) changed_.Wait(mutex_);
    return status_;
  }

 private:
  Mutex mutex_;
  ConditionVariable changed_;
  std::size_t answered_ GUARDED_BY(mutex_) = 0;
  Status status_ GUARDED_BY(mutex_);
};

template <typename T>
void AppendRandom(std::int64_t count, T below, std::string* bytes) {
  std::mt19937 random(std::mt19937::default_seed);
  for (std::int64_t i = 0; i < count; ++i) {
    const T value = static_cast<T>(static_cast<double>(random()) / 4294967296.0 * below);
    bytes->append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
}

// Numbers in the range of every type, and of most vocabularies: floats below 1, integers below 100.
std::string RandomBytes(DataType type, std::int64_t count) {
  std::string bytes;
  switch (type) {
    case DataType::kFp32:
      AppendRandom<float>(count, 1, &bytes);
      break;
    case DataType::kFp64:
      AppendRandom<double>(count, 1, &bytes);
      break;
    case DataType::kBool:
      AppendRandom<std::uint8_t>(count, 2, &bytes);
      break;
    case DataType::kFp16:
    case DataType::kBf16:  // bit patterns of finite numbers below 1
      AppendRandom<std::uint16_t>(count, 0x3800, &bytes);
      break;
    default:
      switch (DataTypeByteSize(type)) {
        case 1:
          AppendRandom<std::uint8_t>(count, 100, &bytes);
          break;
        case 2:
          AppendRandom<std::uint16_t>(count, 100, &bytes);
          break;
        case 4:
          AppendRandom<std::uint32_t>(count, 100, &bytes);
          break;
        default:
          AppendRandom<std::uint64_t>(count, 100, &bytes);
      }
  }
  return bytes;
}

Result<std::string> FileBytes(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  if (!file.good() && !file.eof()) return Status::InvalidArgument("cannot read " + path);
  return bytes;
}

// The bytes of one row.
Result<std::string> RowBytes(const WarmupInputSpec& input, std::int64_t count) {
  if (input.source == WarmupInputSpec::Source::kFile) return FileBytes(input.path);
  if (input.type == DataType::kBytes) {
    const std::string text = input.source == WarmupInputSpec::Source::kZero ? "" : "warm up";
    std::string bytes;
    for (std::int64_t i = 0; i < count; ++i) AppendBytesElement(text, &bytes);
    return bytes;
  }
  if (input.source == WarmupInputSpec::Source::kRandom) return RandomBytes(input.type, count);
  return std::string(static_cast<std::size_t>(count) * DataTypeByteSize(input.type), '\0');
}

Status CheckRow(const WarmupInputSpec& input, const std::string& row, std::int64_t count) {
  if (input.type == DataType::kBytes) {
    const auto* data = reinterpret_cast<const std::byte*>(row.data());
    return CheckBytesElements("'" + input.name + "'", {data, row.size()}, count);
  }
  const std::size_t expected = static_cast<std::size_t>(count) * DataTypeByteSize(input.type);
  if (row.size() == expected) return Status::Ok();
  return Status::InvalidArgument("input '" + input.name + "' of shape " +
                                 ShapeToString(input.dims) + " needs " + std::to_string(expected) +
                                 " bytes, " + input.path + " has " + std::to_string(row.size()));
}

// One row. The batch repeats it.
Result<Tensor> MakeInput(const WarmupInputSpec& input, std::int64_t batch_size, bool batches) {
  constexpr std::int64_t kMaxElements = std::numeric_limits<std::int32_t>::max();
  const std::optional<std::int64_t> count = ElementCount(input.dims);
  if (!count || *count > kMaxElements / batch_size) {
    return Status::InvalidArgument("input '" + input.name + "' of shape " +
                                   ShapeToString(input.dims) + " is too large for a warm-up of " +
                                   std::to_string(batch_size) + " rows");
  }
  FASTSERVE_ASSIGN_OR_RETURN(const std::string row, RowBytes(input, *count));
  FASTSERVE_RETURN_IF_ERROR(CheckRow(input, row, *count));
  BufferPtr buffer = AllocateHostBuffer(row.size());
  if (buffer == nullptr) return Status::Unavailable("no memory for input '" + input.name + "'");
  if (!row.empty()) std::memcpy(buffer->data(), row.data(), row.size());
  Tensor tensor{input.name, input.type, input.dims, BufferView(std::move(buffer))};
  if (batches) tensor.shape.insert(tensor.shape.begin(), 1);
  return tensor;
}

RequestPtr MakeRow(const ModelSpec& spec, const std::string& sample_name,
                   const std::vector<Tensor>& inputs, std::shared_ptr<ResponseSink> sink) {
  auto request = std::make_shared<InferRequest>();
  request->id = sample_name;
  request->model_name = spec.name;
  request->inputs = inputs;
  // Lives longer than the warm-up.
  request->spec = std::shared_ptr<const ModelSpec>(std::shared_ptr<void>(), &spec);
  request->sink = std::move(sink);
  return request;
}

Status RunSample(const ModelSpec& spec, const WarmupSpec& sample, BackendInstance* instance) {
  std::vector<Tensor> inputs;
  for (const WarmupInputSpec& input : sample.inputs) {
    FASTSERVE_ASSIGN_OR_RETURN(Tensor tensor,
                               MakeInput(input, sample.batch_size, spec.max_batch_size > 0));
    inputs.push_back(std::move(tensor));
  }
  for (std::uint32_t i = 0; i < sample.count; ++i) {
    Execution execution;
    const auto answers = std::make_shared<AwaitedAnswers>();
    // As Triton, a batch of requests of one row each: batch inputs count requests.
    const auto rows = static_cast<std::size_t>(sample.batch_size);
    for (std::size_t row = 0; row < rows; ++row)
      execution.requests.push_back(MakeRow(spec, sample.name, inputs, answers));
    FASTSERVE_RETURN_IF_ERROR(AssembleBatch(spec, &execution));
    Awaited awaited;
    instance->Execute(&execution, &awaited);
    FASTSERVE_RETURN_IF_ERROR(awaited.Wait());
    for (const InferResponse& response : execution.responses)
      FASTSERVE_RETURN_IF_ERROR(response.status);
    if (spec.decoupled) FASTSERVE_RETURN_IF_ERROR(answers->Wait(rows));
  }
  return Status::Ok();
}

}  // namespace

Status WarmUp(const ModelSpec& spec, BackendInstance* instance) {
  for (const WarmupSpec& sample : spec.warmup) {
    const Status status = RunSample(spec, sample, instance);
    if (!status.ok()) {
      return Status(status.code(),
                    "failed to run warmup sample '" + sample.name + "': " + status.message());
    }
  }
  return Status::Ok();
}

}  // namespace fastserve
