// Messages: framing, limits, compression; and the queues on the way out.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "grpc/compression.h"
#include "grpc/message_reader.h"
#include "grpc/outgoing_body.h"

namespace fastserve {
namespace {

std::string Frame(std::string_view message, bool compressed = false) {
  const std::size_t size = message.size();
  std::string frame = {static_cast<char>(compressed), static_cast<char>(size >> 24),
                       static_cast<char>(size >> 16), static_cast<char>(size >> 8),
                       static_cast<char>(size)};
  return frame.append(message);
}

std::span<const std::byte> Bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

std::string Text(const BufferView& view) {
  return {reinterpret_cast<const char*>(view.data), view.size};
}

struct ReadResult {
  std::vector<std::string> messages;
  GrpcStatus error;
};

// Feeds `chunks`, collects messages until an error.
ReadResult ReadAll(MessageReader* reader, const std::vector<std::string>& chunks) {
  ReadResult result;
  for (const std::string& chunk : chunks) {
    std::span<const std::byte> bytes = Bytes(chunk);
    for (;;) {
      const auto progress = reader->Read(&bytes, &result.error);
      if (progress == MessageReader::Progress::kError) return result;
      if (progress == MessageReader::Progress::kNeedsMore) break;
      result.messages.push_back(Text(reader->TakeMessage()));
    }
  }
  return result;
}

WireMessage Wire(std::string text) {
  WireMessage message;
  message.pieces.push_back({std::move(text), {}});
  return message;
}

BufferView TensorOf(std::size_t size, char fill) {
  BufferPtr buffer = AllocateHostBuffer(size);
  std::memset(buffer->data(), fill, size);
  return buffer;
}

TEST(MessageReader, ReadsMessagesSplitAtEveryByteAndSeveralInOneChunk) {
  const std::string stream = Frame("first") + Frame("") + Frame("the third");
  for (std::size_t split = 0; split <= stream.size(); ++split) {
    MessageReader reader;
    reader.Reset({}, MessageEncoding::kIdentity);
    const ReadResult result = ReadAll(&reader, {stream.substr(0, split), stream.substr(split)});
    EXPECT_THAT(result.messages, testing::ElementsAre("first", "", "the third")) << split;
    EXPECT_FALSE(reader.mid_message());
  }
}

TEST(MessageReader, KnowsThatAMessageIsIncomplete) {
  MessageReader reader;
  reader.Reset({}, MessageEncoding::kIdentity);
  ReadAll(&reader, {Frame("whole"), std::string(2, 0)});
  EXPECT_TRUE(reader.mid_message());
}

TEST(MessageReader, MessageLargerThanTheLimitIsRefusedAtItsPrefix) {
  MessageReader reader;
  reader.Reset({.max_message_bytes = 10, .budget = nullptr}, MessageEncoding::kIdentity);
  EXPECT_TRUE(ReadAll(&reader, {Frame("0123456789")}).error.ok());
  const ReadResult result = ReadAll(&reader, {Frame("0123456789a").substr(0, 5)});
  // The prefix alone does not allocate, but it already tells.
  EXPECT_EQ(result.error.code, GrpcStatusCode::kResourceExhausted);
  EXPECT_EQ(result.error.message, "SERVER: Received message larger than max (11 vs. 10)");
}

TEST(MessageReader, ArrivingBytesCountAgainstTheSharedBudget) {
  ByteBudget budget(100);
  const MessageLimits limits{.max_message_bytes = 1000, .budget = &budget};
  MessageReader first;
  first.Reset(limits, MessageEncoding::kIdentity);
  const std::string frame = Frame(std::string(200, 'x'));
  EXPECT_TRUE(ReadAll(&first, {frame.substr(0, 65)}).error.ok());
  EXPECT_EQ(budget.used_bytes(), 60u);
  MessageReader second;
  second.Reset(limits, MessageEncoding::kIdentity);
  const ReadResult refused = ReadAll(&second, {frame.substr(0, 65)});
  EXPECT_EQ(refused.error.code, GrpcStatusCode::kUnavailable);
  EXPECT_EQ(refused.error.message,
            "request of 200 bytes: 60 of 100 bytes are in flight (--max-inflight-bytes)");
  first.Reset(limits, MessageEncoding::kIdentity);
  EXPECT_EQ(budget.used_bytes(), 0u);
}

TEST(MessageReader, TensorIsAlignedHoweverTheMessageArrives) {
  // ModelInferRequest: model_name (field 1), then raw_input_contents (field 7).
  const std::string tensor(4096, 't');
  const std::string message = std::string("\x0a\x05model\x3a\x80\x20", 10) + tensor;
  const std::string frame = Frame(message);
  for (const std::size_t split : {std::size_t{1}, std::size_t{5}, std::size_t{6}, std::size_t{14},
                                  std::size_t{2000}, frame.size()}) {
    MessageReader reader;
    reader.Reset({}, MessageEncoding::kIdentity);
    GrpcStatus error;
    std::span<const std::byte> head = Bytes(frame).first(split);
    std::span<const std::byte> rest = Bytes(frame).subspan(split);
    if (reader.Read(&head, &error) != MessageReader::Progress::kMessage) {
      ASSERT_EQ(reader.Read(&rest, &error), MessageReader::Progress::kMessage);
    }
    const BufferView view = reader.TakeMessage();
    EXPECT_EQ(Text(view), message);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(view.data + 10) % kBufferAlignment, 0u) << split;
  }
}

TEST(MessageReader, MessageIsCopiedOnce) {
  MessageReader reader;
  reader.Reset({}, MessageEncoding::kIdentity);
  const std::string frame = Frame(std::string(1 << 20, 'x'));
  const std::uint64_t before = CopiedBytes();
  for (std::size_t offset = 0; offset < frame.size(); offset += 16384)
    ReadAll(&reader, {frame.substr(offset, 16384)});
  EXPECT_EQ(CopiedBytes() - before, std::uint64_t{1} << 20);
}

TEST(MessageReader, ReadsCompressedMessages) {
  const std::string text(10000, 'z');
  for (const MessageEncoding encoding : {MessageEncoding::kGzip, MessageEncoding::kDeflate}) {
    MessageReader reader;
    reader.Reset({}, encoding);
    const std::string bytes = Compress(encoding, CompressionLevel::kLow, Wire(text));
    EXPECT_LT(bytes.size(), 200u);
    EXPECT_THAT(ReadAll(&reader, {Frame(bytes, true), Frame("plain")}).messages,
                testing::ElementsAre(text, "plain"));
  }
}

TEST(MessageReader, CompressionBombStopsAtTheLimit) {
  for (const MessageEncoding encoding : {MessageEncoding::kGzip, MessageEncoding::kDeflate}) {
    MessageReader reader;
    reader.Reset({.max_message_bytes = 10000, .budget = nullptr}, encoding);
    const std::string bomb =
        Compress(encoding, CompressionLevel::kHigh, Wire(std::string(8 << 20, 0)));
    EXPECT_LT(bomb.size(), 10000u);
    EXPECT_EQ(ReadAll(&reader, {Frame(bomb, true)}).error.code, GrpcStatusCode::kResourceExhausted);
  }
}

TEST(MessageReader, CompressionBombStopsAtTheBudgetOfAllMessages) {
  for (const MessageEncoding encoding : {MessageEncoding::kGzip, MessageEncoding::kDeflate}) {
    ByteBudget budget(100000);
    MessageReader reader;
    reader.Reset({.max_message_bytes = 1 << 30, .budget = &budget}, encoding);
    const std::string bomb =
        Compress(encoding, CompressionLevel::kHigh, Wire(std::string(8 << 20, 0)));
    EXPECT_EQ(ReadAll(&reader, {Frame(bomb, true)}).error.code, GrpcStatusCode::kUnavailable);
    EXPECT_EQ(budget.used_bytes(), 0u);
    const std::string fits(100000, 'f');
    reader.Reset({.max_message_bytes = 1 << 30, .budget = &budget}, encoding);
    const std::string bytes = Compress(encoding, CompressionLevel::kHigh, Wire(fits));
    EXPECT_THAT(ReadAll(&reader, {Frame(bytes, true)}).messages, testing::ElementsAre(fits));
  }
}

TEST(MessageReader, BrokenFramesAreInternalErrors) {
  const std::string gzip = Compress(MessageEncoding::kGzip, CompressionLevel::kLow, Wire("hello"));
  const std::vector<std::pair<MessageEncoding, std::string>> cases = {
      {MessageEncoding::kIdentity, Frame(gzip, true)},    // flag without an encoding
      {MessageEncoding::kGzip, Frame("not gzip", true)},  //
      {MessageEncoding::kGzip, Frame(gzip.substr(0, gzip.size() - 3), true)},  // truncated
      {MessageEncoding::kGzip, Frame(gzip + "x", true)},                       // trailing bytes
      {MessageEncoding::kIdentity, std::string("\x07\x00\x00\x00\x01x", 6)},   // unknown flag
  };
  for (const auto& [encoding, bytes] : cases) {
    MessageReader reader;
    reader.Reset({}, encoding);
    EXPECT_EQ(ReadAll(&reader, {bytes}).error.code, GrpcStatusCode::kInternal);
  }
}

std::string Drain(WriteQueue* queue, std::size_t step) {
  std::string bytes;
  while (!queue->empty()) {
    std::array<iovec, 3> room;
    const std::size_t count = queue->Gather(room);
    const std::size_t take = std::min(step, room[0].iov_len);
    EXPECT_GE(count, 1u);
    bytes.append(static_cast<const char*>(room[0].iov_base), take);
    queue->Consume(take);
  }
  return bytes;
}

TEST(OutgoingBody, MovesItsBytesInOrderInAnyStep) {
  const std::string expected =
      "head" + std::string(3000, 'a') + "middle" + std::string(10, 'b') + "end";
  for (const std::size_t step :
       {std::size_t{1}, std::size_t{7}, std::size_t{1500}, std::size_t{100000}}) {
    for (const bool copy_out : {false, true}) {
      OutgoingBody body;
      body.Append({"head", TensorOf(3000, 'a')});
      body.Append({"middle", TensorOf(10, 'b')});
      body.Append({"end", {}});
      WriteQueue queue;
      body.MoveTo(&queue, std::min(step, body.size()));
      if (copy_out) body.CopyOut();
      while (!body.empty()) body.MoveTo(&queue, std::min(step, body.size()));
      if (copy_out) queue.CopyOut();
      EXPECT_EQ(Drain(&queue, step), expected) << step << copy_out;
    }
  }
}

TEST(OutgoingBody, LargeTensorsLeaveWithoutACopyAndSmallOnesDoNotWait) {
  OutgoingBody body;
  BufferView tensor = TensorOf(1 << 20, 'a');
  const std::weak_ptr<Buffer> alive = tensor.owner;
  body.Append({"", std::move(tensor)});
  WriteQueue queue;
  const std::uint64_t before = CopiedBytes();
  body.MoveTo(&queue, 1 << 20);
  EXPECT_EQ(CopiedBytes(), before);
  EXPECT_FALSE(alive.expired());
  queue.Consume(1 << 20);
  EXPECT_TRUE(alive.expired());
}

TEST(OutgoingBody, CopyingOutFreesTheBatchBuffer) {
  OutgoingBody body;
  BufferView tensor = TensorOf(5000, 'a');
  const std::weak_ptr<Buffer> alive = tensor.owner;
  body.Append({"x", std::move(tensor)});
  body.CopyOut();
  EXPECT_TRUE(alive.expired());
  EXPECT_EQ(body.size(), 5001u);
}

TEST(Compression, RoundTripsEveryLevelAndPieceKind) {
  WireMessage message;
  message.pieces.push_back({"head", TensorOf(100000, 'q')});
  message.pieces.push_back({std::string(70000, 'w'), {}});
  for (const auto encoding : {MessageEncoding::kGzip, MessageEncoding::kDeflate}) {
    for (const auto level :
         {CompressionLevel::kLow, CompressionLevel::kMedium, CompressionLevel::kHigh}) {
      const std::string bytes = Compress(encoding, level, message);
      std::string output;
      ASSERT_TRUE(Decompress(encoding, Bytes(bytes), message.size(), &output).ok());
      EXPECT_EQ(output, message.Flatten());
    }
  }
}

}  // namespace
}  // namespace fastserve
