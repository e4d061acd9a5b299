// Which requests are plain infer requests: the path, and the fields that would need more than the
// core does.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "protocol/http_framer.h"

namespace fastserve {

struct InferTarget {
  std::string model_name;
  std::int64_t model_version = -1;  // -1: none was named
};

// /v2/models/NAME[/versions/VERSION]/infer, with or without a query. NAME is percent-decoded. False
// for every other path, and for a version that no model can have: aiohttp's route then says what is
// wrong.
bool ParseInferTarget(std::string_view target, InferTarget* result);

// True when the core alone can answer: POST with one Content-Length, no Expect, no content coding
// in either direction.
bool IsPlainInfer(const HttpHead& head);

}  // namespace fastserve
