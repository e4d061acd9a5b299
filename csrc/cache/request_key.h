// What makes two requests identical to the response cache, as a hash.
//
// Part of the key: the model's scope; the requested outputs with their classification; the client's
// parameters; every input's name, data type, shape and bytes, in the specification's order. Not
// part of it: id, priority, timeout, and how the answer is to be represented.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "cache/sip_hash.h"
#include "inference/request.h"

namespace fastserve {

// A hash of 128 bits or more by which nobody finds two requests: entries are compared by it alone.
// Storing and comparing the inputs too would make an image classifier's entries a hundred times
// larger than their responses.
struct RequestKey {
  std::array<std::uint64_t, 4> words{};
  bool operator==(const RequestKey&) const = default;
};

struct RequestKeyHash {
  std::size_t operator()(const RequestKey& key) const { return key.words[0]; }
};

// Whose requests may share responses.
struct CacheScope {
  // One loaded instance of a model in this process: a reload makes another one.
  std::uint64_t generation = 0;
  // One model for all servers that share a cache; `fingerprint` changes with its files.
  std::string model_name;
  std::int64_t model_version = 0;
  std::string fingerprint;
};

// Within one process, under a secret key: SipHash-2-4-128. The request has been validated.
RequestKey KeyInProcess(const SipHasher::Key& secret, const CacheScope& scope,
                        const InferRequest& request);

// The same on every machine: BLAKE2b-256. The request has been validated.
RequestKey KeyAcrossServers(const CacheScope& scope, const InferRequest& request);

// False for a request whose answer depends on more than the key (sequences), or whose inputs lie
// where the client may still change them, which would store an answer under another input's key.
bool IsCacheable(const InferRequest& request);

}  // namespace fastserve
