// Lets a thread wait for the room that a request told of.
#pragma once

#include <semaphore>

#include "inference/request.h"

namespace fastserve {

// Thread safe.
class RoomSignal final : public RoomHook {
 public:
  void OnRoom(const RequestPtr& /*request*/) override { room_.release(); }
  void Wait() { room_.acquire(); }

 private:
  std::counting_semaphore<> room_{0};
};

}  // namespace fastserve
