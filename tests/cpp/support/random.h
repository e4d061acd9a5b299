// Random numbers that a failing test can repeat.
#pragma once

#include <cstdint>
#include <random>

namespace fastserve {

class RepeatableRandom {
 public:
  // NOLINTNEXTLINE(bugprone-random-generator-seed): the same numbers in every run, on purpose
  explicit RepeatableRandom(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t operator()() { return engine_(); }
  // 0 .. limit - 1
  std::int64_t Below(std::int64_t limit) {
    return static_cast<std::int64_t>(engine_() % static_cast<std::uint64_t>(limit));
  }
  char Char() { return static_cast<char>(static_cast<unsigned char>(Below(256))); }

 private:
  std::mt19937_64 engine_;
};

}  // namespace fastserve
