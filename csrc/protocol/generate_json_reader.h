// Follows the events of one generate request's JSON, without building a document.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "inference/model_spec.h"
#include "inference/request.h"
#include "protocol/infer_json.h"
#include "protocol/json_stream.h"
#include "protocol/json_tensor_data.h"

namespace fastserve {

// The lengths of nested arrays while they are read: a tensor has equal ones at each level.
class ArrayShape {
 public:
  void Clear();
  // False when the arrays are irregular.
  bool Open();
  bool Close();
  bool AddElement();

  bool open() const { return !counts_.empty(); }
  std::int64_t elements() const { return elements_; }
  // Once closed; empty for a single value.
  const std::vector<std::int64_t>& dims() const { return dims_; }

 private:
  static constexpr std::int64_t kUnknown = -1;

  std::vector<std::int64_t> counts_;  // so far, of the open arrays
  std::vector<std::int64_t> dims_;    // by level
  std::size_t leaf_level_ = 0;        // how deep the elements lie; 0: none was seen
  std::int64_t elements_ = 0;
};

// Used once, by one thread.
//
//   kDocument -{-> kRoot -parameters{-> kParameters
//                    `-----`--input[--> kArray (nested arrays stay there)
class GenerateJsonReader {
 public:
  GenerateJsonReader(const InferJsonLimits& limits, const ModelSpec& spec, InferRequest* request)
      : limits_(limits), spec_(spec), request_(request) {}

  // Reads `size` bytes of JSON, which may be overwritten.
  Status Read(char* text, std::size_t size);

  // RapidJSON's handler; false ends the parse and status_ says why.
  bool Null() { return OnScalar({Kind::kNull, {}, false}); }
  bool Bool(bool value) { return OnScalar({Kind::kBool, {}, value}); }
  bool RawNumber(const char* text, rapidjson::SizeType length, bool) {
    return OnScalar({Kind::kNumber, {text, length}, false});
  }
  bool String(const char* text, rapidjson::SizeType length, bool) {
    return OnScalar({Kind::kString, {text, length}, false});
  }
  bool Key(const char* text, rapidjson::SizeType length, bool);
  bool StartObject();
  bool EndObject(rapidjson::SizeType);
  bool StartArray();
  bool EndArray(rapidjson::SizeType);
  // Numbers come as text.
  bool Int(int) { return false; }
  bool Uint(unsigned) { return false; }
  bool Int64(std::int64_t) { return false; }
  bool Uint64(std::uint64_t) { return false; }
  bool Double(double) { return false; }

 private:
  enum class Scope : std::uint8_t { kDocument, kRoot, kParameters, kArray };
  enum class Kind : std::uint8_t { kNull, kBool, kNumber, kString };
  // What the key of a member means.
  enum class Member : std::uint8_t { kParameter, kInput, kId, kNested };
  struct Scalar {
    Kind kind;
    std::string_view text;
    bool flag;
  };

  bool Deeper();
  bool OnScalar(const Scalar& value);
  bool SetId(const Scalar& value);
  bool SetParameter(const Scalar& value);
  // A value of a kind that the member does not take.
  bool RefuseCompound();

  bool BeginInput();
  bool AddElement(const Scalar& value);
  // A single value, or the whole array, was read.
  bool EndInput(const Scalar* single);
  Status FillInput(const Scalar* single);
  Status FillNumbers(const Scalar* single);
  bool AddTo(const Scalar& value);
  Result<Shape> InputShape() const;
  Status Irregular() const;

  bool Fail(Status status);
  bool FailInput(const Status& status);

  const InferJsonLimits& limits_;
  const ModelSpec& spec_;
  InferRequest* request_;
  JsonStream* stream_ = nullptr;
  Status status_;

  Scope scope_ = Scope::kDocument;
  Scope array_parent_ = Scope::kRoot;
  int depth_ = 0;
  std::string_view key_;
  Member member_ = Member::kParameter;
  const TensorSpec* input_ = nullptr;  // of a kInput member
  ArrayShape shape_;
  JsonTensorData data_;
  char* array_begin_ = nullptr;
  std::size_t expanded_bytes_ = 0;
};

}  // namespace fastserve
