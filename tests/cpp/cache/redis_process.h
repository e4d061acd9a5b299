// A real redis-server on a free port, that a test can stop, kill and start again.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <hiredis/hiredis.h>
#include <netinet/in.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace fastserve {

inline int FreePort() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
  EXPECT_EQ(getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size), 0);
  close(listener);
  return ntohs(address.sin_port);
}

class RedisProcess {
 public:
  explicit RedisProcess(std::vector<std::string> more = {})
      : port_(FreePort()), more_(std::move(more)) {
    Start();
  }
  ~RedisProcess() { Kill(); }
  RedisProcess(const RedisProcess&) = delete;
  RedisProcess& operator=(const RedisProcess&) = delete;

  int port() const { return port_; }

  void Start() {
    std::vector<std::string> words = {
        "redis-server", "--port", std::to_string(port_), "--bind",   "127.0.0.1",
        "--save",       "",       "--logfile",           "/dev/null"};
    words.insert(words.end(), more_.begin(), more_.end());
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    ASSERT_EQ(posix_spawnp(&pid_, "redis-server", nullptr, nullptr, arguments.data(), environ), 0)
        << "redis-server is not installed: apt-get install redis-server";
    Connect();
  }
  void Signal(int number) { EXPECT_EQ(kill(pid_, number), 0); }
  void Kill() {
    if (pid_ == 0) return;
    Signal(SIGKILL);
    waitpid(pid_, nullptr, 0);
    pid_ = 0;
  }
  // What it answers to a command, as text.
  std::string Ask(const std::vector<std::string>& words) {
    std::vector<const char*> arguments;
    std::vector<std::size_t> sizes;
    for (const std::string& word : words) {
      arguments.push_back(word.data());
      sizes.push_back(word.size());
    }
    auto* reply = static_cast<redisReply*>(redisCommandArgv(
        context_.get(), static_cast<int>(words.size()), arguments.data(), sizes.data()));
    if (reply == nullptr) return "no reply";
    std::string text = reply->type == REDIS_REPLY_INTEGER ? std::to_string(reply->integer)
                       : reply->str != nullptr            ? std::string(reply->str, reply->len)
                                                          : "";
    freeReplyObject(reply);
    return text;
  }

 private:
  // Until it listens.
  void Connect() {
    do {
      context_.reset(redisConnect("127.0.0.1", port_));
      std::this_thread::yield();
    } while (context_ == nullptr || context_->err != 0);
  }

  struct Free {
    void operator()(redisContext* context) const { redisFree(context); }
  };

  const int port_;
  const std::vector<std::string> more_;
  pid_t pid_ = 0;
  std::unique_ptr<redisContext, Free> context_;
};

}  // namespace fastserve
