// BLAKE2b with 256 bits of output and no key: a hash that machines share and whose collisions
// nobody is known to find. Source: RFC 7693.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

namespace fastserve {

// Not thread safe.
class Blake2b {
 public:
  Blake2b();

  void AddBytes(std::span<const std::byte> bytes);
  // Its eight little-endian bytes.
  void AddWord(std::uint64_t word) { AddBytes(std::as_bytes(std::span(&word, 1))); }

  // Ends the hash: nothing may be added afterwards.
  std::array<std::uint64_t, 4> Finish();

 private:
  static constexpr std::size_t kBlockBytes = 128;

  void Compress(bool last);

  std::array<std::uint64_t, 8> state_;
  std::array<std::byte, kBlockBytes> block_{};
  std::size_t block_size_ = 0;
  std::uint64_t total_ = 0;  // bytes compressed, those of the current block included
};

}  // namespace fastserve
