#include "bindings/stream_bindings.h"

#include <atomic>
#include <deque>
#include <optional>
#include <utility>

#include "base/mutex.h"
#include "bindings/infer_bindings.h"
#include "bindings/infer_completions.h"
#include "bindings/python_buffer.h"

namespace fastserve {

namespace py = pybind11;

namespace {

// The responses of one request, kept until Python takes them. Thread safe.
// Invariant: responses of more than kWindowBytes that nobody took make their sender wait.
class ResponseStream final : public ResponseSink {
 public:
  explicit ResponseStream(const RequestPtr& request) : request_(request) {}
  // `completions` gets an empty completion with `token` when there is something to take.
  ResponseStream(const RequestPtr& request, std::shared_ptr<InferCompletions> completions,
                 std::uint64_t token)
      : request_(request), completions_(std::move(completions)), token_(token) {}

  void OnResponse(const RequestPtr& /*request*/, InferResponse response, bool final) override
      EXCLUDES(mutex_) {
    bool tell = false;
    {
      const MutexLock lock(mutex_);
      if (!response.flags_only) {
        waiting_bytes_.fetch_add(BytesOf(response), std::memory_order_relaxed);
        responses_.push_back(std::move(response));
      }
      ended_ = final;
      tell = completions_ != nullptr && !std::exchange(told_, true);
    }
    changed_.NotifyAll();
    if (tell) completions_->Push({token_, {}, false});
  }
  bool congested() const override {
    return waiting_bytes_.load(std::memory_order_relaxed) > kWindowBytes;
  }

  // Blocks; call without the GIL. Empty: there are no more.
  std::optional<InferResponse> Next() EXCLUDES(mutex_) {
    std::optional<InferResponse> response;
    {
      const MutexLock lock(mutex_);
      while (responses_.empty() && !ended_) changed_.Wait(mutex_);
      if (responses_.empty()) return std::nullopt;
      response = std::move(responses_.front());
      responses_.pop_front();
    }
    MakeRoom(BytesOf(*response));
    return response;
  }

  // What there is now, and whether that is all.
  std::pair<std::deque<InferResponse>, bool> Take() EXCLUDES(mutex_) {
    std::pair<std::deque<InferResponse>, bool> taken;
    {
      const MutexLock lock(mutex_);
      told_ = false;
      taken.first.swap(responses_);
      taken.second = ended_;
    }
    std::size_t bytes = 0;
    for (const InferResponse& response : taken.first) bytes += BytesOf(response);
    MakeRoom(bytes);
    return taken;
  }

  void Cancel() {
    if (const RequestPtr request = request_.lock()) request->Cancel();
  }

 private:
  static constexpr std::size_t kWindowBytes = std::size_t{1} << 20;
  // What a response takes in memory besides its tensors, roughly.
  static constexpr std::size_t kResponseBytes = 256;

  static std::size_t BytesOf(const InferResponse& response) {
    std::size_t bytes = kResponseBytes;
    for (const Tensor& tensor : response.outputs) bytes += tensor.data.size;
    return bytes;
  }

  void MakeRoom(std::size_t bytes) {
    const std::size_t before = waiting_bytes_.fetch_sub(bytes, std::memory_order_relaxed);
    if (before <= kWindowBytes || congested()) return;
    if (const RequestPtr request = request_.lock()) request->NotifyRoom();
  }

  const std::weak_ptr<InferRequest> request_;
  const std::shared_ptr<InferCompletions> completions_;  // null: Next waits
  const std::uint64_t token_ = 0;
  // Relaxed: InferRequest::WaitForRoom and NotifyRoom order it.
  std::atomic<std::size_t> waiting_bytes_{0};
  Mutex mutex_;
  ConditionVariable changed_;
  std::deque<InferResponse> responses_ GUARDED_BY(mutex_);
  bool ended_ GUARDED_BY(mutex_) = false;
  bool told_ GUARDED_BY(mutex_) = false;
};

using StreamPtr = std::shared_ptr<ResponseStream>;

StreamPtr Start(Engine* engine, const RequestPtr& request, const StreamPtr& stream) {
  ReleaseDeferredBuffers();
  request->sink = stream;
  const py::gil_scoped_release unlocked;
  request->timestamps.request_start = engine->clock().NowNs();
  engine->Submit(request);
  return stream;
}

py::object Next(ResponseStream* stream) {
  ReleaseDeferredBuffers();
  const std::optional<InferResponse> response = [stream] {
    const py::gil_scoped_release unlocked;
    return stream->Next();
  }();
  return response ? ResponseToPython(*response) : py::none();
}

py::tuple Take(ResponseStream* stream) {
  ReleaseDeferredBuffers();
  const auto [responses, ended] = stream->Take();
  py::list list;
  for (const InferResponse& response : responses) list.append(ResponseToPython(response));
  return py::make_tuple(list, ended);
}

}  // namespace

void BindResponseStream(py::module_& module, py::class_<Engine, std::shared_ptr<Engine>>& engine) {
  py::class_<ResponseStream, StreamPtr>(module, "ResponseStream")
      .def("next", &Next)
      .def("take", &Take)
      .def("cancel", &ResponseStream::Cancel, py::call_guard<py::gil_scoped_release>());
  engine.def(
      "infer_stream",
      [](Engine& self, const RequestPtr& request) {
        return Start(&self, request, std::make_shared<ResponseStream>(request));
      },
      py::arg("request"));
  engine.def(
      "submit_stream",
      [](Engine& self, const RequestPtr& request,
         const std::shared_ptr<InferCompletions>& completions, std::uint64_t token) {
        return Start(&self, request, std::make_shared<ResponseStream>(request, completions, token));
      },
      py::arg("request"), py::arg("completions"), py::arg("token"));
}

}  // namespace fastserve
