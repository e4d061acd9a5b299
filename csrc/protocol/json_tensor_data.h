// Turns the elements of a JSON "data" array into the bytes of a typed tensor while they are read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "inference/tensor.h"

namespace fastserve {

// One tensor at a time: a Begin, elements in row-major order, Finish. Not thread safe.
// Invariants: 1. memory is bounded by the text read, never by the declared shape alone. 2. Integers
// are exact and in range. After an Add returned false, error() says why.
class JsonTensorData {
 public:
  // Elements of a numeric type or BOOL. `text_bytes` is how much text is left: fewer bytes than
  // `count` elements need is an error.
  Status BeginNumbers(DataType type, std::int64_t count, std::size_t text_bytes);
  // Elements of BYTES; the count is checked in Finish.
  void BeginBytes();

  // `text` is a JSON number, NaN or [-]Infinity.
  bool AddNumber(std::string_view text) {
    if (next_ == end_) [[unlikely]]
      return RefuseNumber(text);
    return (this->*convert_)(text);
  }
  bool AddBool(bool value);
  bool AddString(std::string_view text);
  // A value of a kind no tensor element has: null or an object.
  bool AddOther();

  // Moves the bytes to tensor->data. Errors: InvalidArgument when there were not `count` elements.
  Status Finish(std::int64_t count, Tensor* tensor);

  const std::string& error() const { return error_; }

 private:
  using Convert = bool (JsonTensorData::*)(std::string_view);

  static Convert ConverterOf(DataType type);
  template <typename T>
  bool ConvertInteger(std::string_view text);
  template <typename T>
  bool ConvertFloat(std::string_view text);
  bool ConvertBool(std::string_view text);
  bool RefuseNumber(std::string_view text);
  template <typename T>
  bool Store(T value);

  bool WrongKind(std::string_view got);
  bool TooMany();

  DataType type_ = DataType::kInvalid;
  Convert convert_ = &JsonTensorData::RefuseNumber;
  BufferPtr buffer_;  // numbers
  std::byte* next_ = nullptr;
  std::byte* end_ = nullptr;
  std::string serialized_;  // BYTES
  std::int64_t strings_ = 0;
  std::string error_;
};

}  // namespace fastserve
