#include "inference/classification.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <string>
#include <type_traits>

namespace fastserve {

namespace {

// What one call of Classify works on.
struct Scores {
  const std::byte* data = nullptr;
  std::size_t rows = 0;
  std::size_t row_elements = 0;
  std::size_t classes = 0;  // per row, at most row_elements
  const std::vector<std::string>* labels = nullptr;
};

// Larger values first, equal ones in order of their index, NaN last: a total order, whatever a
// model puts out.
template <typename T>
bool RanksBefore(T left, T right, std::size_t left_index, std::size_t right_index) {
  if constexpr (std::is_floating_point_v<T>) {
    if (std::isnan(left) != std::isnan(right)) return std::isnan(right);
    if (std::isnan(left)) return left_index < right_index;
  }
  return left > right || (left == right && left_index < right_index);
}

template <typename T>
class RowRanking {
 public:
  explicit RowRanking(const Scores& scores) : scores_(scores), ranked_(scores.row_elements) {}

  // The indices of the row's best classes, best first; valid until the next call.
  std::span<const std::size_t> Rank(std::size_t row) {
    row_ = scores_.data + row * scores_.row_elements * sizeof(T);
    std::iota(ranked_.begin(), ranked_.end(), std::size_t{0});
    const auto end = ranked_.begin() + static_cast<std::ptrdiff_t>(scores_.classes);
    const auto before = [this](std::size_t left, std::size_t right) {
      return RanksBefore(Value(left), Value(right), left, right);
    };
    // Selecting before sorting keeps a few classes of very many linear.
    if (end != ranked_.end()) std::nth_element(ranked_.begin(), end, ranked_.end(), before);
    std::sort(ranked_.begin(), end, before);
    return {ranked_.data(), scores_.classes};
  }

  // Copied out: a backend's buffer may be aligned to less than T.
  T Value(std::size_t index) const {
    T value;
    std::memcpy(&value, row_ + index * sizeof(T), sizeof(T));
    return value;
  }

 private:
  const Scores& scores_;
  const std::byte* row_ = nullptr;
  std::vector<std::size_t> ranked_;
};

template <typename T>
std::string SerializeClasses(const Scores& scores) {
  std::string serialized;
  RowRanking<T> ranking(scores);
  for (std::size_t row = 0; row < scores.rows; ++row) {
    for (const std::size_t index : ranking.Rank(row)) {
      std::string text = std::to_string(ranking.Value(index)) + ":" + std::to_string(index);
      if (index < scores.labels->size() && !(*scores.labels)[index].empty())
        text += ":" + (*scores.labels)[index];
      AppendBytesElement(text, &serialized);
    }
  }
  return serialized;
}

// The types that Triton classifies.
Result<std::string> SerializeClasses(DataType type, const Scores& scores) {
  switch (type) {
    case DataType::kUint8:
      return SerializeClasses<std::uint8_t>(scores);
    case DataType::kUint16:
      return SerializeClasses<std::uint16_t>(scores);
    case DataType::kUint32:
      return SerializeClasses<std::uint32_t>(scores);
    case DataType::kUint64:
      return SerializeClasses<std::uint64_t>(scores);
    case DataType::kInt8:
      return SerializeClasses<std::int8_t>(scores);
    case DataType::kInt16:
      return SerializeClasses<std::int16_t>(scores);
    case DataType::kInt32:
      return SerializeClasses<std::int32_t>(scores);
    case DataType::kInt64:
      return SerializeClasses<std::int64_t>(scores);
    case DataType::kFp32:
      return SerializeClasses<float>(scores);
    case DataType::kFp64:
      return SerializeClasses<double>(scores);
    default:
      return Status::InvalidArgument(
          "class result not available for output due to unsupported type '" +
          std::string(DataTypeName(type)) + "'");
  }
}

}  // namespace

Result<Tensor> Classify(const Tensor& tensor, std::uint32_t count, bool batched,
                        const std::vector<std::string>& labels) {
  const bool has_rows = batched && !tensor.shape.empty();
  const std::span<const std::int64_t> shape = tensor.shape;
  const std::optional<std::int64_t> row_elements = ElementCount(shape.subspan(has_rows ? 1 : 0));
  if (DataTypeByteSize(tensor.type) != 0 &&
      TensorByteSize(tensor.type, shape) != tensor.data.size) {
    return Status::Internal("output '" + tensor.name + "' of shape " + ShapeToString(shape) +
                            " has " + std::to_string(tensor.data.size) + " bytes");
  }
  Scores scores;
  scores.data = tensor.data.data;
  scores.rows = has_rows ? static_cast<std::size_t>(shape[0]) : 1;
  scores.row_elements = static_cast<std::size_t>(row_elements.value_or(0));
  scores.classes = std::min<std::size_t>(count, scores.row_elements);
  scores.labels = &labels;
  if (scores.rows == 0 ||
      scores.classes == 0) {  // an empty tensor, whatever its other dimensions claim
    scores.rows = scores.row_elements = 0;
  }
  FASTSERVE_ASSIGN_OR_RETURN(const std::string serialized, SerializeClasses(tensor.type, scores));

  Tensor classes;
  classes.name = tensor.name;
  classes.type = DataType::kBytes;
  if (has_rows) classes.shape.push_back(shape[0]);
  classes.shape.push_back(static_cast<std::int64_t>(scores.classes));
  const BufferPtr buffer = AllocateHostBuffer(serialized.size());
  if (buffer == nullptr)
    return Status::Unavailable("out of memory for the classes of output '" + tensor.name + "'");
  std::memcpy(buffer->data(), serialized.data(), serialized.size());
  classes.data = BufferView(buffer);
  return classes;
}

}  // namespace fastserve
