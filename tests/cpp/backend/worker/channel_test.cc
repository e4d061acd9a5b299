#include "backend/worker/channel.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <string>

namespace fastserve {
namespace {

OutgoingPacket PacketOf(const std::string& body) {
  OutgoingPacket packet;
  packet.header.kind = PacketKind::kLog;
  packet.header.length = body.size();
  packet.body = body;
  return packet;
}

class ChannelTest : public ::testing::Test {
 protected:
  ChannelTest() {
    std::array<int, 2> fds{};
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()), 0);
    channel_ = std::make_unique<Channel>(UniqueFd(fds[0]), wakeup_);
    peer_ = std::make_unique<Channel>(UniqueFd(fds[1]), wakeup_);
  }
  // The next body, once the sender has flushed what it can.
  std::string Next() {
    for (;;) {
      IncomingPacket packet;
      const ReceiveOutcome outcome = peer_->Receive(&packet);
      if (outcome == ReceiveOutcome::kPacket) return std::string(packet.body);
      if (outcome != ReceiveOutcome::kNothing) return "end";
      if (!channel_->needs_flush()) return "nothing";
      channel_->Flush();
    }
  }

  const std::shared_ptr<const Wakeup> wakeup_ = std::make_shared<Wakeup>();
  std::unique_ptr<Channel> channel_;
  std::unique_ptr<Channel> peer_;
};

TEST_F(ChannelTest, KeepsTheOrderForAPeerThatReadsLate) {
  constexpr int kPackets = 5000;
  for (int i = 0; i < kPackets; i += 2) {
    const std::string first = std::to_string(i) + std::string(1000, 'x');
    const std::string second = std::to_string(i + 1);
    channel_->Send(PacketOf(first), PacketOf(second));
  }
  EXPECT_TRUE(channel_->needs_flush());
  for (int i = 0; i < kPackets; ++i) EXPECT_EQ(std::stoi(Next()), i);
  EXPECT_EQ(Next(), "nothing");
  EXPECT_FALSE(channel_->overflowing());
}

TEST_F(ChannelTest, APeerThatNeverReadsCostsABoundedAmount) {
  const std::string body(60'000, 'x');
  for (int i = 0; i < 3000 && !channel_->overflowing(); ++i) channel_->Send(PacketOf(body));
  EXPECT_TRUE(channel_->overflowing());
}

TEST_F(ChannelTest, CarriesDescriptorsAlsoWhenTheyHadToWait) {
  const std::string body(60'000, 'x');
  while (!channel_->needs_flush()) channel_->Send(PacketOf(body));
  channel_->SendWithFd(PacketOf("with"), UniqueFd(dup(STDERR_FILENO)));
  for (;;) {
    IncomingPacket packet;
    if (peer_->Receive(&packet) == ReceiveOutcome::kNothing) channel_->Flush();
    if (packet.body != "with") continue;
    ASSERT_EQ(packet.fds.size(), 1U);
    EXPECT_NE(fcntl(packet.fds[0].get(), F_GETFD) & FD_CLOEXEC, 0);
    return;
  }
}

TEST_F(ChannelTest, SeesTheEndAndSendsToNobodyWithoutASignal) {
  peer_ = nullptr;
  channel_->Send(PacketOf("lost"));
  channel_->Send(PacketOf("lost"), PacketOf("too"));
  IncomingPacket packet;
  EXPECT_EQ(channel_->Receive(&packet), ReceiveOutcome::kEnd);
  EXPECT_FALSE(channel_->needs_flush());
}

// A peer that ends with packets unread resets the connection.
TEST_F(ChannelTest, ReadsWhatWasSentBeforeAPeerEndedThatHadNotReadAll) {
  channel_->Send(PacketOf("never read"));
  peer_->Send(PacketOf("first"));
  peer_->Send(PacketOf("second"));
  peer_ = nullptr;
  for (const char* expected : {"first", "second"}) {
    IncomingPacket packet;
    ASSERT_EQ(channel_->Receive(&packet), ReceiveOutcome::kPacket);
    EXPECT_EQ(packet.body, expected);
  }
  IncomingPacket packet;
  EXPECT_EQ(channel_->Receive(&packet), ReceiveOutcome::kEnd);
}

TEST(PacketReader, ReadsNothingBehindTheEnd) {
  std::string body;
  PacketWriter writer(&body);
  writer.U32(1000);  // a text's length
  writer.Raw("short");
  PacketReader reader(body);
  EXPECT_EQ(reader.Text(), "");
  EXPECT_FALSE(reader.ok());
  EXPECT_EQ(reader.U64(), 0U);
  EXPECT_TRUE(reader.Dims().empty());
  EXPECT_TRUE(reader.at_end());
}

TEST(PacketReader, ReadsWhatTheWriterWrote) {
  std::string body;
  PacketWriter writer(&body);
  writer.U8(255);
  writer.U16(65535);
  writer.I64(-5);
  writer.Text(std::string("a\0b", 3));
  writer.Dims(Shape{3, -1});
  writer.Range({7, 64, 128});
  PacketReader reader(body);
  EXPECT_EQ(reader.U8(), 255);
  EXPECT_EQ(reader.U16(), 65535);
  EXPECT_EQ(reader.I64(), -5);
  EXPECT_EQ(reader.Text(), std::string_view("a\0b", 3));
  EXPECT_EQ(reader.Dims(), (Shape{3, -1}));
  EXPECT_EQ(reader.Range().length, 128U);
  EXPECT_TRUE(reader.ok() && reader.at_end());
}

}  // namespace
}  // namespace fastserve
