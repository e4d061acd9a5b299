#include "backend/worker/json_parameters.h"

#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <string>
#include <utility>

namespace fastserve {

namespace {

// Iterative: the text may be nested as deep as it likes.
constexpr unsigned kFlags = rapidjson::kParseIterativeFlag | rapidjson::kParseNanAndInfFlag;

// Of the reader's events, those of a flat object. Stops at the first value that is none of the
// kinds, before anything nests.
class ParameterHandler {
 public:
  bool Null() { return Refuse("null"); }
  bool Bool(bool value) { return Set(value); }
  bool Int(int value) { return Set(static_cast<std::int64_t>(value)); }
  bool Uint(unsigned value) { return Set(static_cast<std::int64_t>(value)); }
  bool Int64(std::int64_t value) { return Set(value); }
  bool Uint64(std::uint64_t value) { return Set(value); }
  bool Double(double value) { return Set(value); }
  // Numbers arrive converted.
  bool RawNumber(const char* /*text*/, rapidjson::SizeType /*size*/, bool) { return false; }
  bool String(const char* text, rapidjson::SizeType size, bool) {
    return Set(std::string(text, size));
  }
  bool Key(const char* text, rapidjson::SizeType size, bool) {
    name_.assign(text, size);
    return true;
  }
  bool StartObject() {
    if (is_open_) return Refuse("an object");
    is_open_ = true;
    return true;
  }
  bool EndObject(rapidjson::SizeType /*count*/) { return true; }
  bool StartArray() { return Refuse("an array"); }
  bool EndArray(rapidjson::SizeType /*count*/) { return false; }

  const std::string& refusal() const { return refusal_; }
  Parameters Take() { return std::move(parameters_); }

 private:
  bool Set(Parameter value) {
    if (!is_open_) return Refuse("a value");
    parameters_.insert_or_assign(std::move(name_), std::move(value));
    return true;
  }
  bool Refuse(const char* what) {
    refusal_ = is_open_ ? "parameter '" + name_ + "' is no number, string or boolean: " + what
                        : std::string("expected a JSON object, got ") + what;
    return false;
  }

  bool is_open_ = false;
  std::string name_;
  std::string refusal_;
  Parameters parameters_;
};

}  // namespace

Result<Parameters> ParseParameters(std::string_view text) {
  if (text.empty()) return Parameters();
  rapidjson::MemoryStream stream(text.data(), text.size());
  rapidjson::Reader reader;
  ParameterHandler handler;
  if (reader.Parse<kFlags>(stream, handler)) return handler.Take();
  if (!handler.refusal().empty()) return Status::InvalidArgument(handler.refusal());
  return Status::InvalidArgument("no JSON object, at byte " +
                                 std::to_string(reader.GetErrorOffset()));
}

}  // namespace fastserve
