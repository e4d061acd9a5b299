// The packets of a worker whose model calls other models.
#pragma once

#include <cstring>
#include <string>

#include "backend/worker/test_peer.h"

namespace fastserve {

// FP32 X [1,2] = {5, 6} for model "other", from the peer's segment at 128.
inline std::string BlsRequest(std::uint64_t call, std::uint64_t caller, std::uint64_t offset = 64,
                              const std::string& parameters = "", std::uint32_t callers = 1) {
  std::string body;
  PacketWriter writer(&body);
  writer.U64(call);
  writer.U64(caller);
  writer.U32(callers);
  writer.U8(0);
  writer.Text("other");
  writer.I64(-1);
  writer.Range({kSegment, 64, 128});
  writer.U64(0);
  writer.U32(1);
  writer.U64(250);
  writer.U8(1);
  writer.Text("sequence");
  writer.Text("id");
  writer.Text(parameters);
  writer.Text("");
  writer.U16(0);
  writer.U16(1);
  writer.Text("X");
  writer.U8(11);
  writer.Dims(Shape{1, 2});
  writer.U64(offset);
  writer.U64(8);
  return body;
}

inline void PutFloats(std::byte* segment) {
  const float values[] = {5, 6};
  std::memcpy(segment + 128, values, sizeof values);
}

inline std::string DecoupledBlsRequest(std::uint64_t call) {
  std::string body = BlsRequest(call, 0);
  body.at(2 * sizeof(std::uint64_t) + sizeof(std::uint32_t)) = 1;
  return body;
}

}  // namespace fastserve
