#include "inference/data_type.h"

#include <gtest/gtest.h>

namespace fastserve {
namespace {

constexpr DataType kAllTypes[] = {
#define FASTSERVE_X(name, protocol, config, size) DataType::name,
    FASTSERVE_DATA_TYPES(FASTSERVE_X)
#undef FASTSERVE_X
};

TEST(DataType, ReadsBackEveryProtocolNameItWrites) {
  for (const DataType type : kAllTypes) {
    EXPECT_EQ(ParseDataType(DataTypeName(type)), type) << DataTypeName(type);
  }
}

TEST(DataType, KnowsTheNamesOfTheConfiguration) {
  EXPECT_EQ(ParseDataType("TYPE_FP32"), DataType::kFp32);
  EXPECT_EQ(ParseDataType("TYPE_STRING"), DataType::kBytes);
  EXPECT_EQ(ParseDataType("BYTES"), DataType::kBytes);
}

TEST(DataType, RefusesOtherNames) {
  for (const char* name : {"", "fp32", "FP33", "TYPE_BYTES", "STRING", "INVALID", "TYPE_INVALID"}) {
    EXPECT_EQ(ParseDataType(name), std::nullopt) << name;
  }
}

TEST(DataType, HasTheSizesOfTheProtocol) {
  EXPECT_EQ(DataTypeByteSize(DataType::kBool), 1u);
  EXPECT_EQ(DataTypeByteSize(DataType::kFp16), 2u);
  EXPECT_EQ(DataTypeByteSize(DataType::kBf16), 2u);
  EXPECT_EQ(DataTypeByteSize(DataType::kFp32), 4u);
  EXPECT_EQ(DataTypeByteSize(DataType::kUint64), 8u);
  EXPECT_EQ(DataTypeByteSize(DataType::kBytes), 0u);
  EXPECT_EQ(DataTypeByteSize(DataType::kInvalid), 0u);
}

}  // namespace
}  // namespace fastserve
