#include "engine/model_registry.h"

#include <algorithm>
#include <mutex>
#include <utility>

namespace fastserve {

namespace {

Status UnknownModel(std::string_view name) {
  return Status::NotFound("Request for unknown model: '" + std::string(name) + "' is not found");
}

Status UnknownVersion(std::string_view name, std::int64_t version) {
  return Status::NotFound("Request for unknown model: '" + std::string(name) + "' version " +
                          std::to_string(version) + " is not found");
}

Status NoVersions(std::string_view name) {
  return Status::NotFound("Request for unknown model: '" + std::string(name) +
                          "' has no available versions");
}

}  // namespace

std::vector<std::shared_ptr<LoadedModel>> ModelRegistry::Publish(const std::string& name,
                                                                 Versions versions) {
  std::sort(versions.begin(), versions.end(),
            [](const auto& a, const auto& b) { return a->spec()->version < b->spec()->version; });
  Versions gone;
  {
    const std::unique_lock<std::shared_mutex> lock(mutex_);
    Versions& current = models_[name];
    for (auto& old : current) {
      if (std::find(versions.begin(), versions.end(), old) == versions.end())
        gone.push_back(std::move(old));
    }
    current = std::move(versions);
  }
  return gone;
}

Result<std::shared_ptr<LoadedModel>> ModelRegistry::Find(std::string_view name,
                                                         std::int64_t version) const {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  const auto found = models_.find(name);
  if (found == models_.end()) return UnknownModel(name);
  if (found->second.empty()) return NoVersions(name);
  if (version == -1) return found->second.back();
  for (const auto& model : found->second) {
    if (model->spec()->version == version) return model;
  }
  return UnknownVersion(name, version);
}

Result<std::vector<std::shared_ptr<LoadedModel>>> ModelRegistry::List(std::string_view name,
                                                                      std::int64_t version) const {
  if (!name.empty() && version != -1) {
    FASTSERVE_ASSIGN_OR_RETURN(std::shared_ptr<LoadedModel> model, Find(name, version));
    return Versions{std::move(model)};
  }
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  if (!name.empty()) {
    const auto found = models_.find(name);
    if (found == models_.end()) return UnknownModel(name);
    if (found->second.empty()) return NoVersions(name);
    return found->second;
  }
  Versions all;
  for (const auto& [unused, versions] : models_)
    all.insert(all.end(), versions.begin(), versions.end());
  return all;
}

bool ModelRegistry::Knows(std::string_view name) const {
  const std::shared_lock<std::shared_mutex> lock(mutex_);
  return models_.find(name) != models_.end();
}

}  // namespace fastserve
