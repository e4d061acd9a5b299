// The packets of a worker whose model is decoupled.
#pragma once

#include <memory>
#include <string>

#include "backend/worker/wire.h"
#include "support/requests.h"

namespace fastserve {

inline std::shared_ptr<ModelSpec> Decoupled() {
  auto spec = MakeSpec("python", 8);
  spec->decoupled = true;
  return spec;
}

// RESPONSE with the flags 1 (final) and 2 (rescheduled).
inline std::string FlaggedResponse(std::uint64_t handle, std::uint32_t flags, std::uint8_t kind) {
  std::string body;
  PacketWriter writer(&body);
  writer.U64(handle);
  writer.U32(flags);
  writer.Range({});
  writer.U8(kind);
  if (kind == 1) {
    writer.Text("");
    writer.U16(0);
  }
  return body;
}

inline std::string Response(std::uint64_t handle, bool final, std::uint8_t kind = 0) {
  return FlaggedResponse(handle, final ? 1 : 0, kind);
}

inline std::string Executed(std::uint64_t id, bool failed = false) {
  std::string body;
  PacketWriter writer(&body);
  writer.U64(id);
  writer.U8(failed ? 1 : 0);
  if (failed) {
    writer.U8(3);
    writer.Text("execute failed");
  }
  return body;
}

}  // namespace fastserve
