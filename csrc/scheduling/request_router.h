// How a scheduler reaches other models: by name, at the moment of each request, so that they load,
// reload and go away independently. Implemented by the engine.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "base/status.h"
#include "inference/request.h"
#include "scheduling/lender.h"

namespace fastserve {

// One loaded version of a model, as who sends it requests sees it. Thread safe. While it is held, a
// request for it is taken even if the version is being replaced.
class RequestTarget {
 public:
  virtual ~RequestTarget() = default;
  virtual const std::shared_ptr<const ModelSpec>& spec() const = 0;
  // Takes the request (fields filled, sink set). Never blocks; every outcome reaches the sink,
  // maybe before Submit returns. With a lender, a cheap model waits for lender->Run().
  virtual void Submit(const RequestPtr& request, Lender* lender) = 0;
};

// Thread safe; outlives every scheduler that has it.
class RequestRouter {
 public:
  virtual ~RequestRouter() = default;
  // version -1: the newest. Errors: NotFound with Triton's texts.
  virtual Result<std::shared_ptr<RequestTarget>> Find(std::string_view name,
                                                      std::int64_t version) const = 0;
};

}  // namespace fastserve
