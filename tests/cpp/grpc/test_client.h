// A blocking gRPC client of the tests: an H2Peer over a real socket, used by one thread.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <functional>
#include <string>

#include "h2_peer.h"
#include "inference/tensor.h"

namespace fastserve {

class TestClient {
 public:
  explicit TestClient(int port, bool auto_window = true)
      : peer(auto_window), fd_(socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<in_port_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connected = connect(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
  }
  ~TestClient() { close(fd_); }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;

  void Flush() { Send(peer.TakeOutput()); }
  // Bytes that are not the peer's.
  void Send(const std::string& bytes) {
    for (std::size_t sent = 0; sent < bytes.size();) {
      const ssize_t size = send(fd_, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (size <= 0) return;
      sent += static_cast<std::size_t>(size);
    }
  }
  // Sends and receives until `done` or the server closed. True when done.
  bool Until(const std::function<bool()>& done) {
    std::array<char, 65536> buffer;
    for (;;) {
      Flush();
      if (done()) return true;
      const ssize_t size = recv(fd_, buffer.data(), buffer.size(), 0);
      if (size <= 0) {
        closed = true;
        return done();
      }
      peer.Feed({buffer.data(), static_cast<std::size_t>(size)});
    }
  }
  // The client's side of the socket ends; it still reads.
  void EndSending() {
    Flush();
    shutdown(fd_, SHUT_WR);
  }
  // Reads, sending nothing, until the server has closed.
  void AwaitClosed() {
    std::array<char, 65536> buffer;
    while (recv(fd_, buffer.data(), buffer.size(), 0) > 0) {
    }
    closed = true;
  }
  // One unary call, to its end.
  H2Peer::Answer Call(const std::string& path, const std::string& message,
                      const HeaderList& more = {}) {
    const std::int32_t id = peer.Request(GrpcHeaders(path, more), GrpcFrame(message));
    Until([&] { return peer.answers[id].closed.has_value(); });
    return peer.answers[id];
  }

  H2Peer peer;
  bool connected = false;
  bool closed = false;

 private:
  const int fd_;
};

// A ModelInferRequest for the model "m": X FP32 [1, width], every element `value`.
inline std::string InferMessage(float value, std::size_t width, const std::string& id = "",
                                const std::string& model = "m") {
  const auto varint = [](std::size_t number) {
    std::string bytes;
    for (; number >= 0x80; number >>= 7) bytes.push_back(static_cast<char>(number | 0x80));
    bytes.push_back(static_cast<char>(number));
    return bytes;
  };
  const auto field = [&](int number, const std::string& bytes) {
    return std::string(1, static_cast<char>(number << 3 | 2)) + varint(bytes.size()) + bytes;
  };
  const std::string shape = varint(1) + varint(width);
  const std::string input = field(1, "X") + field(2, "FP32") + field(3, shape);
  std::string raw;
  raw.reserve(width * sizeof value);
  for (std::size_t i = 0; i < width; ++i) {
    raw.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  std::string message = field(1, model);
  if (!id.empty()) message += field(3, id);
  return message + field(5, input) + field(7, raw);
}

// The raw tensor at the end of an infer response (the last field).
inline std::vector<float> TrailingFloats(const std::string& body, std::size_t count) {
  std::vector<float> values(count);
  if (body.size() < count * sizeof(float)) return {};
  std::memcpy(values.data(), body.data() + body.size() - count * sizeof(float),
              count * sizeof(float));
  return values;
}

}  // namespace fastserve
