// The unit of false sharing.
#pragma once

#include <cstddef>

namespace fastserve {

// A constant of our own: std::hardware_destructive_interference_size may change with compiler
// flags, and with it the layout.
inline constexpr std::size_t kCacheLineBytes = 64;

}  // namespace fastserve
