// The listening socket and the thread that accepts: each connection goes to the I/O thread with the
// fewest open calls.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "base/status.h"

namespace fastserve {

struct GrpcListenOptions {
  std::string address;
  int port = 0;  // 0: any free port
  bool reuse_port = false;
};

// Asleep between connections. When the process is out of descriptors it pauses instead of spinning.
class GrpcListener {
 public:
  // `adopt` gets each accepted, non-blocking descriptor, on the listener's thread.
  // Errors: Unavailable when the address cannot be used, with the reason; InvalidArgument when it
  // is no address.
  static Result<std::unique_ptr<GrpcListener>> Create(const GrpcListenOptions& options,
                                                      std::function<void(int)> adopt);
  ~GrpcListener();
  GrpcListener(const GrpcListener&) = delete;
  GrpcListener& operator=(const GrpcListener&) = delete;

  int port() const { return port_; }

 private:
  GrpcListener(int fd, int port, std::function<void(int)> adopt);
  void Run();
  // False when accepting should pause.
  bool AcceptAll();

  const int fd_;
  const int port_;
  const int stop_fd_;
  const std::function<void(int)> adopt_;
  std::thread thread_;
};

}  // namespace fastserve
