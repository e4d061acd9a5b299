#include "backend/worker/json_object.h"

#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>
#include <rapidjson/stringbuffer.h>
#include <rapidjson/writer.h>

#include <utility>

namespace fastserve {

namespace {

constexpr int kDeepest = 100;
// Iterative: the text may be nested as deep as it likes.
constexpr unsigned kFlags = rapidjson::kParseIterativeFlag | rapidjson::kParseNanAndInfFlag;

// Stops the reader at too deep a value, before anything recurses over it.
class DepthLimit : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, DepthLimit> {
 public:
  bool StartObject() { return ++depth_ <= kDeepest; }
  bool StartArray() { return ++depth_ <= kDeepest; }
  bool EndObject(rapidjson::SizeType /*count*/) { return depth_-- > 0; }
  bool EndArray(rapidjson::SizeType /*count*/) { return depth_-- > 0; }

 private:
  int depth_ = 0;
};

Result<Parameter> ToParameter(const std::string& name, const rapidjson::Value& value) {
  if (value.IsBool()) return Parameter(value.GetBool());
  if (value.IsInt64()) return Parameter(static_cast<std::int64_t>(value.GetInt64()));
  if (value.IsUint64()) return Parameter(static_cast<std::uint64_t>(value.GetUint64()));
  if (value.IsDouble()) return Parameter(value.GetDouble());
  if (value.IsString()) return Parameter(std::string(value.GetString(), value.GetStringLength()));
  return Status::InvalidArgument("parameter '" + name +
                                 "' is no number, string or boolean: " + JsonText(value));
}

}  // namespace

Result<rapidjson::Document> ParseJsonObject(std::string_view text) {
  rapidjson::MemoryStream stream(text.data(), text.size());
  rapidjson::Reader reader;
  DepthLimit limit;
  if (!reader.Parse<kFlags>(stream, limit)) {
    return Status::InvalidArgument("no JSON, or nested deeper than " + std::to_string(kDeepest) +
                                   ", at byte " + std::to_string(reader.GetErrorOffset()));
  }
  rapidjson::Document document;
  document.Parse<kFlags>(text.data(), text.size());
  if (document.HasParseError() || !document.IsObject())
    return Status::InvalidArgument("no JSON object");
  return document;
}

std::string JsonText(const rapidjson::Value& value) {
  rapidjson::StringBuffer buffer;
  rapidjson::Writer<rapidjson::StringBuffer, rapidjson::UTF8<>, rapidjson::UTF8<>,
                    rapidjson::CrtAllocator, rapidjson::kWriteNanAndInfFlag>
      writer(buffer);
  value.Accept(writer);
  return {buffer.GetString(), buffer.GetSize()};
}

std::string JsonMember(const rapidjson::Value& object, const char* name) {
  const auto found = object.FindMember(name);
  if (found == object.MemberEnd() || !found->value.IsString()) return {};
  return {found->value.GetString(), found->value.GetStringLength()};
}

bool JsonFlag(const rapidjson::Value& object, const char* name) {
  const auto found = object.FindMember(name);
  return found != object.MemberEnd() && found->value.IsBool() && found->value.GetBool();
}

Result<Parameters> ParseParameters(std::string_view text) {
  Parameters parameters;
  if (text.empty()) return parameters;
  FASTSERVE_ASSIGN_OR_RETURN(const rapidjson::Document document, ParseJsonObject(text));
  for (const auto& member : document.GetObject()) {
    std::string name(member.name.GetString(), member.name.GetStringLength());
    FASTSERVE_ASSIGN_OR_RETURN(Parameter value, ToParameter(name, member.value));
    parameters.insert_or_assign(std::move(name), std::move(value));
  }
  return parameters;
}

}  // namespace fastserve
