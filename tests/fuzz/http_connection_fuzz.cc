// Any bytes on an HTTP connection, cut anywhere. The first byte of the input is the size of the
// receptions; what is started, delegated and written must not depend on it.
#include <algorithm>
#include <cstring>
#include <deque>
#include <memory>
#include <string>

#include "fuzz_support.h"
#include "http/connection.h"

namespace fastserve {
namespace {

class StoppedClock : public Clock {
 public:
  std::int64_t NowNs() const override { return 1; }
  std::int64_t WallMs() const override { return 0; }
};

class RecordingTransport : public HttpTransport {
 public:
  void Write(std::string head, WireMessage body) override { written += head + body.Flatten(); }
  void Delegate(std::span<const std::byte> bytes) override {
    delegated.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  }
  void PauseReading() override { paused = true; }
  void ResumeReading() override { paused = false; }
  void WriteEof() override { ended = true; }
  void Close() override { ended = true; }
  void Abort() override { ended = true; }
  std::size_t UnsentBytes() override { return unsent; }

  std::string written;
  std::string delegated;
  std::size_t unsent = 0;
  bool paused = false;
  bool ended = false;
};

class RecordingStarter : public InferStarter {
 public:
  void Start(InferCall call) override { calls.push_back(std::move(call)); }
  std::deque<InferCall> calls;
};

// Everything a connection did with `text`, received `step` bytes at a time and answered at once.
std::string Play(std::string_view text, std::size_t step) {
  static const StoppedClock clock;
  RecordingStarter starter;
  RecordingTransport transport;
  auto shared = std::make_shared<HttpShared>();
  shared->clock = &clock;
  shared->starter = &starter;
  shared->options.max_input_bytes = 4096;
  shared->scratch = std::make_unique<std::byte[]>(shared->options.scratch_bytes);
  auto connection = std::make_shared<HttpConnection>(shared, &transport);
  std::string started;
  while (!text.empty() && !transport.ended) {
    const std::span<std::byte> buffer = connection->ReadBuffer();
    FUZZ_CHECK(!buffer.empty());
    const std::size_t size = std::min({buffer.size(), text.size(), step});
    std::memcpy(buffer.data(), text.data(), size);
    connection->OnReceived(size);
    text.remove_prefix(size);
    do {
      connection->OnDelegateEnded(true);
      while (!starter.calls.empty()) {
        InferCall call = std::move(starter.calls.front());
        starter.calls.pop_front();
        FUZZ_CHECK(call.json_size <= call.body.size);
        started += call.request->model_name + "\n";
        started.append(reinterpret_cast<const char*>(call.body.data), call.body.size);
        call.target->OnReply(ErrorReply(404, "fuzz"));
      }
    } while (transport.paused && !transport.ended);
  }
  connection->OnLost();
  return started + "\n--\n" + transport.delegated + "\n--\n" + transport.written;
}

}  // namespace
}  // namespace fastserve

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1 || size > 65536) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::size_t step = data[0] == 0 ? 1 : data[0];
  const std::string cut = fastserve::Play(text, step);
  const std::string whole = fastserve::Play(text, text.size() + 1);
  FUZZ_CHECK(cut == whole);
  return 0;
}
