// The response framer's states, one function each.
#include "perf/http_response_reader.h"

#include <algorithm>
#include <cctype>
#include <charconv>

namespace fastserve::perf {

namespace {

constexpr std::size_t kMaxHeadBytes = 65536;
constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";

bool EqualsIgnoringCase(std::string_view a, std::string_view b) {
  const auto same = [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  };
  return a.size() == b.size() && std::equal(a.begin(), a.end(), b.begin(), same);
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\t')) text.remove_suffix(1);
  return text;
}

bool ParseNumber(std::string_view text, int base, std::uint64_t* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number, base);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

Status NotHttp(std::string_view what) {
  return Status::InvalidArgument("the server's answer is not HTTP/1.1: " + std::string(what));
}

}  // namespace

void HttpResponseReader::Start(ResponseBody* body) {
  state_ = State::kHead;
  body_ = body;
  line_.clear();
  remaining_ = 0;
  status_ = 0;
  keep_alive_ = true;
  has_length_ = false;
  chunked_ = false;
}

Result<std::size_t> HttpResponseReader::Consume(std::string_view bytes) {
  std::string_view rest = bytes;
  while (!rest.empty() && state_ != State::kDone) FASTSERVE_RETURN_IF_ERROR(Step(&rest));
  return bytes.size() - rest.size();
}

Status HttpResponseReader::ConsumeEnd() {
  if (state_ == State::kUntilEnd) state_ = State::kDone;
  if (state_ == State::kDone) return Status::Ok();
  return Status::Unavailable(started()
                                 ? "the server closed the connection in the middle of an answer"
                                 : "the server closed the connection before answering");
}

Status HttpResponseReader::Step(std::string_view* bytes) {
  switch (state_) {
    case State::kHead:
      return ReadHead(bytes);
    case State::kChunkSize:
      return ReadChunkSize(bytes);
    case State::kChunkEnd:
      return ReadChunkEnd(bytes);
    case State::kTrailers:
      return ReadTrailers(bytes);
    case State::kBody:
    case State::kUntilEnd:
    case State::kChunkData:
    case State::kDone:
      ReadBody(bytes);
      return Status::Ok();
  }
  return Status::Ok();
}

Result<bool> HttpResponseReader::CollectUntil(std::string_view mark, std::string_view* bytes) {
  // The mark may be split between pieces: look again at the last bytes collected.
  const std::size_t before = line_.size();
  const std::size_t from = before < mark.size() ? 0 : before - mark.size() + 1;
  line_.append(bytes->substr(0, kMaxHeadBytes));
  const std::size_t found = line_.find(mark, from);
  if (found == std::string::npos) {
    bytes->remove_prefix(line_.size() - before);
    if (line_.size() > kMaxHeadBytes) return NotHttp("a head or line of more than 65536 bytes");
    return false;
  }
  bytes->remove_prefix(found + mark.size() - before);
  line_.resize(found);
  return true;
}

Status HttpResponseReader::ReadHead(std::string_view* bytes) {
  const std::size_t end = line_.empty() ? bytes->find(kHeadEnd) : std::string_view::npos;
  if (end != std::string_view::npos) {  // the usual case: the whole head in one piece
    const std::string_view head = bytes->substr(0, end);
    bytes->remove_prefix(end + kHeadEnd.size());
    return ParseHead(head);
  }
  FASTSERVE_ASSIGN_OR_RETURN(const bool complete, CollectUntil(kHeadEnd, bytes));
  if (!complete) return Status::Ok();
  const std::string head = std::move(line_);
  line_.clear();
  return ParseHead(head);
}

Status HttpResponseReader::ParseHead(std::string_view head) {
  std::uint64_t status = 0;
  if (head.substr(0, 7) != "HTTP/1." || head.size() < 12 ||
      !ParseNumber(head.substr(9, 3), 10, &status)) {
    return NotHttp("it begins with '" + std::string(head.substr(0, 20)) + "'");
  }
  keep_alive_ = head[7] == '1';
  status_ = static_cast<int>(status);
  std::size_t line_end = head.find(kLineEnd);
  while (line_end != std::string_view::npos) {
    head.remove_prefix(line_end + kLineEnd.size());
    line_end = head.find(kLineEnd);
    FASTSERVE_RETURN_IF_ERROR(ParseHeaderLine(head.substr(0, line_end)));
  }
  AfterHead();
  return Status::Ok();
}

Status HttpResponseReader::ParseHeaderLine(std::string_view line) {
  const std::size_t colon = line.find(':');
  if (colon == std::string_view::npos) return NotHttp("header line '" + std::string(line) + "'");
  const std::string_view name = line.substr(0, colon);
  const std::string_view value = Trim(line.substr(colon + 1));
  if (EqualsIgnoringCase(name, "content-length")) {
    has_length_ = true;
    if (!ParseNumber(value, 10, &remaining_))
      return NotHttp("Content-Length '" + std::string(value) + "'");
  } else if (EqualsIgnoringCase(name, "transfer-encoding")) {
    chunked_ = EqualsIgnoringCase(value, "chunked");
    if (!chunked_) return NotHttp("Transfer-Encoding '" + std::string(value) + "'");
  } else if (EqualsIgnoringCase(name, "connection")) {
    if (EqualsIgnoringCase(value, "close")) keep_alive_ = false;
    if (EqualsIgnoringCase(value, "keep-alive")) keep_alive_ = true;
  }
  return Status::Ok();
}

void HttpResponseReader::AfterHead() {
  if (status_ < 200) {  // an interim answer: the real one follows
    Start(body_);
  } else if (status_ == 204 || status_ == 304) {
    state_ = State::kDone;
  } else if (chunked_) {
    state_ = State::kChunkSize;
  } else if (has_length_) {
    state_ = remaining_ == 0 ? State::kDone : State::kBody;
  } else {
    state_ = State::kUntilEnd;
    keep_alive_ = false;
  }
}

void HttpResponseReader::ReadBody(std::string_view* bytes) {
  const bool until_end = state_ == State::kUntilEnd;
  const std::size_t take =
      until_end ? bytes->size() : std::min<std::uint64_t>(bytes->size(), remaining_);
  body_->Append(bytes->substr(0, take));
  bytes->remove_prefix(take);
  if (until_end) return;
  remaining_ -= take;
  if (remaining_ > 0) return;
  state_ = state_ == State::kChunkData ? State::kChunkEnd : State::kDone;
}

Status HttpResponseReader::ReadChunkSize(std::string_view* bytes) {
  FASTSERVE_ASSIGN_OR_RETURN(const bool complete, CollectUntil(kLineEnd, bytes));
  if (!complete) return Status::Ok();
  const std::string_view size = Trim(std::string_view(line_).substr(0, line_.find(';')));
  if (!ParseNumber(size, 16, &remaining_)) return NotHttp("chunk size '" + std::string(size) + "'");
  line_.clear();
  state_ = remaining_ == 0 ? State::kTrailers : State::kChunkData;
  return Status::Ok();
}

Status HttpResponseReader::ReadChunkEnd(std::string_view* bytes) {
  FASTSERVE_ASSIGN_OR_RETURN(const bool complete, CollectUntil(kLineEnd, bytes));
  if (!complete) return Status::Ok();
  if (!line_.empty()) return NotHttp("a chunk longer than its size");
  state_ = State::kChunkSize;
  return Status::Ok();
}

Status HttpResponseReader::ReadTrailers(std::string_view* bytes) {
  FASTSERVE_ASSIGN_OR_RETURN(const bool complete, CollectUntil(kLineEnd, bytes));
  if (!complete) return Status::Ok();
  if (line_.empty()) state_ = State::kDone;
  line_.clear();
  return Status::Ok();
}

}  // namespace fastserve::perf
