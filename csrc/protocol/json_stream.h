// A RapidJSON input stream over bytes that need no terminating NUL and may be overwritten: strings
// are unescaped in place.
#pragma once

#include <rapidjson/reader.h>

#include <cstddef>

namespace fastserve {

// Reads as NUL at the end, which RapidJSON takes for the end of the document. Not thread safe.
class JsonStream {
 public:
  using Ch = char;

  JsonStream(char* begin, std::size_t size) : begin_(begin), position_(begin), end_(begin + size) {}

  Ch Peek() const { return position_ == end_ ? '\0' : *position_; }
  Ch Take() { return position_ == end_ ? '\0' : *position_++; }
  std::size_t Tell() const { return static_cast<std::size_t>(position_ - begin_); }

  // In-situ output never overtakes the input.
  Ch* PutBegin() { return out_ = position_; }
  void Put(Ch c) { *out_++ = c; }
  std::size_t PutEnd(const Ch* begin) const { return static_cast<std::size_t>(out_ - begin); }
  void Flush() {}

  char* position() const { return position_; }
  bool at_end() const { return position_ == end_; }

 private:
  char* begin_;
  char* position_;
  char* end_;
  char* out_ = nullptr;
};

// NaN, Infinity and -Infinity are read; no recursion; numbers arrive as their text, to be converted
// once, to the type needed.
inline constexpr unsigned kJsonFlags =
    rapidjson::kParseInsituFlag | rapidjson::kParseIterativeFlag | rapidjson::kParseNanAndInfFlag |
    rapidjson::kParseNumbersAsStringsFlag;

}  // namespace fastserve

namespace rapidjson {
// The parser works on a copy in registers; RawNumber of in-situ parsing relies on it.
template <>
struct StreamTraits<fastserve::JsonStream> {
  enum { copyOptimization = 1 };
};
}  // namespace rapidjson
