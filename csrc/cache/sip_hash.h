// SipHash-2-4 with 128 bits of output: a keyed hash whose collisions nobody finds without the key.
// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, and the authors' 128-bit
// variant.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace fastserve {

// Hashes a sequence of 64-bit words, as SipHash does their little-endian bytes. Not thread safe.
class SipHasher {
 public:
  using Key = std::array<std::uint64_t, 2>;

  explicit SipHasher(const Key& key)
      : v_{key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d ^ 0xee,
           key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573} {}

  void AddWord(std::uint64_t word) {
    Absorb(word, &v_);
    ++words_;
  }

  // The bytes as words, the last one filled up with zeros: say the size first where it may vary.
  void AddBytes(std::span<const std::byte> bytes) {
    State v = v_;  // a local copy stays in registers
    const std::size_t whole = bytes.size() / sizeof(std::uint64_t);
    for (std::size_t i = 0; i < whole; ++i) Absorb(WordAt(bytes.data() + i * 8, 8), &v);
    const std::size_t rest = bytes.size() % sizeof(std::uint64_t);
    if (rest != 0) Absorb(WordAt(bytes.data() + whole * 8, rest), &v);
    v_ = v;
    words_ += whole + (rest != 0 ? 1 : 0);
  }

  // Ends the hash: nothing may be added afterwards.
  std::array<std::uint64_t, 2> Finish() {
    // The last block carries the number of bytes modulo 256.
    Absorb(words_ * 8 << 56, &v_);
    v_[2] ^= 0xee;
    for (int i = 0; i < 4; ++i) Round(&v_);
    const std::uint64_t low = v_[0] ^ v_[1] ^ v_[2] ^ v_[3];
    v_[1] ^= 0xdd;
    for (int i = 0; i < 4; ++i) Round(&v_);
    return {low, v_[0] ^ v_[1] ^ v_[2] ^ v_[3]};
  }

 private:
  using State = std::array<std::uint64_t, 4>;
  static_assert(std::endian::native == std::endian::little, "words are read as little-endian");

  static std::uint64_t WordAt(const std::byte* bytes, std::size_t size) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes, size);
    return word;
  }

  static void Absorb(std::uint64_t word, State* v) {
    (*v)[3] ^= word;
    Round(v);
    Round(v);
    (*v)[0] ^= word;
  }

  static void Round(State* state) {
    State& v = *state;
    v[0] += v[1];
    v[1] = std::rotl(v[1], 13) ^ v[0];
    v[0] = std::rotl(v[0], 32);
    v[2] += v[3];
    v[3] = std::rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = std::rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = std::rotl(v[1], 17) ^ v[2];
    v[2] = std::rotl(v[2], 32);
  }

  State v_;
  std::uint64_t words_ = 0;
};

}  // namespace fastserve
