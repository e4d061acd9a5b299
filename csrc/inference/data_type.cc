#include "inference/data_type.h"

namespace fastserve {

std::string_view DataTypeName(DataType type) {
  switch (type) {
#define FASTSERVE_X(name, protocol, config, size) \
  case DataType::name:                            \
    return protocol;
    FASTSERVE_DATA_TYPES(FASTSERVE_X)
#undef FASTSERVE_X
    case DataType::kInvalid:
      break;
  }
  return "INVALID";
}

std::size_t DataTypeByteSize(DataType type) {
  switch (type) {
#define FASTSERVE_X(name, protocol, config, size) \
  case DataType::name:                            \
    return size;
    FASTSERVE_DATA_TYPES(FASTSERVE_X)
#undef FASTSERVE_X
    case DataType::kInvalid:
      break;
  }
  return 0;
}

std::optional<DataType> ParseDataType(std::string_view name) {
#define FASTSERVE_X(enumerator, protocol, config, size) \
  if (name == protocol || name == config) return DataType::enumerator;
  FASTSERVE_DATA_TYPES(FASTSERVE_X)
#undef FASTSERVE_X
  return std::nullopt;
}

}  // namespace fastserve
