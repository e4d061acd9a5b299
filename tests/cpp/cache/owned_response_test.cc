#include "cache/owned_response.h"

#include <gtest/gtest.h>

#include "cache_test_support.h"

namespace fastserve {
namespace {

TEST(OwnedResponseTest, OneRowDoesNotKeepItsBatch) {
  const BufferPtr batch = AllocateHostBuffer(1 << 20);
  InferResponse response = ResponseOf({0});
  response.outputs[0].data = BufferView(batch).Slice(16, sizeof(float));
  const CachedResponse copy = CopyResponse(response);
  response = {};
  EXPECT_EQ(batch.use_count(), 1);
  EXPECT_EQ(copy->outputs[0].data.owner->size(), kBufferAlignment);
}

TEST(OwnedResponseTest, CopiesBelongToNoRequest) {
  const CachedResponse copy = CopyResponse(ResponseOf({1}));
  EXPECT_EQ(copy->id, "");
  EXPECT_EQ(copy->model_name, "");
}

TEST(OwnedResponseTest, EveryPartCounts) {
  const InferResponse plain = ResponseOf({1});
  const std::size_t bytes = ResponseBytes(*CopyResponse(plain));
  InferResponse longer = ResponseOf(std::vector<float>(16));  // still one aligned block
  EXPECT_EQ(ResponseBytes(*CopyResponse(longer)), bytes);
  longer = ResponseOf(std::vector<float>(17));
  EXPECT_EQ(ResponseBytes(*CopyResponse(longer)), bytes + kBufferAlignment);
  InferResponse named = plain;
  named.outputs[0].name = std::string(100, 'n');
  EXPECT_GE(ResponseBytes(*CopyResponse(named)), bytes + 100);
  InferResponse with_parameter = plain;
  with_parameter.parameters["p"] = std::string(100, 'v');
  EXPECT_GE(ResponseBytes(*CopyResponse(with_parameter)), bytes + 100);
  InferResponse deep = plain;
  deep.outputs[0].shape = Shape(20, 1);
  EXPECT_GE(ResponseBytes(*CopyResponse(deep)), bytes + 20 * sizeof(std::int64_t));
}

class DeviceMemory final : public Buffer {
 public:
  DeviceMemory() : Buffer(nullptr, 4, MemoryType::kCuda, 0) {}
};

TEST(OwnedResponseTest, DeviceMemoryIsNotCopied) {
  InferResponse response = ResponseOf({1});
  response.outputs[0].data = BufferView(std::make_shared<DeviceMemory>());
  EXPECT_EQ(CopyResponse(response), nullptr);
}

}  // namespace
}  // namespace fastserve
