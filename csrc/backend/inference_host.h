// What a running model may ask of the server that runs it: inference by other models (business
// logic scripting), and control of the repository. Implemented by the engine.
#pragma once

#include <functional>
#include <string>

#include "inference/request.h"

namespace fastserve {

// Thread safe. Outlives nobody: after the engine has ended every request fails, every control call
// is answered with an error.
class InferenceHost {
 public:
  virtual ~InferenceHost() = default;
  // Takes the request (fields filled, `caller` and sink set). Never blocks; every outcome reaches
  // the sink, maybe before Submit returns. A decoupled model is refused unless `allow_decoupled`.
  virtual void Submit(const RequestPtr& request, bool allow_decoupled) = 0;
  // {"worker": number, "call": one call of pb_utils (load_model, ...), "loading": the model if its
  // worker is not initialized yet, else ""}, or {"worker": number, "ended": true}, when one that
  // called has gone; `done` is given the JSON {"error": [code, text]
  // or null, "value": ...}, once, on any thread, maybe inside the call. Never blocks.
  virtual void Control(std::string call, std::function<void(std::string)> done) = 0;
};

}  // namespace fastserve
