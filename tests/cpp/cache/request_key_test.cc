#include "cache/request_key.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "support/requests.h"

namespace fastserve {
namespace {

constexpr SipHasher::Key kSecret = {1, 2};

CacheScope Scope() { return {7, "m", 1, "files"}; }

RequestKey Local(const InferRequest& request) { return KeyInProcess(kSecret, Scope(), request); }
RequestKey Shared(const InferRequest& request) { return KeyAcrossServers(Scope(), request); }

using Change = std::function<void(InferRequest*)>;

TEST(RequestKeyTest, WhatDoesNotChangeTheAnswerDoesNotChangeTheKey) {
  const RequestPtr plain = MakeRequest("a", nullptr, 3);
  const Change changes[] = {
      [](InferRequest* r) { r->id = "b"; },
      [](InferRequest* r) { r->priority = 2; },
      [](InferRequest* r) { r->timeout_us = 2; },
      [](InferRequest* r) { r->binary_data_output = true; },
      [](InferRequest* r) { r->inputs[0].data = ViewOfFloats({3, 3}); },
  };
  for (const Change& change : changes) {
    const RequestPtr changed = MakeRequest("a", nullptr, 3);
    change(changed.get());
    EXPECT_EQ(Local(*plain), Local(*changed));
    EXPECT_EQ(Shared(*plain), Shared(*changed));
  }
}

TEST(RequestKeyTest, WhatMayChangeTheAnswerChangesTheKey) {
  const Change changes[] = {
      [](InferRequest*) {},
      [](InferRequest* r) { r->inputs[0].data = ViewOfFloats({3, 4}); },
      [](InferRequest* r) { r->inputs[0].data = ViewOfFloats({3, -3}); },
      [](InferRequest* r) { r->inputs[0].shape = MakeShape({2, 1}); },
      [](InferRequest* r) { r->inputs[0].shape = MakeShape({1, 2, 1}); },
      [](InferRequest* r) { r->inputs[0].type = DataType::kInt32; },
      [](InferRequest* r) { r->inputs[0].name = "Y"; },
      [](InferRequest* r) { r->inputs.clear(); },
      [](InferRequest* r) { r->inputs.push_back(r->inputs[0]); },
      [](InferRequest* r) { r->outputs = {{"X", 0, false}}; },
      [](InferRequest* r) { r->outputs = {{"X", 1, false}}; },
      [](InferRequest* r) { r->outputs = {{"X", 2, false}}; },
      [](InferRequest* r) { r->outputs = {{"X", 0, false}, {"Y", 0, false}}; },
      [](InferRequest* r) { r->parameters["p"] = true; },
      [](InferRequest* r) { r->parameters["p"] = false; },
      [](InferRequest* r) { r->parameters["p"] = std::int64_t{1}; },
      [](InferRequest* r) { r->parameters["p"] = std::uint64_t{1}; },
      [](InferRequest* r) { r->parameters["p"] = 1.0; },
      [](InferRequest* r) { r->parameters["p"] = std::string("1"); },
      [](InferRequest* r) { r->parameters["q"] = std::string("1"); },
  };
  std::set<std::array<std::uint64_t, 4>> local;
  std::set<std::array<std::uint64_t, 4>> shared;
  for (const Change& change : changes) {
    const RequestPtr request = MakeRequest("a", nullptr, 3);
    change(request.get());
    local.insert(Local(*request).words);
    shared.insert(Shared(*request).words);
  }
  EXPECT_EQ(local.size(), std::size(changes));
  EXPECT_EQ(shared.size(), std::size(changes));
}

// Sizes come before what they measure: bytes do not wander from one field into the next.
TEST(RequestKeyTest, NamesDoNotRunIntoEachOther) {
  const RequestPtr one = MakeRequest("a", nullptr);
  const RequestPtr other = MakeRequest("a", nullptr);
  one->outputs = {{"AB", 0, false}, {"C", 0, false}};
  other->outputs = {{"A", 0, false}, {"BC", 0, false}};
  EXPECT_NE(Local(*one), Local(*other));
  EXPECT_NE(Shared(*one), Shared(*other));
}

TEST(RequestKeyTest, EveryLoadedInstanceHasKeysOfItsOwn) {
  const RequestPtr request = MakeRequest("a", nullptr);
  CacheScope reloaded = Scope();
  ++reloaded.generation;
  EXPECT_NE(Local(*request), KeyInProcess(kSecret, reloaded, *request));
}

TEST(RequestKeyTest, ServersShareKeysOfOneModelOneVersionAndTheSameFiles) {
  const RequestPtr request = MakeRequest("a", nullptr);
  CacheScope scope = Scope();
  ++scope.generation;  // another server's
  EXPECT_EQ(Shared(*request), KeyAcrossServers(scope, *request));
  const std::function<void(CacheScope*)> changes[] = {
      [](CacheScope* s) { s->model_name = "n"; }, [](CacheScope* s) { s->model_version = 2; },
      [](CacheScope* s) { s->fingerprint = "other files"; }};
  for (const auto& change : changes) {
    scope = Scope();
    change(&scope);
    EXPECT_NE(Shared(*request), KeyAcrossServers(scope, *request));
  }
}

TEST(RequestKeyTest, RequestsOfSequencesAreNotCacheable) {
  const Change changes[] = {
      [](InferRequest* r) { r->sequence_id = std::uint64_t{1}; },
      [](InferRequest* r) { r->sequence_id = std::string("a"); },
      [](InferRequest* r) { r->sequence_start = true; },
      [](InferRequest* r) { r->sequence_end = true; },
  };
  EXPECT_TRUE(IsCacheable(*MakeRequest("a", nullptr)));
  for (const Change& change : changes) {
    const RequestPtr request = MakeRequest("a", nullptr);
    change(request.get());
    EXPECT_FALSE(IsCacheable(*request));
  }
}

class ClientMemory final : public Buffer {
 public:
  ClientMemory() : Buffer(bytes_, sizeof(bytes_), MemoryType::kSharedRegion, 0) {}

 private:
  std::byte bytes_[8] = {};
};

TEST(RequestKeyTest, InputsThatTheClientMayStillChangeAreNotCacheable) {
  const RequestPtr request = MakeRequest("a", nullptr);
  request->inputs[0].data = BufferView(std::make_shared<ClientMemory>());
  EXPECT_FALSE(IsCacheable(*request));
}

}  // namespace
}  // namespace fastserve
