#include "backend/worker/worker_process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

extern char** environ;  // NOLINT(readability-redundant-declaration): not in every C library

namespace fastserve {

namespace {

constexpr int kChannelFd = 3;     // in the worker
constexpr int kFirstFreeFd = 10;  // above those that the worker's are copied to

std::string DescribeExit(int status) {
  if (WIFEXITED(status)) return "exited with status " + std::to_string(WEXITSTATUS(status));
  const int signal = WTERMSIG(status);
  const char* name = sigabbrev_np(signal);
  return "was killed by signal " + std::to_string(signal) + " (SIG" +
         (name != nullptr ? name : "?") + ")";
}

class ChildProcess final : public WorkerProcess {
 public:
  explicit ChildProcess(pid_t pid)
      : pid_(pid), pidfd_(static_cast<int>(syscall(SYS_pidfd_open, pid, 0))) {}
  ~ChildProcess() override {
    Kill();
    (void)Bury();
  }

  int exit_fd() const override { return pidfd_.get(); }
  int pid() const override { return pid_; }
  void Kill() override {
    if (buried_) return;  // the number may be another process's
    kill(-pid_, SIGKILL);
    kill(pid_, SIGKILL);
  }
  std::string Bury() override {
    if (buried_) return *buried_;
    // It keeps its number until it has been waited for: what it has started dies with it.
    siginfo_t info{};
    while (waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOWAIT) != 0 &&
           errno == EINTR) {
    }
    kill(-pid_, SIGKILL);
    int status = 0;
    pid_t waited = 0;
    do {
      waited = waitpid(pid_, &status, 0);
    } while (waited < 0 && errno == EINTR);
    buried_ = waited == pid_ ? DescribeExit(status) : "is gone";
    return *buried_;
  }

 private:
  const pid_t pid_;
  const UniqueFd pidfd_;
  std::optional<std::string> buried_;
};

// The ends of a pipe or a socket pair, with high numbers, not inherited.
struct FdPair {
  UniqueFd ours;
  UniqueFd theirs;
};

Status SystemError(const char* what) {
  return Status::Unavailable(std::string(what) + ": " + strerrordesc_np(errno));
}

Result<FdPair> Adopt(std::array<int, 2> fds) {
  FdPair pair{UniqueFd(fds[0]), UniqueFd(fds[1])};
  UniqueFd high(fcntl(pair.theirs.get(), F_DUPFD_CLOEXEC, kFirstFreeFd));
  if (!high.valid()) return SystemError("fcntl");
  pair.theirs = std::move(high);
  return pair;
}

Result<FdPair> MakePipe() {
  std::array<int, 2> fds{};
  if (pipe2(fds.data(), O_CLOEXEC) != 0) return SystemError("pipe");
  FASTSERVE_ASSIGN_OR_RETURN(FdPair pair, Adopt(fds));
  // The worker's end blocks: a model that prints waits; ours is polled.
  if (fcntl(pair.ours.get(), F_SETFL, O_NONBLOCK) != 0) return SystemError("fcntl");
  return pair;
}

Result<FdPair> MakeChannel() {
  std::array<int, 2> fds{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()) != 0)
    return SystemError("socketpair");
  return Adopt(fds);
}

std::vector<std::string> EnvironmentWith(const std::vector<std::string>& added) {
  std::vector<std::string> result = added;
  const auto is_replaced = [&added](std::string_view entry) {
    const std::string_view name = entry.substr(0, entry.find('=') + 1);
    for (const std::string& own : added) {
      if (own.starts_with(name)) return true;
    }
    return false;
  };
  for (char** entry = environ; *entry != nullptr; ++entry) {
    if (!is_replaced(*entry)) result.emplace_back(*entry);
  }
  return result;
}

std::vector<char*> Pointers(std::vector<std::string>* texts) {
  std::vector<char*> pointers;
  for (std::string& text : *texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// posix_spawn's two argument objects.
class SpawnPlan {
 public:
  SpawnPlan(int channel, int standard_output, int standard_error) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawnattr_init(&attributes_);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, standard_output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, standard_error, STDERR_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, channel, kChannelFd);
    sigset_t none;
    sigset_t all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    // A terminal's interrupt is for the server, which ends its workers in order.
    posix_spawnattr_setpgroup(&attributes_, 0);
    posix_spawnattr_setflags(
        &attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnPlan() {
    posix_spawn_file_actions_destroy(&actions_);
    posix_spawnattr_destroy(&attributes_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  const posix_spawn_file_actions_t* actions() const { return &actions_; }
  const posix_spawnattr_t* attributes() const { return &attributes_; }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

Result<LaunchedWorker> Spawn(const WorkerCommand& command) {
  FASTSERVE_ASSIGN_OR_RETURN(FdPair channel, MakeChannel());
  FASTSERVE_ASSIGN_OR_RETURN(FdPair output, MakePipe());
  FASTSERVE_ASSIGN_OR_RETURN(FdPair errors, MakePipe());
  const SpawnPlan plan(channel.theirs.get(), output.theirs.get(), errors.theirs.get());
  std::vector<std::string> arguments{command.interpreter, command.script,
                                     std::to_string(kChannelFd), std::to_string(getpid())};
  std::vector<std::string> environment = EnvironmentWith(command.environment);
  pid_t pid = 0;
  const int error =
      posix_spawnp(&pid, command.interpreter.c_str(), plan.actions(), plan.attributes(),
                   Pointers(&arguments).data(), Pointers(&environment).data());
  if (error != 0) {
    return Status::Unavailable("cannot start '" + command.interpreter +
                               "': " + strerrordesc_np(error));
  }
  LaunchedWorker worker;
  worker.channel = std::move(channel.ours);
  worker.standard_output = std::move(output.ours);
  worker.standard_error = std::move(errors.ours);
  worker.process = std::make_unique<ChildProcess>(pid);
  return worker;
}

}  // namespace

struct ProcessSpawner::Job {
  const WorkerCommand* command;
  std::optional<Result<LaunchedWorker>> result;
};

ProcessSpawner::ProcessSpawner() : thread_("fs-spawner", [this] { Loop(); }) {}

ProcessSpawner::~ProcessSpawner() {
  {
    const MutexLock lock(mutex_);
    stopping_ = true;
  }
  changed_.NotifyAll();
}

Result<LaunchedWorker> ProcessSpawner::Launch(const WorkerCommand& command) {
  Job job{&command, std::nullopt};
  const MutexLock lock(mutex_);
  jobs_.push_back(&job);
  changed_.NotifyAll();
  while (!job.result) changed_.Wait(mutex_);
  return std::move(*job.result);
}

ProcessSpawner::Job* ProcessSpawner::AwaitJob() {
  const MutexLock lock(mutex_);
  while (jobs_.empty() && !stopping_) changed_.Wait(mutex_);
  if (jobs_.empty()) return nullptr;
  Job* const job = jobs_.front();
  jobs_.pop_front();
  return job;
}

void ProcessSpawner::Loop() {
  while (Job* const job = AwaitJob()) {
    Result<LaunchedWorker> result = Spawn(*job->command);
    const MutexLock lock(mutex_);
    job->result = std::move(result);
    changed_.NotifyAll();
  }
}

}  // namespace fastserve
