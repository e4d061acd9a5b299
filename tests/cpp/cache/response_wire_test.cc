#include "cache/response_wire.h"

#include <gtest/gtest.h>

#include <limits>

#include "cache_test_support.h"
#include "support/bytes.h"
#include "support/random.h"

namespace fastserve {
namespace {

Tensor BytesTensor(const std::vector<std::string>& elements) {
  std::string serialized;
  for (const std::string& element : elements) AppendBytesElement(element, &serialized);
  BufferPtr buffer = AllocateHostBuffer(serialized.size());
  std::memcpy(buffer->data(), serialized.data(), serialized.size());
  return {"S", DataType::kBytes, MakeShape({static_cast<std::int64_t>(elements.size())}),
          BufferView(std::move(buffer))};
}

InferResponse RichResponse() {
  InferResponse response = ResponseOf({1, 2, 3});
  response.outputs.push_back(BytesTensor({"", "abc", std::string("\0\xff", 2)}));
  response.outputs.push_back({"empty", DataType::kInt8, MakeShape({0, 4}), {}});
  response.outputs.push_back({"a name longer than any small string", DataType::kBool,
                              MakeShape({1, 1, 1, 1, 1, 1, 1, 1}),
                              BufferView(AllocateHostBuffer(1))});
  response.parameters = {{"flag", true},
                         {"integer", std::int64_t{-1}},
                         {"natural", std::numeric_limits<std::uint64_t>::max()},
                         {"real", 0.5},
                         {"text", std::string("x")}};
  return response;
}

void ExpectSameOutputs(const InferResponse& one, const InferResponse& other) {
  ASSERT_EQ(one.outputs.size(), other.outputs.size());
  for (std::size_t i = 0; i < one.outputs.size(); ++i) {
    const Tensor& a = one.outputs[i];
    const Tensor& b = other.outputs[i];
    EXPECT_EQ(a.name, b.name);
    EXPECT_EQ(a.type, b.type);
    EXPECT_EQ(a.shape, b.shape);
    ASSERT_EQ(a.data.size, b.data.size);
    EXPECT_TRUE(a.data.size == 0 || std::memcmp(a.data.data, b.data.data, a.data.size) == 0);
  }
  EXPECT_EQ(one.parameters, other.parameters);
}

TEST(ResponseWireTest, ResponsesComeBackAsTheyWere) {
  const InferResponse response = RichResponse();
  const auto bytes = SerializeResponse(response);
  ASSERT_TRUE(bytes.ok());
  const auto parsed = ParseResponse(BytesOf(*bytes));
  ASSERT_TRUE(parsed.ok()) << parsed.status().message();
  ExpectSameOutputs(response, **parsed);
}

TEST(ResponseWireTest, ParsedTensorsAreAlignedAndOwnTheirBytes) {
  auto bytes = SerializeResponse(RichResponse());
  ASSERT_TRUE(bytes.ok());
  const auto parsed = ParseResponse(BytesOf(*bytes));
  ASSERT_TRUE(parsed.ok());
  std::fill(bytes->begin(), bytes->end(), '\0');
  EXPECT_EQ(FloatsOf((*parsed)->outputs[0]), (std::vector<float>{1, 2, 3}));
  for (const Tensor& output : (*parsed)->outputs) {
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(output.data.data) % kBufferAlignment, 0U);
  }
}

TEST(ResponseWireTest, EveryPrefixIsRefused) {
  const auto bytes = SerializeResponse(RichResponse());
  ASSERT_TRUE(bytes.ok());
  for (std::size_t size = 0; size < bytes->size(); ++size) {
    EXPECT_EQ(ParseResponse(BytesOf(bytes->substr(0, size))).status().code(),
              StatusCode::kInvalidArgument)
        << size;
  }
  EXPECT_FALSE(ParseResponse(BytesOf(*bytes + "x")).ok());
}

// Whatever a stranger wrote is refused, or is a response whose tensors are what they say.
TEST(ResponseWireTest, DamagedBytesNeverMakeATensorThatDisagreesWithItself) {
  const auto bytes = SerializeResponse(RichResponse());
  ASSERT_TRUE(bytes.ok());
  RepeatableRandom random(1);
  int accepted = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string damaged = *bytes;
    for (std::int64_t change = 0; change <= random.Below(4); ++change) {
      damaged[static_cast<std::size_t>(random.Below(static_cast<std::int64_t>(damaged.size())))] =
          random.Char();
    }
    const auto parsed = ParseResponse(BytesOf(damaged));
    if (!parsed.ok()) continue;
    ++accepted;
    for (const Tensor& output : (*parsed)->outputs) {
      const auto count = ElementCount(output.shape);
      ASSERT_TRUE(count.has_value());
      if (output.type == DataType::kBytes) {
        EXPECT_TRUE(CheckBytesElements("", {output.data.data, output.data.size}, *count).ok());
      } else {
        EXPECT_EQ(TensorByteSize(output.type, output.shape), output.data.size);
      }
    }
  }
  EXPECT_GT(accepted, 0);  // changes of names, values and elements are no damage to the structure
}

TEST(ResponseWireTest, CountsDoNotMakeItAllocate) {
  std::string bytes("FSR1");
  bytes += std::string("\xff\xff\xff\xff", 4);
  EXPECT_FALSE(ParseResponse(BytesOf(bytes)).ok());
  bytes = std::string("FSR1") + std::string(4, '\0') + std::string("\xff\xff\xff\x7f", 4);
  EXPECT_FALSE(ParseResponse(BytesOf(bytes)).ok());
}

}  // namespace
}  // namespace fastserve
