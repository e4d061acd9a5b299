// The JSON of rare packets, and of parameters: small objects, nested at most 100 deep.
#pragma once

#include <rapidjson/document.h>

#include <string>
#include <string_view>

#include "base/status.h"
#include "inference/response.h"

namespace fastserve {

// Errors: InvalidArgument for text that is no JSON object, or nested deeper than 100.
Result<rapidjson::Document> ParseJsonObject(std::string_view text);
// A value as text again.
std::string JsonText(const rapidjson::Value& value);
// A member's text; empty when it is absent, null, or no string.
std::string JsonMember(const rapidjson::Value& object, const char* name);
bool JsonFlag(const rapidjson::Value& object, const char* name);

// An object of numbers, strings and booleans ("" is an empty one). Errors: InvalidArgument.
Result<Parameters> ParseParameters(std::string_view text);

}  // namespace fastserve
