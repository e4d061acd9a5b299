// A real HTTP/1.1 server on loopback whose answers a test writes: one thread to a connection.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"

namespace fastserve::perf {

// Reads whole requests (head and Content-Length body) and writes what `answer` returns; an empty
// answer closes the connection.
class ScriptedHttpServer {
 public:
  using Answer = std::function<std::string(int request_number, const std::string& request)>;

  explicit ScriptedHttpServer(Answer answer) : answer_(std::move(answer)) {
    listener_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (bind(listener_, generic, length) != 0) std::abort();
    listen(listener_, 128);
    getsockname(listener_, generic, &length);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }

  ~ScriptedHttpServer() {
    CloseAll();
    shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    CloseAll();
    for (std::thread& thread : threads_) thread.join();
    for (const int fd : fds_) close(fd);
    close(listener_);
  }

  // Ends every connection, as a dying server does.
  void CloseAll() {
    MutexLock lock(mutex_);
    for (const int fd : fds_) shutdown(fd, SHUT_RDWR);
  }
  // Ends every connection and accepts no more.
  void Die() {
    shutdown(listener_, SHUT_RDWR);
    CloseAll();
  }

  std::string port() const { return std::to_string(port_); }
  int requests() const { return requests_.load(); }

 private:
  void Accept() {
    while (true) {
      const int fd = accept(listener_, nullptr, nullptr);
      if (fd < 0) return;
      MutexLock lock(mutex_);
      fds_.push_back(fd);
      threads_.emplace_back([this, fd] { Serve(fd); });
    }
  }

  void Serve(int fd) {
    std::string received;
    std::string request;
    while (ReadRequest(fd, &received, &request)) {
      const std::string reply = answer_(requests_.fetch_add(1), request);
      if (reply.empty() || send(fd, reply.data(), reply.size(), MSG_NOSIGNAL) < 0) break;
    }
    shutdown(fd, SHUT_RDWR);
  }

  static bool ReadRequest(int fd, std::string* received, std::string* request) {
    while (true) {
      const std::size_t head_end = received->find("\r\n\r\n");
      if (head_end != std::string::npos) {
        const std::size_t field = received->find("Content-Length: ");
        const std::size_t body = field < head_end ? std::stoul(received->substr(field + 16)) : 0;
        const std::size_t size = head_end + 4 + body;
        if (received->size() >= size) {
          *request = received->substr(0, size);
          received->erase(0, size);
          return true;
        }
      }
      char bytes[65536];
      const ssize_t size = recv(fd, bytes, sizeof bytes, 0);
      if (size <= 0) return false;
      received->append(bytes, static_cast<std::size_t>(size));
    }
  }

  Answer answer_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> requests_{0};
  std::thread acceptor_;
  Mutex mutex_;
  std::vector<int> fds_ GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace fastserve::perf
