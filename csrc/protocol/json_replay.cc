#include "protocol/json_replay.h"

#include "protocol/json_stream.h"

namespace fastserve {

namespace {

using Reader =
    rapidjson::GenericReader<rapidjson::UTF8<>, rapidjson::UTF8<>, rapidjson::CrtAllocator>;

class ReplayHandler {
 public:
  explicit ReplayHandler(JsonTensorData* data) : data_(data) {}
  bool Null() { return data_->AddOther(); }
  bool Bool(bool value) { return data_->AddBool(value); }
  bool RawNumber(const char* text, rapidjson::SizeType length, bool) {
    return data_->AddNumber({text, length});
  }
  bool StartArray() { return true; }
  bool EndArray(rapidjson::SizeType) { return true; }
  // The first reading has refused these, and numbers come as text.
  bool String(const char*, rapidjson::SizeType, bool) { return false; }
  bool Key(const char*, rapidjson::SizeType, bool) { return false; }
  bool StartObject() { return false; }
  bool EndObject(rapidjson::SizeType) { return false; }
  bool Int(int) { return false; }
  bool Uint(unsigned) { return false; }
  bool Int64(std::int64_t) { return false; }
  bool Uint64(std::uint64_t) { return false; }
  bool Double(double) { return false; }

 private:
  JsonTensorData* data_;
};

}  // namespace

Status ReplayNumbers(char* text, std::size_t size, JsonTensorData* data) {
  JsonStream stream(text, size);
  ReplayHandler handler(data);
  rapidjson::CrtAllocator allocator;
  if (Reader(&allocator).Parse<kJsonFlags>(stream, handler).IsError())
    return Status::InvalidArgument(data->error());
  return Status::Ok();
}

}  // namespace fastserve
