// Which versions of which model requests reach now.
#pragma once

#include <map>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <vector>

#include "engine/loaded_model.h"

namespace fastserve {

// Thread safe; a lookup takes a shared lock for the copy of one pointer.
class ModelRegistry {
 public:
  // Replaces the published versions; returns those that are published no more.
  std::vector<std::shared_ptr<LoadedModel>> Publish(
      const std::string& name, std::vector<std::shared_ptr<LoadedModel>> versions);
  // version -1: the newest. Errors: NotFound with Triton's texts.
  Result<std::shared_ptr<LoadedModel>> Find(std::string_view name, std::int64_t version) const;
  // Empty name: every model, by name; version -1: every version. Errors: as Find.
  Result<std::vector<std::shared_ptr<LoadedModel>>> List(std::string_view name,
                                                         std::int64_t version) const;
  // True when the name was ever published.
  bool Knows(std::string_view name) const;

 private:
  using Versions = std::vector<std::shared_ptr<LoadedModel>>;  // ascending

  mutable std::shared_mutex mutex_;  // guards models_
  std::map<std::string, Versions, std::less<>> models_;
};

}  // namespace fastserve
