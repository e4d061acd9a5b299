// The state machine that follows the events of one inference request's JSON, without building a
// document.
#pragma once

#include <array>
#include <boost/container/small_vector.hpp>
#include <cstdint>
#include <optional>
#include <string_view>

#include "base/status.h"
#include "inference/request.h"
#include "protocol/infer_json.h"
#include "protocol/json_stream.h"
#include "protocol/json_tensor_data.h"

namespace fastserve {

// Fills an InferRequest from JSON events; tensors given as binary are left to the caller. Used
// once, by one thread.
//
//   kDocument -{-> kRoot -inputs[--> kInputs -{-> kInput -shape[------> kShape
//                    |                              |----data[-------> kData (nested arrays stay
//                    there) |                              `----parameters{-> kInputParameters
//                    |---outputs[-> kOutputs -{-> kOutput -parameters{-> kOutputParameters
//                    `---parameters{-> kRequestParameters
//   The value of an unknown key is skipped in kSkip.
class InferJsonReader {
 public:
  InferJsonReader(const InferJsonLimits& limits, InferRequest* request)
      : limits_(limits), request_(request) {}

  // Reads `size` bytes of JSON, which may be overwritten. Errors: InvalidArgument; Unsupported for
  // shared memory; Unavailable when memory is exhausted.
  Status Read(char* text, std::size_t size);

  // binary_data_size of input `index`; nullopt when its data came as JSON.
  std::optional<std::uint64_t> binary_data_size(std::size_t index) const {
    return binary_sizes_[index];
  }

  // RapidJSON's handler; false ends the parse and status_ says why.
  bool Null() { return OnScalar({Kind::kNull, {}, false}); }
  bool Bool(bool value) { return OnScalar({Kind::kBool, {}, value}); }
  bool RawNumber(const char* text, rapidjson::SizeType length, bool) {
    if (scope_ == Scope::kData && data_mode_ == DataMode::kDirect) [[likely]] {
      return data_.AddNumber({text, length}) || FailData(data_.error());
    }
    return OnScalar({Kind::kNumber, {text, length}, false});
  }
  bool String(const char* text, rapidjson::SizeType length, bool) {
    return OnScalar({Kind::kString, {text, length}, false});
  }
  bool Key(const char* text, rapidjson::SizeType length, bool);
  bool StartObject() { return OnStart(Expect::kObject); }
  bool EndObject(rapidjson::SizeType) { return OnEnd(); }
  bool StartArray() { return OnStart(Expect::kArray); }
  bool EndArray(rapidjson::SizeType) { return OnEnd(); }
  // Numbers come as text.
  bool Int(int) { return false; }
  bool Uint(unsigned) { return false; }
  bool Int64(std::int64_t) { return false; }
  bool Uint64(std::uint64_t) { return false; }
  bool Double(double) { return false; }

 private:
  enum class Scope : std::uint8_t {
    kDocument,
    kRoot,
    kRequestParameters,
    kInputs,
    kInput,
    kInputParameters,
    kShape,
    kData,
    kOutputs,
    kOutput,
    kOutputParameters,
    kSkip
  };
  enum class Expect : std::uint8_t { kString, kArray, kObject };
  enum class Kind : std::uint8_t { kNull, kBool, kNumber, kString };
  struct Scalar {
    Kind kind;
    std::string_view text;
    bool flag;
  };
  // A member that has a meaning: where it may stand, what its value is, and the scope of that
  // value.
  struct Member {
    Scope scope;
    std::string_view key;
    Expect expect;
    Scope value_scope;
  };
  // Data may come before the datatype and the shape. Strings can only be BYTES and are taken as
  // they come; numbers are checked now and converted at the end of the input, when the type is
  // known.
  enum class DataMode : std::uint8_t { kUndecided, kDirect, kDeferred };

  static const std::array<Member, 11> kMembers;
  static const Member* FindMember(Scope scope, std::string_view key);
  static std::string_view ExpectName(Expect expect);
  static Scope Parent(Scope scope);

  bool OnStart(Expect got);
  bool OnEnd();
  bool OnScalar(const Scalar& value);
  bool EnterMember(Expect got);
  bool Skip();

  bool MemberScalar(const Scalar& value);
  bool RequestParameter(const Scalar& value);
  bool InputParameter(const Scalar& value);
  bool OutputParameter(const Scalar& value);
  bool UnsignedParameter(const Scalar& value, std::uint64_t limit, std::uint64_t* out);
  bool ShapeScalar(const Scalar& value);
  bool DataScalar(const Scalar& value);

  bool StartTensor(Scope scope);
  bool EndInput();
  bool EndOutput();
  bool EndRoot();
  Status CheckInputMembers() const;
  Status CheckInputSource() const;

  bool StartData();
  Status BeginTyped(std::size_t text_bytes);
  Status FinishData();
  Status ReplayDeferred();

  bool Fail(Status status);
  bool FailData(std::string_view reason);
  Status DataError(const Status& status) const;
  Status ParseFailure(rapidjson::ParseErrorCode code, std::size_t offset) const;
  bool Seen(std::string_view key) const;
  Tensor& input() { return request_->inputs.back(); }
  const Tensor& input() const { return request_->inputs.back(); }

  const InferJsonLimits& limits_;
  InferRequest* request_;
  JsonStream* stream_ = nullptr;
  std::size_t size_ = 0;
  Status status_;

  Scope scope_ = Scope::kDocument;
  Scope skip_return_ = Scope::kDocument;
  int depth_ = 0;
  int nested_ = 0;                  // open brackets inside kData or kSkip
  const Member* member_ = nullptr;  // of the object being read; null when the key has no meaning
  std::string_view key_;
  unsigned seen_ = 0;  // members given so far, a bit per entry of kMembers

  // Of the input or output being read.
  std::optional<std::uint64_t> binary_data_size_;
  std::optional<std::string_view> region_;
  bool has_binary_data_ = false;

  DataMode data_mode_ = DataMode::kUndecided;
  JsonTensorData data_;
  char* deferred_begin_ = nullptr;
  char* deferred_end_ = nullptr;
  std::size_t expanded_bytes_ = 0;

  boost::container::small_vector<std::optional<std::uint64_t>, 4>
      binary_sizes_;                                                // parallel to request_->inputs
  boost::container::small_vector<std::size_t, 4> default_outputs_;  // those without "binary_data"
};

}  // namespace fastserve
