#include "grpc/message_reader.h"

#include <algorithm>
#include <cstring>

#include "protocol/infer_proto.h"

namespace fastserve {

namespace {

// Beyond this many bytes without a raw tensor in sight, alignment is not looked for any more.
constexpr std::size_t kAlignSearchBytes = 64 * 1024;
constexpr std::size_t kAlignStepBytes = 1024;

GrpcStatus TooLarge(std::uint64_t size, std::uint64_t limit) {
  return {GrpcStatusCode::kResourceExhausted, "SERVER: Received message larger than max (" +
                                                  std::to_string(size) + " vs. " +
                                                  std::to_string(limit) + ")"};
}

GrpcStatus OutOfMemory(std::size_t size) {
  return {GrpcStatusCode::kResourceExhausted,
          "no memory to receive a message of " + std::to_string(size) + " bytes"};
}

GrpcStatus BudgetSpent() {
  return {GrpcStatusCode::kUnavailable, "too many bytes of requests in flight"};
}

}  // namespace

void MessageReader::Reset(const MessageLimits& limits, MessageEncoding encoding) {
  ReleaseBudget();
  limits_ = limits;
  encoding_ = encoding;
  prefix_size_ = 0;
  buffer_.reset();
  message_ = {};
}

MessageReader::Progress MessageReader::Read(std::span<const std::byte>* bytes, GrpcStatus* error) {
  while (!bytes->empty()) {
    if (prefix_size_ < kPrefixBytes) {
      if (!ReadPrefix(bytes)) return Progress::kNeedsMore;
      *error = StartMessage();
      if (!error->ok()) return Progress::kError;
    }
    const std::size_t take = std::min(bytes->size(), declared_ - arrived_);
    *error = Append(bytes->first(take));
    if (!error->ok()) return Progress::kError;
    *bytes = bytes->subspan(take);
    if (arrived_ < declared_) return Progress::kNeedsMore;
    *error = Finish();
    return error->ok() ? Progress::kMessage : Progress::kError;
  }
  return Progress::kNeedsMore;
}

BufferView MessageReader::TakeMessage() { return std::move(message_); }

bool MessageReader::ReadPrefix(std::span<const std::byte>* bytes) {
  const std::size_t take = std::min(bytes->size(), kPrefixBytes - prefix_size_);
  std::memcpy(prefix_.data() + prefix_size_, bytes->data(), take);
  prefix_size_ += take;
  *bytes = bytes->subspan(take);
  return prefix_size_ == kPrefixBytes;
}

GrpcStatus MessageReader::StartMessage() {
  const auto flag = std::to_integer<unsigned>(prefix_[0]);
  declared_ = 0;
  for (std::size_t i = 1; i < kPrefixBytes; ++i)
    declared_ = declared_ << 8 | std::to_integer<std::size_t>(prefix_[i]);
  if (flag > 1) return {GrpcStatusCode::kInternal, "message prefix has an invalid compressed flag"};
  compressed_ = flag == 1;
  if (compressed_ && encoding_ == MessageEncoding::kIdentity) {
    return {GrpcStatusCode::kInternal, "compressed message without a grpc-encoding header"};
  }
  if (declared_ > limits_.max_message_bytes) return TooLarge(declared_, limits_.max_message_bytes);
  arrived_ = 0;
  shift_ = 0;
  aligned_ = compressed_;
  buffer_.reset();
  return {};
}

GrpcStatus MessageReader::Append(std::span<const std::byte> chunk) {
  const bool whole = chunk.size() == declared_;
  if (!whole && limits_.budget != nullptr) {
    if (!limits_.budget->TryTake(chunk.size())) {
      return {GrpcStatusCode::kUnavailable, limits_.budget->Refusal(declared_).message()};
    }
    budget_taken_ += chunk.size();
  }
  if (arrived_ == 0) AlignTensor(chunk);
  if (!EnsureCapacity(arrived_ + chunk.size())) return OutOfMemory(declared_);
  if (!aligned_ && arrived_ > 0) {
    // The beginning came in small chunks: with a little more of it the tensor's place may be known.
    const std::size_t beginning = std::min(chunk.size(), kAlignStepBytes);
    CopyIn(chunk.first(beginning));
    AlignTensor({buffer_->data() + shift_, arrived_});
    chunk = chunk.subspan(beginning);
  }
  CopyIn(chunk);
  return {};
}

void MessageReader::CopyIn(std::span<const std::byte> chunk) {
  if (!chunk.empty()) std::memcpy(buffer_->data() + shift_ + arrived_, chunk.data(), chunk.size());
  arrived_ += chunk.size();
  CountCopiedBytes(chunk.size());
}

// Chooses shift_ as soon as the place of the first raw tensor is known. What arrived before (a
// little) is moved.
void MessageReader::AlignTensor(std::span<const std::byte> known) {
  if (aligned_) return;
  const std::optional<std::size_t> offset = FirstRawInputOffset(known);
  if (!offset) {
    aligned_ = arrived_ > kAlignSearchBytes;
    return;
  }
  aligned_ = true;
  const std::size_t shift = (kBufferAlignment - *offset % kBufferAlignment) % kBufferAlignment;
  if (buffer_ != nullptr && shift != shift_) {
    std::memmove(buffer_->data() + shift, buffer_->data() + shift_, arrived_);
    CountCopiedBytes(arrived_);
  }
  shift_ = shift;
}

bool MessageReader::EnsureCapacity(std::size_t size) {
  const std::size_t needed = kBufferAlignment + size;
  if (buffer_ != nullptr && buffer_->size() >= needed) return true;
  const std::size_t wanted = std::min(declared_, std::max(kReserveBytes, size * 2));
  BufferPtr grown = AllocateHostBuffer(kBufferAlignment + std::max(wanted, size));
  if (grown == nullptr) return false;
  if (buffer_ != nullptr) {
    std::memcpy(grown->data() + shift_, buffer_->data() + shift_, arrived_);
    CountCopiedBytes(arrived_);
  }
  buffer_ = std::move(grown);
  return true;
}

GrpcStatus MessageReader::Finish() {
  ReleaseBudget();
  prefix_size_ = 0;
  if (compressed_) return FinishCompressed();
  std::byte* begin = buffer_->data() + shift_;
  message_ = BufferView(std::move(buffer_), begin, declared_);
  return {};
}

GrpcStatus MessageReader::FinishCompressed() {
  std::string expanded;
  const std::span<const std::byte> input(buffer_->data() + shift_, declared_);
  // A small message must not expand beyond what all messages together may hold.
  const std::uint64_t room =
      limits_.budget == nullptr ? limits_.max_message_bytes : limits_.budget->free_bytes();
  const std::uint64_t limit = std::min(limits_.max_message_bytes, room);
  const Status status = Decompress(encoding_, input, limit, &expanded);
  buffer_.reset();
  if (!status.ok()) {
    const bool too_large = status.code() == StatusCode::kUnavailable;
    if (too_large && limit < limits_.max_message_bytes) return BudgetSpent();
    return {too_large ? GrpcStatusCode::kResourceExhausted : GrpcStatusCode::kInternal,
            status.message()};
  }
  const std::span<const std::byte> bytes = std::as_bytes(std::span(expanded));
  const std::size_t offset = FirstRawInputOffset(bytes).value_or(0);
  const std::size_t shift = (kBufferAlignment - offset % kBufferAlignment) % kBufferAlignment;
  BufferPtr buffer = AllocateHostBuffer(kBufferAlignment + bytes.size());
  if (buffer == nullptr) return OutOfMemory(bytes.size());
  std::byte* begin = buffer->data() + shift;
  if (!bytes.empty()) std::memcpy(begin, bytes.data(), bytes.size());
  CountCopiedBytes(bytes.size());
  message_ = BufferView(std::move(buffer), begin, bytes.size());
  return {};
}

void MessageReader::ReleaseBudget() {
  if (budget_taken_ > 0) limits_.budget->GiveBack(budget_taken_);
  budget_taken_ = 0;
}

}  // namespace fastserve
