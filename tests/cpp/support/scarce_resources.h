// Engines and instance groups that the rate limiter holds back: there are some "slots" of each
// device, and one "licence" for the whole server.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "engine/engine.h"

namespace fastserve {

inline std::unique_ptr<Engine> EngineWithSlots(std::uint32_t slots) {
  EngineOptions options;
  options.max_inflight_bytes = 1 << 24;
  options.rate_limit = true;
  options.rate_limit_resources = {{"slots", slots}, {"licence", 1}};
  return std::move(*Engine::Create(options));
}

// What each instance of a group holds while it executes.
struct Needs {
  std::uint32_t slots = 0;
  std::uint32_t licences = 0;
};

inline InstanceGroupSpec GroupThatNeeds(Needs needs, const std::string& name, int instances) {
  InstanceGroupSpec group;
  group.name = name;
  group.count = instances;
  if (needs.slots != 0) group.resources.push_back({"slots", false, needs.slots});
  if (needs.licences != 0) group.resources.push_back({"licence", true, needs.licences});
  return group;
}

}  // namespace fastserve
