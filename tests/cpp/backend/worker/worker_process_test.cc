// Real processes: how they are started, how they end, and what is left of them.
#include "backend/worker/worker_process.h"

#include <gmock/gmock.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "backend/worker/line_log.h"

namespace fastserve {
namespace {

using ::testing::HasSubstr;

class WorkerProcessTest : public ::testing::Test {
 protected:
  // `sh FILE 3 PID` with `script` in FILE.
  LaunchedWorker Launch(const std::string& script, std::vector<std::string> environment = {}) {
    std::ofstream(script_) << script;
    auto worker = spawner_.Launch({"/bin/sh", script_, std::move(environment)});
    EXPECT_TRUE(worker.ok()) << worker.status().message();
    return std::move(*worker);
  }
  static void AwaitExit(const LaunchedWorker& worker) {
    pollfd exited{worker.process->exit_fd(), POLLIN, 0};
    ASSERT_EQ(poll(&exited, 1, 60'000), 1);
  }
  // All that was printed until the end of the pipe.
  static std::string ReadAll(int fd) {
    LineLog lines("test");
    pollfd readable{fd, POLLIN, 0};
    do {
      poll(&readable, 1, 60'000);
    } while (lines.Read(fd));
    lines.Finish();
    return lines.LastLines();
  }
  void TearDown() override { std::filesystem::remove(script_); }

  const std::string script_ = ::testing::TempDir() + "worker_" + std::to_string(getpid()) + ".sh";
  ProcessSpawner spawner_;
};

TEST_F(WorkerProcessTest, GetsTheChannelTheServersPidAndItsEnvironment) {
  setenv("FASTSERVE_TEST_REPLACED", "old", 1);
  const LaunchedWorker worker =
      Launch("echo \"$1 $2 $FASTSERVE_TEST_REPLACED $FASTSERVE_TEST_ADDED\"\n",
             {"FASTSERVE_TEST_REPLACED=new", "FASTSERVE_TEST_ADDED=yes"});
  EXPECT_EQ(ReadAll(worker.standard_output.get()), "3 " + std::to_string(getpid()) + " new yes");
}

TEST_F(WorkerProcessTest, InheritsNoOtherDescriptor) {
  const LaunchedWorker worker = Launch("ls /proc/$$/fd | sort -n | head -c 8 | tr '\\n' ' '\n");
  // sh opens its script as one more.
  EXPECT_THAT(ReadAll(worker.standard_output.get()), HasSubstr("0 1 2 3 "));
}

TEST_F(WorkerProcessTest, SaysHowItEnded) {
  LaunchedWorker exited = Launch("exit 7\n");
  AwaitExit(exited);
  EXPECT_EQ(exited.process->Bury(), "exited with status 7");
  LaunchedWorker crashed = Launch("kill -SEGV $$\n");
  AwaitExit(crashed);
  EXPECT_EQ(crashed.process->Bury(), "was killed by signal 11 (SIGSEGV)");
  EXPECT_EQ(crashed.process->Bury(), "was killed by signal 11 (SIGSEGV)");
}

TEST_F(WorkerProcessTest, KillReachesWhatTheWorkerStarted) {
  LaunchedWorker worker = Launch("sleep 600 &\necho $!\nwait\n");
  pollfd readable{worker.standard_output.get(), POLLIN, 0};
  ASSERT_EQ(poll(&readable, 1, 60'000), 1);
  LineLog lines("test");
  (void)lines.Read(worker.standard_output.get());
  worker.process->Kill();
  EXPECT_EQ(worker.process->Bury(), "was killed by signal 9 (SIGKILL)");
  // The pipe ends when nobody has it any more: the child of the worker is gone too.
  EXPECT_EQ(ReadAll(worker.standard_output.get()), "");
}

TEST_F(WorkerProcessTest, WithoutAnInterpreterTheReasonIsTold) {
  const auto worker = spawner_.Launch({"/no/such/python", "worker.py", {}});
  EXPECT_EQ(worker.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(worker.status().message(), HasSubstr("/no/such/python"));
}

TEST_F(WorkerProcessTest, LongAndUnfinishedLinesAreCutAndKept) {
  const LaunchedWorker worker =
      Launch("i=0; while [ $i -lt 30 ]; do echo line $i; i=$((i+1)); done; printf end\n");
  const std::string last = ReadAll(worker.standard_output.get());
  EXPECT_THAT(last, HasSubstr("line 11\nline 12"));
  EXPECT_TRUE(last.ends_with("line 29\nend"));
  EXPECT_EQ(last.find("line 10\n"), std::string::npos);
}

}  // namespace
}  // namespace fastserve
