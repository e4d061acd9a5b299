// No thread can be started while an object of this class exists.
#pragma once

#include <gtest/gtest.h>
#include <pthread.h>

#include <cstddef>

namespace fastserve {

// Asks for stacks that no address space has room for, where a thread does not ask for its own size.
// One at a time.
class NoMoreThreads {
 public:
  NoMoreThreads() {
    pthread_attr_t attributes;
    EXPECT_EQ(pthread_getattr_default_np(&attributes), 0);
    EXPECT_EQ(pthread_attr_getstacksize(&attributes, &stack_bytes_), 0);
    Set(&attributes, std::size_t{1} << 60);
  }
  ~NoMoreThreads() {
    pthread_attr_t attributes;
    EXPECT_EQ(pthread_getattr_default_np(&attributes), 0);
    Set(&attributes, stack_bytes_);
  }
  NoMoreThreads(const NoMoreThreads&) = delete;
  NoMoreThreads& operator=(const NoMoreThreads&) = delete;

 private:
  static void Set(pthread_attr_t* attributes, std::size_t stack_bytes) {
    EXPECT_EQ(pthread_attr_setstacksize(attributes, stack_bytes), 0);
    EXPECT_EQ(pthread_setattr_default_np(attributes), 0);
    EXPECT_EQ(pthread_attr_destroy(attributes), 0);
  }

  std::size_t stack_bytes_ = 0;
};

}  // namespace fastserve
