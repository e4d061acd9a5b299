#include "concurrency/worker_thread.h"

#include <pthread.h>

#include <csignal>
#include <system_error>
#include <utility>

namespace fastserve {

namespace {

// A thread inherits its creator's mask: blocking around the creation leaves no moment for a signal
// to slip in.
class SignalsBlocked {
 public:
  SignalsBlocked() {
    sigset_t all_signals;
    sigfillset(&all_signals);
    pthread_sigmask(SIG_SETMASK, &all_signals, &previous_);
  }
  ~SignalsBlocked() { pthread_sigmask(SIG_SETMASK, &previous_, nullptr); }
  SignalsBlocked(const SignalsBlocked&) = delete;
  SignalsBlocked& operator=(const SignalsBlocked&) = delete;

 private:
  sigset_t previous_{};
};

}  // namespace

WorkerThread::WorkerThread(const std::string& name, std::function<void()> body) noexcept {
  Start(name, std::move(body));
}

Result<WorkerThread> WorkerThread::TryStart(const std::string& name, std::function<void()> body) {
  WorkerThread thread;
  try {
    thread.Start(name, std::move(body));
  } catch (const std::system_error& error) {
    return Status::Unavailable("cannot start thread '" + name + "': " + error.what());
  }
  return thread;
}

void WorkerThread::Start(const std::string& name, std::function<void()> body) {
  {
    const SignalsBlocked blocked;
    thread_ = std::thread(std::move(body));
  }
  constexpr std::size_t kMostNameBytes = 15;  // pthread_setname_np(3)
  pthread_setname_np(thread_.native_handle(), name.substr(0, kMostNameBytes).c_str());
}

}  // namespace fastserve
