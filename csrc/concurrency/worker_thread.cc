#include "concurrency/worker_thread.h"

#include <pthread.h>

#include <csignal>

namespace fastserve {

WorkerThread::WorkerThread(const std::string& name, std::function<void()> body) noexcept {
  // A thread inherits its creator's mask: blocking around the creation leaves no moment for a
  // signal to slip in.
  sigset_t all_signals;
  sigset_t previous;
  sigfillset(&all_signals);
  pthread_sigmask(SIG_SETMASK, &all_signals, &previous);
  thread_ = std::thread(std::move(body));
  pthread_sigmask(SIG_SETMASK, &previous, nullptr);
  constexpr std::size_t kMostNameBytes = 15;  // pthread_setname_np(3)
  pthread_setname_np(thread_.native_handle(), name.substr(0, kMostNameBytes).c_str());
}

}  // namespace fastserve
