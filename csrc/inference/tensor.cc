#include "inference/tensor.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace fastserve {

namespace {

static_assert(std::endian::native == std::endian::little,
              "lengths of BYTES elements are read as little-endian");

constexpr std::size_t kLengthBytes = sizeof(std::uint32_t);

std::string Quoted(std::string_view name) {
  std::string quoted = "'";
  return quoted.append(name).append("'");
}

Status TooManyElements(std::string_view place, std::int64_t expected_count) {
  return Status::InvalidArgument("unexpected number of string elements " +
                                 std::to_string(expected_count + 1) + " for inference input " +
                                 std::string(place) + ", expecting " +
                                 std::to_string(expected_count));
}

Status TooFewElements(std::string_view place, std::int64_t expected_count, std::int64_t count) {
  return Status::InvalidArgument("expected " + std::to_string(expected_count) +
                                 " string elements for inference input " + std::string(place) +
                                 ", got " + std::to_string(count));
}

Status IncompleteLength(std::string_view place, std::size_t available) {
  return Status::InvalidArgument("incomplete string length indicator for inference input " +
                                 std::string(place) + ", expecting " +
                                 std::to_string(kLengthBytes) + " bytes but only " +
                                 std::to_string(available) + " bytes available");
}

Status IncompleteString(std::string_view place, std::uint32_t length, std::size_t available) {
  return Status::InvalidArgument("incomplete string data for inference input " +
                                 std::string(place) + ", expecting string of length " +
                                 std::to_string(length) + " but only " + std::to_string(available) +
                                 " bytes available");
}

// Calls visit(offset of the length, element) for each of exactly `expected_count` elements.
template <typename Visitor>
Status VisitBytesElements(std::string_view place, std::span<const std::byte> data,
                          std::int64_t expected_count, Visitor visit) {
  std::size_t offset = 0;
  std::int64_t count = 0;
  for (; offset < data.size(); ++count) {
    if (count >= expected_count) return TooManyElements(place, expected_count);
    const std::size_t available = data.size() - offset;
    if (available < kLengthBytes) return IncompleteLength(place, available);
    std::uint32_t length = 0;
    std::memcpy(&length, data.data() + offset, kLengthBytes);
    if (length > available - kLengthBytes)
      return IncompleteString(place, length, available - kLengthBytes);
    visit(offset, std::string_view(
                      reinterpret_cast<const char*>(data.data()) + offset + kLengthBytes, length));
    offset += kLengthBytes + length;
  }
  return count < expected_count ? TooFewElements(place, expected_count, count) : Status::Ok();
}

}  // namespace

Status CheckBytesElements(std::string_view place, std::span<const std::byte> data,
                          std::int64_t expected_count) {
  return VisitBytesElements(place, data, expected_count, [](std::size_t, std::string_view) {});
}

Status ParseBytesElements(std::string_view tensor_name, std::span<const std::byte> data,
                          std::int64_t expected_count, std::vector<std::string_view>* elements) {
  elements->clear();
  // A client's count is no reason to allocate: each element takes at least its length.
  const auto most = static_cast<std::int64_t>(data.size() / kLengthBytes);
  elements->reserve(static_cast<std::size_t>(std::clamp<std::int64_t>(expected_count, 0, most)));
  return VisitBytesElements(
      Quoted(tensor_name), data, expected_count,
      [&](std::size_t, std::string_view element) { elements->push_back(element); });
}

Result<std::vector<std::size_t>> BytesRowOffsets(std::string_view tensor_name,
                                                 std::span<const std::byte> data, std::int64_t rows,
                                                 std::int64_t row_elements) {
  const std::int64_t shape[] = {rows, row_elements};
  const std::optional<std::int64_t> count = ElementCount(shape);
  if (!count) {
    return Status::InvalidArgument("shape " + ShapeToString(shape) + " of the rows of " +
                                   Quoted(tensor_name) + " is negative or too large");
  }
  if (row_elements == 0) {
    FASTSERVE_RETURN_IF_ERROR(CheckBytesElements(Quoted(tensor_name), data, 0));
    return std::vector<std::size_t>(static_cast<std::size_t>(rows) + 1, 0);
  }
  std::vector<std::size_t> offsets;
  std::int64_t until_row = 0;  // elements left in the current row
  const auto start_rows = [&](std::size_t offset, std::string_view) {
    if (until_row == 0) {
      offsets.push_back(offset);
      until_row = row_elements;
    }
    --until_row;
  };
  FASTSERVE_RETURN_IF_ERROR(VisitBytesElements(Quoted(tensor_name), data, *count, start_rows));
  offsets.push_back(data.size());
  return offsets;
}

void AppendBytesElement(std::string_view element, std::string* serialized) {
  const auto length = static_cast<std::uint32_t>(element.size());
  serialized->append(reinterpret_cast<const char*>(&length), kLengthBytes);
  serialized->append(element);
}

}  // namespace fastserve
