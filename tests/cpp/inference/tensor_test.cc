#include "inference/tensor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <optional>

#include "support/random.h"

namespace fastserve {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

std::string Serialize(const std::vector<std::string>& elements) {
  std::string serialized;
  for (const std::string& element : elements) AppendBytesElement(element, &serialized);
  return serialized;
}

std::span<const std::byte> Bytes(const std::string& text) {
  return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

TEST(ParseBytesElements, ReadsBackWhatAppendWrote) {
  const std::string serialized =
      Serialize({"a", "", std::string("nul\0in", 6), "\xff\xfe not UTF-8"});
  std::vector<std::string_view> elements;
  ASSERT_TRUE(ParseBytesElements("x", Bytes(serialized), 4, &elements).ok());
  EXPECT_THAT(elements, ElementsAre("a", "", std::string_view("nul\0in", 6), "\xff\xfe not UTF-8"));
}

TEST(ParseBytesElements, AcceptsAnEmptyTensor) {
  std::vector<std::string_view> elements = {"old"};
  EXPECT_TRUE(ParseBytesElements("x", {}, 0, &elements).ok());
  EXPECT_THAT(elements, IsEmpty());
}

TEST(ParseBytesElements, SaysWhatIsWrongAsTritonDoes) {
  std::vector<std::string_view> elements;
  const auto message = [&](const std::string& data, std::int64_t count) {
    const Status status = ParseBytesElements("x", Bytes(data), count, &elements);
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    return status.message();
  };
  EXPECT_EQ(message(Serialize({"a", "b"}), 3),
            "expected 3 string elements for inference input 'x', got 2");
  EXPECT_EQ(message(Serialize({"a", "b"}), 1),
            "unexpected number of string elements 2 for inference input 'x', expecting 1");
  EXPECT_EQ(message(std::string("\x05\0\0\0abc", 7), 1),
            "incomplete string data for inference input 'x', expecting string of length 5 but only "
            "3 bytes available");
  EXPECT_EQ(message(std::string("\x01\0", 2), 1),
            "incomplete string length indicator for inference input 'x', expecting 4 bytes but "
            "only 2 bytes available");
  EXPECT_THAT(message(std::string("\xff\xff\xff\xff", 4), 1), HasSubstr("4294967295"));
}

TEST(ParseBytesElements, DoesNotAllocateForACountThatTheDataCannotHold) {
  std::vector<std::string_view> elements;
  EXPECT_FALSE(ParseBytesElements("x", Bytes(Serialize({"a"})), INT64_MAX, &elements).ok());
  EXPECT_LE(elements.capacity(), 1u);
}

TEST(ParseBytesElements, ParsesMillionsOfTinyElementsInLinearTime) {
  constexpr std::int64_t kElements = 2'000'000;
  const std::string serialized(kElements * 4, '\0');
  std::vector<std::string_view> elements;
  EXPECT_TRUE(ParseBytesElements("x", Bytes(serialized), kElements, &elements).ok());
  EXPECT_EQ(elements.size(), static_cast<std::size_t>(kElements));
}

// The definition of the format, one step at a time.
std::optional<std::vector<std::string>> ReferenceParse(std::string data, std::int64_t count) {
  std::vector<std::string> elements;
  while (!data.empty()) {
    if (data.size() < 4) return std::nullopt;
    std::uint32_t length = 0;
    std::memcpy(&length, data.data(), 4);
    data.erase(0, 4);
    if (length > data.size()) return std::nullopt;
    elements.push_back(data.substr(0, length));
    data.erase(0, length);
  }
  if (static_cast<std::int64_t>(elements.size()) != count) return std::nullopt;
  return elements;
}

// A serialised tensor with, often, something wrong with it.
std::string RandomTensor(RepeatableRandom* random) {
  std::string data;
  for (auto left = random->Below(6); left > 0; --left) {
    AppendBytesElement(std::string((*random)() % 5, random->Char()), &data);
  }
  if (!data.empty() && random->Below(2) == 0) data[(*random)() % data.size()] = random->Char();
  if (!data.empty() && random->Below(4) == 0) data.resize((*random)() % data.size());
  return data;
}

TEST(ParseBytesElements, AgreesWithAReferenceOnRandomTensors) {
  RepeatableRandom random(11);
  for (int i = 0; i < 50'000; ++i) {
    const std::string data = RandomTensor(&random);
    const std::int64_t count = random.Below(7);
    const auto expected = ReferenceParse(data, count);
    std::vector<std::string_view> elements;
    const bool ok = ParseBytesElements("x", Bytes(data), count, &elements).ok();
    ASSERT_EQ(ok, expected.has_value());
    ASSERT_EQ(ok, CheckBytesElements("'x'", Bytes(data), count).ok());
    if (!ok) continue;
    ASSERT_EQ(std::vector<std::string>(elements.begin(), elements.end()), *expected);
  }
}

TEST(BytesRowOffsets, SplitsRowsThatTheParserReadsBack) {
  RepeatableRandom random(13);
  for (int i = 0; i < 5'000; ++i) {
    const std::int64_t rows = random.Below(4);
    const std::int64_t row_elements = random.Below(4);
    std::vector<std::string> elements(rows * row_elements);
    for (std::string& element : elements) element.assign(random() % 5, 'e');
    const std::string data = Serialize(elements);
    const auto offsets = BytesRowOffsets("x", Bytes(data), rows, row_elements);
    ASSERT_TRUE(offsets.ok()) << offsets.status().message();
    ASSERT_EQ(offsets->size(), static_cast<std::size_t>(rows) + 1);
    EXPECT_EQ(offsets->front(), 0u);
    EXPECT_EQ(offsets->back(), data.size());
    for (std::int64_t row = 0; row < rows; ++row) {
      const auto begin = (*offsets)[row];
      std::vector<std::string_view> parsed;
      const auto slice = Bytes(data).subspan(begin, (*offsets)[row + 1] - begin);
      ASSERT_TRUE(ParseBytesElements("x", slice, row_elements, &parsed).ok());
      for (std::int64_t j = 0; j < row_elements; ++j) {
        EXPECT_EQ(parsed[j], elements[row * row_elements + j]);
      }
    }
  }
}

TEST(BytesRowOffsets, RefusesWhatDoesNotFit) {
  const std::string data = Serialize({"a", "b", "c"});
  EXPECT_FALSE(BytesRowOffsets("x", Bytes(data), 2, 2).ok());
  EXPECT_FALSE(BytesRowOffsets("x", Bytes(data), 2, 1).ok());
  EXPECT_FALSE(BytesRowOffsets("x", Bytes(data), 3, 0).ok());
  EXPECT_FALSE(BytesRowOffsets("x", Bytes(data), -1, 2).ok());
  EXPECT_FALSE(BytesRowOffsets("x", Bytes(data), INT64_MAX, 2).ok());
}

}  // namespace
}  // namespace fastserve
