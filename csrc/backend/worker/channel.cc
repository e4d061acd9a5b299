#include "backend/worker/channel.h"

#include <sys/eventfd.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace fastserve {

namespace {

constexpr std::size_t kMostFds = 4;

// One packet as the kernel wants it. Not movable: the parts point at each other.
class Message {
 public:
  Message(const OutgoingPacket& packet, int fd) : header_(EncodeHeader(packet.header)) {
    parts_[0] = {header_.data(), header_.size()};
    // The kernel does not write through it.
    parts_[1] = {const_cast<char*>(packet.body.data()), packet.body.size()};
    head_.msg_iov = parts_.data();
    head_.msg_iovlen = parts_.size();
    if (fd >= 0) Attach(fd);
  }
  Message(const Message&) = delete;
  Message& operator=(const Message&) = delete;

  const msghdr& head() const { return head_; }

 private:
  void Attach(int fd) {
    head_.msg_control = control_.data();
    head_.msg_controllen = control_.size();
    cmsghdr* const control = CMSG_FIRSTHDR(&head_);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(fd));
    std::memcpy(CMSG_DATA(control), &fd, sizeof(fd));
  }

  std::array<char, PacketHeader::kSize> header_;
  std::array<iovec, 2> parts_{};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control_{};
  msghdr head_{};
};

void TakeFds(msghdr* head, std::vector<UniqueFd>* fds) {
  for (cmsghdr* control = CMSG_FIRSTHDR(head); control != nullptr;
       control = CMSG_NXTHDR(head, control)) {
    if (control->cmsg_level != SOL_SOCKET || control->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(control) + i * sizeof(int), sizeof(int));
      fds->emplace_back(fd);
    }
  }
}

bool IsFull(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == ENOBUFS; }

}  // namespace

Wakeup::Wakeup() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {}

void Wakeup::Notify() const {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(fd_.get(), &one, sizeof one);
}

void Wakeup::Clear() const {
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t size = read(fd_.get(), &count, sizeof count);
}

Channel::Channel(UniqueFd socket, std::shared_ptr<const Wakeup> wakeup)
    : socket_(std::move(socket)), wakeup_(std::move(wakeup)) {}

void Channel::Send(const OutgoingPacket& first, const OutgoingPacket& second) {
  const MutexLock lock(mutex_);
  std::size_t taken = 0;
  if (queue_.empty()) {
    const Message messages[] = {{first, -1}, {second, -1}};
    std::array<mmsghdr, 2> heads{};
    heads[0].msg_hdr = messages[0].head();
    heads[1].msg_hdr = messages[1].head();
    const int sent =
        sendmmsg(socket_.get(), heads.data(), heads.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && !IsFull(errno) && errno != EINTR) return;  // Receive sees the end
    taken = sent < 0 ? 0 : static_cast<std::size_t>(sent);
  }
  if (taken < 1) QueueLocked(first, {});
  if (taken < 2) QueueLocked(second, {});
}

void Channel::Send(const OutgoingPacket& packet) { SendWithFd(packet, {}); }

void Channel::SendWithFd(const OutgoingPacket& packet, UniqueFd fd) {
  const MutexLock lock(mutex_);
  if (queue_.empty() && TrySendLocked(packet, fd.get())) return;
  QueueLocked(packet, std::move(fd));
}

bool Channel::TrySendLocked(const OutgoingPacket& packet, int fd) {
  const Message message(packet, fd);
  for (;;) {
    if (sendmsg(socket_.get(), &message.head(), MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) return true;
    if (errno != EINTR) return !IsFull(errno);
  }
}

void Channel::QueueLocked(const OutgoingPacket& packet, UniqueFd fd) {
  if (overflowing_) return;
  Queued& queued = queue_.emplace_back();
  const auto header = EncodeHeader(packet.header);
  queued.bytes.append(header.data(), header.size());
  queued.bytes.append(packet.body);
  queued.fd = std::move(fd);
  queued_bytes_ += queued.bytes.size();
  if (queued_bytes_ > kMostQueuedBytes) overflowing_ = true;
  wakeup_->Notify();
}

void Channel::Flush() {
  const MutexLock lock(mutex_);
  while (!queue_.empty()) {
    const Queued& queued = queue_.front();
    OutgoingPacket packet;
    ReadHeader(queued.bytes, &packet.header);
    packet.body = std::string_view(queued.bytes).substr(PacketHeader::kSize);
    if (!TrySendLocked(packet, queued.fd.get())) return;
    queued_bytes_ -= queued.bytes.size();
    queue_.pop_front();
  }
}

bool Channel::needs_flush() const {
  const MutexLock lock(mutex_);
  return !queue_.empty();
}

bool Channel::overflowing() const {
  const MutexLock lock(mutex_);
  return overflowing_;
}

ReceiveOutcome Channel::Receive(IncomingPacket* packet) {
  packet->fds.clear();
  iovec part{buffer_.data(), buffer_.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostFds * sizeof(int))> control{};
  msghdr head{};
  head.msg_iov = &part;
  head.msg_iovlen = 1;
  head.msg_control = control.data();
  head.msg_controllen = control.size();
  constexpr int kFlags = MSG_DONTWAIT | MSG_CMSG_CLOEXEC;
  ssize_t size = recvmsg(socket_.get(), &head, kFlags);
  // Told once, before what the peer had sent, when it ended with packets unread. What was sent is
  // there still.
  if (size < 0 && errno == ECONNRESET) size = recvmsg(socket_.get(), &head, kFlags);
  if (size < 0) {
    const bool nothing = errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
    return nothing ? ReceiveOutcome::kNothing : ReceiveOutcome::kEnd;
  }
  TakeFds(&head, &packet->fds);
  if (size == 0) return ReceiveOutcome::kEnd;
  if ((head.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return ReceiveOutcome::kMalformed;
  const std::string_view bytes(buffer_.data(), static_cast<std::size_t>(size));
  if (!ReadHeader(bytes, &packet->header)) return ReceiveOutcome::kMalformed;
  packet->body = bytes.substr(PacketHeader::kSize);
  return ReceiveOutcome::kPacket;
}

}  // namespace fastserve
