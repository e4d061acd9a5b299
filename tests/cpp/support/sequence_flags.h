// Sequences in tests.
#pragma once

namespace fastserve {

// What a request says about its sequence.
enum class Flags { kNone, kStart, kEnd, kBoth };

}  // namespace fastserve
