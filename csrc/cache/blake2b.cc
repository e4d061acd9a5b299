#include "cache/blake2b.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace fastserve {

namespace {

static_assert(std::endian::native == std::endian::little, "words are read as little-endian");

constexpr std::size_t kDigestBytes = 32;

constexpr std::array<std::uint64_t, 8> kInitial = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};

// Which word of the block each step of a round takes; rounds 10 and 11 repeat the first two.
constexpr std::uint8_t kSchedule[10][16] = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                                            {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
                                            {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
                                            {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
                                            {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
                                            {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
                                            {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
                                            {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
                                            {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
                                            {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0}};
constexpr std::size_t kRounds = 12;

using Words = std::array<std::uint64_t, 16>;

// Mixes four words with two of the block. The lanes are constants, so that the words stay in
// registers.
template <std::size_t kA, std::size_t kB, std::size_t kC, std::size_t kD>
inline void Mix(Words* work, std::uint64_t x, std::uint64_t y) {
  Words& v = *work;
  v[kA] += v[kB] + x;
  v[kD] = std::rotr(v[kD] ^ v[kA], 32);
  v[kC] += v[kD];
  v[kB] = std::rotr(v[kB] ^ v[kC], 24);
  v[kA] += v[kB] + y;
  v[kD] = std::rotr(v[kD] ^ v[kA], 16);
  v[kC] += v[kD];
  v[kB] = std::rotr(v[kB] ^ v[kC], 63);
}

// Columns, then diagonals. The round is a constant, and so is where its words lie in the block.
template <std::size_t kRound>
inline void MixAll(const Words& block, Words* work) {
  constexpr const std::uint8_t (&kOrder)[16] = kSchedule[kRound % 10];
  Mix<0, 4, 8, 12>(work, block[kOrder[0]], block[kOrder[1]]);
  Mix<1, 5, 9, 13>(work, block[kOrder[2]], block[kOrder[3]]);
  Mix<2, 6, 10, 14>(work, block[kOrder[4]], block[kOrder[5]]);
  Mix<3, 7, 11, 15>(work, block[kOrder[6]], block[kOrder[7]]);
  Mix<0, 5, 10, 15>(work, block[kOrder[8]], block[kOrder[9]]);
  Mix<1, 6, 11, 12>(work, block[kOrder[10]], block[kOrder[11]]);
  Mix<2, 7, 8, 13>(work, block[kOrder[12]], block[kOrder[13]]);
  Mix<3, 4, 9, 14>(work, block[kOrder[14]], block[kOrder[15]]);
}

template <std::size_t... kRound>
inline void AllRounds(const Words& block, Words* work, std::index_sequence<kRound...> /*rounds*/) {
  (MixAll<kRound>(block, work), ...);
}

}  // namespace

Blake2b::Blake2b() : state_(kInitial) {
  state_[0] ^= 0x01010000 ^ kDigestBytes;  // depth 1, fanout 1, no key
}

void Blake2b::AddBytes(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    // A full block waits for more: the last one is compressed differently.
    if (block_size_ == kBlockBytes) {
      Compress(/*last=*/false);
      block_size_ = 0;
    }
    const std::size_t taken = std::min(bytes.size(), kBlockBytes - block_size_);
    std::memcpy(block_.data() + block_size_, bytes.data(), taken);
    block_size_ += taken;
    total_ += taken;
    bytes = bytes.subspan(taken);
  }
}

std::array<std::uint64_t, 4> Blake2b::Finish() {
  std::memset(block_.data() + block_size_, 0, kBlockBytes - block_size_);
  Compress(/*last=*/true);
  return {state_[0], state_[1], state_[2], state_[3]};
}

void Blake2b::Compress(bool last) {
  Words block;
  std::memcpy(block.data(), block_.data(), kBlockBytes);
  Words work;
  std::copy(state_.begin(), state_.end(), work.begin());
  std::copy(kInitial.begin(), kInitial.end(), work.begin() + 8);
  work[12] ^= total_;
  if (last) work[14] = ~work[14];
  AllRounds(block, &work, std::make_index_sequence<kRounds>());
  for (std::size_t i = 0; i < state_.size(); ++i) state_[i] ^= work[i] ^ work[i + 8];
}

}  // namespace fastserve
