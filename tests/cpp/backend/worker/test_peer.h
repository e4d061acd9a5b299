// The worker's end of the protocol, played by the test on a thread of its own.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "backend/worker/wire.h"
#include "backend/worker/worker_process.h"
#include "backend/worker/worker_session.h"
#include "memory/memfd_segment.h"

namespace fastserve {

constexpr int kAllSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// A request as the peer reads it from EXECUTE.
struct SeenInput {
  std::string name;
  std::uint8_t type = 0;
  Shape shape;
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};
struct SeenRequest {
  std::uint64_t handle = 0;
  std::uint32_t flags = 0;
  std::uint64_t timeout_us = 0;
  std::string id;
  std::string parameters;
  std::vector<std::string> outputs;
  std::vector<SeenInput> inputs;
};
struct SeenExecution {
  std::uint64_t id = 0;
  BlockRange block;
  std::vector<SeenRequest> requests;
};

inline SeenRequest ReadRequest(PacketReader* reader) {
  SeenRequest request;
  request.handle = reader->U64();
  request.flags = reader->U32();
  request.timeout_us = reader->U64();
  if (reader->U8() == 0) {
    reader->U64();
  } else {
    reader->Text();
  }
  request.id = reader->Text();
  request.parameters = reader->Text();
  reader->Text();
  for (std::uint16_t left = reader->U16(); left > 0; --left)
    request.outputs.emplace_back(reader->Text());
  for (std::uint16_t left = reader->U16(); left > 0; --left) {
    SeenInput& input = request.inputs.emplace_back();
    input.name = reader->Text();
    input.type = reader->U8();
    input.shape = reader->Dims();
    input.offset = reader->U64();
    input.size = reader->U64();
  }
  return request;
}

inline constexpr std::uint32_t kSegment = kPeerSegment | 1;  // the id of the tests' segments

// Used by one thread, the script's. Calls block; at the end of the channel they throw End.
class PeerEnd {
 public:
  struct End : std::exception {};
  struct Packet {
    PacketKind kind = PacketKind::kRelease;
    std::string body;
  };

  explicit PeerEnd(int fd) : fd_(fd) {}

  // The next packet that is not about memory.
  Packet Receive() {
    for (;;) {
      Packet packet = ReceiveAny();
      if (packet.kind == PacketKind::kRelease) {
        PacketReader reader(packet.body);
        while (!reader.at_end()) {
          const std::uint32_t segment = reader.U32();
          releases.emplace_back(segment, reader.U64());
        }
      } else if (packet.kind != PacketKind::kSegment && packet.kind != PacketKind::kDropSegment) {
        return packet;
      }
    }
  }
  Packet Expect(PacketKind kind) {
    for (;;) {
      Packet packet = Receive();
      if (packet.kind == kind) return packet;
    }
  }
  SeenExecution ExpectExecution() {
    const Packet packet = Expect(PacketKind::kExecute);
    PacketReader reader(packet.body);
    SeenExecution seen;
    seen.id = reader.U64();
    const std::uint32_t count = reader.U32();
    seen.block = reader.Range();
    for (std::uint32_t i = 0; i < count; ++i) seen.requests.push_back(ReadRequest(&reader));
    return seen;
  }
  void Greet(const WorkerGreeting& greeting = {}) {
    initialize = Expect(PacketKind::kInitialize).body;
    SendInitialized(greeting);
  }
  void SendInitialized(const WorkerGreeting& greeting) {
    std::string body;
    PacketWriter writer(&body);
    writer.U8(greeting.has_is_ready ? 1 : 0);
    writer.Text(greeting.error);
    writer.Text(greeting.config);
    Send(PacketKind::kInitialized, body);
  }

  void Send(PacketKind kind, const std::string& body, int fd = -1, std::uint16_t flags = 0,
            const BlockRange& out_of_line = {}) {
    PacketHeader header;
    header.kind = kind;
    header.flags = flags;
    header.segment = out_of_line.segment;
    header.offset = out_of_line.offset;
    header.length = flags == 0 ? body.size() : out_of_line.length;
    const auto bytes = EncodeHeader(header);
    SendRaw(std::string(bytes.data(), bytes.size()) + body, fd);
  }
  void SendRaw(std::string bytes, int fd = -1) {
    iovec part{bytes.data(), bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    if (fd >= 0) {
      message.msg_control = control.data();
      message.msg_controllen = control.size();
      cmsghdr* const head = CMSG_FIRSTHDR(&message);
      head->cmsg_level = SOL_SOCKET;
      head->cmsg_type = SCM_RIGHTS;
      head->cmsg_len = CMSG_LEN(sizeof(int));
      std::memcpy(CMSG_DATA(head), &fd, sizeof(int));
    }
    if (sendmsg(fd_, &message, MSG_NOSIGNAL) < 0) throw End();
  }
  // Makes a segment of the peer's and announces it as `announced` bytes.
  std::byte* AddSegment(std::uint32_t id, std::size_t size, std::uint64_t announced,
                        int seals = kAllSeals) {
    const UniqueFd fd(memfd_create("peer", MFD_CLOEXEC | MFD_ALLOW_SEALING));
    if (ftruncate(fd.get(), static_cast<off_t>(size)) != 0) throw End();
    if (seals != 0) fcntl(fd.get(), F_ADD_SEALS, seals);
    void* const data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
    Send(PacketKind::kSegment, SegmentBody(id, announced), fd.get());
    return static_cast<std::byte*>(data);
  }
  static std::string SegmentBody(std::uint32_t id, std::uint64_t size) {
    std::string body;
    PacketWriter writer(&body);
    writer.U32(id);
    writer.U64(size);
    return body;
  }
  void Release(const BlockRange& block) {
    std::string body;
    PacketWriter writer(&body);
    writer.U32(block.segment);
    writer.U64(block.offset);
    Send(PacketKind::kRelease, body);
  }
  // Answers every request with its first input, where it lies.
  void Echo(const SeenExecution& seen) {
    std::string body;
    PacketWriter writer(&body);
    writer.U64(seen.id);
    writer.U32(static_cast<std::uint32_t>(seen.requests.size()));
    writer.Range({});
    for (const SeenRequest& request : seen.requests) {
      writer.U8(1);
      writer.Text("");
      writer.U16(1);
      const SeenInput& input = request.inputs.at(0);
      WriteOutput(input.name, input.type, input.shape,
                  {seen.block.segment, seen.block.offset + input.offset, input.size}, &writer);
    }
    Send(PacketKind::kResponses, body);
    if (seen.block.length != 0) Release(seen.block);
  }
  static void WriteOutput(const std::string& name, std::uint8_t type, const Shape& shape,
                          const BlockRange& range, PacketWriter* writer) {
    writer->Text(name);
    writer->U8(type);
    writer->Dims(shape);
    writer->Range(range);
  }

  std::string initialize;
  std::vector<std::pair<std::uint32_t, std::uint64_t>> releases;

 private:
  Packet ReceiveAny() {
    std::array<char, PacketHeader::kSize + kLargestInline> buffer;
    iovec part{buffer.data(), buffer.size()};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t size = recvmsg(fd_, &message, MSG_CMSG_CLOEXEC);
    if (size <= 0) throw End();
    int fd = -1;
    if (const cmsghdr* head = CMSG_FIRSTHDR(&message)) std::memcpy(&fd, CMSG_DATA(head), sizeof fd);
    PacketHeader header;
    const std::string_view bytes(buffer.data(), static_cast<std::size_t>(size));
    ReadHeader(bytes, &header);
    Packet packet{header.kind, std::string(bytes.substr(PacketHeader::kSize))};
    if (header.kind == PacketKind::kSegment) {
      PacketReader reader(packet.body);
      const std::uint32_t id = reader.U32();
      auto adopted = MemfdSegment::Adopt(UniqueFd(fd), reader.U64());
      if (adopted.ok()) segments_[id] = *adopted;
    } else if ((header.flags & kOutOfLine) != 0) {
      const std::byte* at = segments_.at(header.segment)->data() + header.offset;
      packet.body.assign(reinterpret_cast<const char*>(at), header.length);
      Release({header.segment, header.offset, header.length});
    }
    return packet;
  }

  const int fd_;
  std::map<std::uint32_t, std::shared_ptr<MemfdSegment>> segments_;
};

using PeerScript = std::function<void(PeerEnd&)>;

// Greets and echoes until the channel ends.
inline void EchoForEver(PeerEnd& peer) {
  peer.Greet();
  for (;;) peer.Echo(peer.ExpectExecution());
}

// "Processes" that run scripts, one after the other, and then EchoForEver. Thread safe.
class ScriptedLauncher final : public WorkerLauncher {
 public:
  explicit ScriptedLauncher(std::vector<PeerScript> scripts)
      : scripts_(scripts.begin(), scripts.end()) {}

  Result<LaunchedWorker> Launch(const WorkerCommand& /*command*/) override {
    std::array<int, 2> fds{};
    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data());
    LaunchedWorker worker;
    worker.channel = UniqueFd(fds[0]);
    worker.process = std::make_unique<Process>(fds[1], NextScript());
    return worker;
  }
  int launched() {
    const std::lock_guard lock(mutex_);
    return launched_;
  }

 private:
  class Process final : public WorkerProcess {
   public:
    Process(int fd, PeerScript script)
        : fd_(fd), thread_([fd, script = std::move(script)] {
            PeerEnd peer(fd);
            try {
              script(peer);
            } catch (const PeerEnd::End&) {
              (void)0;  // the server closed the channel: so ends every script
            }
            shutdown(fd, SHUT_RDWR);
          }) {}
    ~Process() override {
      Kill();
      (void)Bury();
    }
    int exit_fd() const override { return -1; }
    int pid() const override { return 0; }
    void Kill() override { shutdown(fd_.get(), SHUT_RDWR); }
    std::string Bury() override {
      if (thread_.joinable()) thread_.join();
      return "left the stage";
    }

   private:
    const UniqueFd fd_;
    std::thread thread_;
  };

  PeerScript NextScript() {
    const std::lock_guard lock(mutex_);
    ++launched_;
    if (scripts_.empty()) return EchoForEver;
    PeerScript next = std::move(scripts_.front());
    scripts_.pop_front();
    return next;
  }

  std::mutex mutex_;
  std::deque<PeerScript> scripts_;
  int launched_ = 0;
};

}  // namespace fastserve
