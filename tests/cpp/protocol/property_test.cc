// Random requests, written by short reference writers in many shapes, are read back as what they
// were.
#include <algorithm>
#include <functional>
#include <protozero/pbf_writer.hpp>
#include <random>

#include "protocol/json_writer.h"
#include "protocol/protocol_test_support.h"

namespace fastserve {
namespace {

constexpr DataType kTypes[] = {
    DataType::kBool, DataType::kUint8, DataType::kUint16, DataType::kUint32, DataType::kUint64,
    DataType::kInt8, DataType::kInt16, DataType::kInt32,  DataType::kInt64,  DataType::kFp16,
    DataType::kFp32, DataType::kFp64,  DataType::kBytes,  DataType::kBf16};

class RandomSource {
 public:
  explicit RandomSource(unsigned seed) : engine_(seed) {}

  std::size_t Below(std::size_t limit) { return engine_() % limit; }
  bool Coin() { return Below(2) == 0; }
  std::string Bytes(std::size_t size, unsigned alphabet) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(Below(alphabet));
    return bytes;
  }

  Tensor NextTensor(std::size_t index) {
    const DataType type = kTypes[Below(std::size(kTypes))];
    std::vector<std::int64_t> shape(Below(4));
    for (auto& dim : shape) dim = static_cast<std::int64_t>(Below(5));
    const auto count = static_cast<std::size_t>(*ElementCount(shape));
    return TensorOf("INPUT" + std::to_string(index), type, shape, Content(type, count));
  }

  template <typename T>
  void Shuffle(std::vector<T>* values) {
    std::shuffle(values->begin(), values->end(), engine_);
  }

 private:
  std::string Content(DataType type, std::size_t count) {
    if (type == DataType::kBool) return Bytes(count, 2);
    if (type != DataType::kBytes) return Numbers(type, count);
    std::vector<std::string> elements(count);
    for (std::string& element : elements) element = Bytes(Below(6), 128);
    return Serialized(elements);
  }

  // Any bits, except that a NaN has many forms and its text but one.
  std::string Numbers(DataType type, std::size_t count) {
    std::string bytes = Bytes(count * DataTypeByteSize(type), 256);
    const std::size_t size = DataTypeByteSize(type);
    const bool floating = type == DataType::kFp32 || type == DataType::kFp64;
    for (std::size_t i = 0; floating && i < count; ++i) bytes[i * size + size - 1] &= 0x3F;
    return bytes;
  }

  std::mt19937 engine_;
};

// --- JSON
// ---------------------------------------------------------------------------------------------------------------

std::string Whitespace(RandomSource* random) {
  constexpr std::string_view kSpaces[] = {"", " ", "\n", "\t ", "\r\n"};
  return std::string(kSpaces[random->Below(std::size(kSpaces))]);
}

// Groups the elements of a flat array at random: nesting has no meaning.
std::string Nest(const std::string& flat, RandomSource* random) {
  std::string text = flat;
  for (std::size_t depth = random->Below(4); depth > 0; --depth)
    text.insert(0, "[" + Whitespace(random)).push_back(']');
  return text;
}

std::string JsonInput(const Tensor& tensor, RandomSource* random, std::string* binary) {
  std::string dims;
  AppendJsonShape({tensor.shape.data(), tensor.shape.size()}, &dims);
  std::vector<std::string> members = {
      R"("name":")" + tensor.name + "\"", "\"shape\"" + Whitespace(random) + ":" + dims,
      R"("datatype":")" + std::string(DataTypeName(tensor.type)) + "\"",
      R"("ignored":{"data":["x",1]})"};
  const bool half = tensor.type == DataType::kFp16 || tensor.type == DataType::kBf16;
  if (half || random->Coin()) {
    members.push_back(R"("parameters":{"binary_data_size":)" + std::to_string(tensor.data.size) +
                      "}");
    *binary += BytesOf(tensor.data);
  } else {
    std::string data;
    EXPECT_TRUE(AppendJsonTensor(tensor, &data).ok());
    members.push_back("\"data\":" + Nest(data, random));
  }
  random->Shuffle(&members);
  std::string text = "{";
  for (const std::string& member : members) text += Whitespace(random) + member + ",";
  text.back() = '}';
  return text;
}

void ExpectSame(const std::vector<Tensor>& got, const std::vector<Tensor>& want) {
  ASSERT_EQ(got.size(), want.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].name, want[i].name);
    EXPECT_EQ(got[i].type, want[i].type);
    EXPECT_EQ(Dims(got[i]), Dims(want[i]));
    EXPECT_EQ(BytesOf(got[i].data), BytesOf(want[i].data)) << DataTypeName(want[i].type);
  }
}

TEST(Property, JsonRequestsAreReadAsWritten) {
  for (unsigned seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(seed);
    RandomSource random(seed);
    std::vector<Tensor> inputs(random.Below(4));
    std::string binary;
    std::string json = R"({"inputs":[)";
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      inputs[i] = random.NextTensor(i);
      json += (i == 0 ? "" : ",") + JsonInput(inputs[i], &random, &binary);
    }
    const Parsed parsed = ParseJson(json + "]}", binary);
    ASSERT_TRUE(parsed.ok()) << parsed.message() << "\n" << json;
    ExpectSame(parsed.request->inputs, inputs);
  }
}

// --- protobuf
// -----------------------------------------------------------------------------------------------------------

template <typename T>
std::vector<T> ElementsOf(const Tensor& tensor) {
  std::vector<T> elements(tensor.data.size / sizeof(T));
  if (!elements.empty()) std::memcpy(elements.data(), tensor.data.data, tensor.data.size);
  return elements;
}

// One by one: the official client writes packed fields, which the golden messages hold.
template <typename T, typename Add>
void AddAll(const Tensor& tensor, Add add) {
  for (const T& element : ElementsOf<T>(tensor)) add(element);
}

void WriteContents(const Tensor& tensor, protozero::pbf_writer* out) {
  const auto add_int = [out](auto value) { out->add_int32(2, value); };
  const auto add_uint = [out](auto value) { out->add_uint32(4, value); };
  switch (tensor.type) {
    case DataType::kBool:
      return AddAll<std::uint8_t>(tensor, [out](auto value) { out->add_bool(1, value != 0); });
    case DataType::kInt8:
      return AddAll<std::int8_t>(tensor, add_int);
    case DataType::kInt16:
      return AddAll<std::int16_t>(tensor, add_int);
    case DataType::kInt32:
      return AddAll<std::int32_t>(tensor, add_int);
    case DataType::kInt64:
      return AddAll<std::int64_t>(tensor, [out](auto value) { out->add_int64(3, value); });
    case DataType::kUint8:
      return AddAll<std::uint8_t>(tensor, add_uint);
    case DataType::kUint16:
      return AddAll<std::uint16_t>(tensor, add_uint);
    case DataType::kUint32:
      return AddAll<std::uint32_t>(tensor, add_uint);
    case DataType::kUint64:
      return AddAll<std::uint64_t>(tensor, [out](auto value) { out->add_uint64(5, value); });
    case DataType::kFp32:
      return AddAll<float>(tensor, [out](auto value) { out->add_float(6, value); });
    case DataType::kFp64:
      return AddAll<double>(tensor, [out](auto value) { out->add_double(7, value); });
    default: {
      std::vector<std::string_view> elements;
      const std::int64_t count = *ElementCount(std::span(tensor.shape.data(), tensor.shape.size()));
      const std::span<const std::byte> bytes(tensor.data.data, tensor.data.size);
      ASSERT_TRUE(ParseBytesElements(tensor.name, bytes, count, &elements).ok());
      for (const auto element : elements) out->add_bytes(8, element.data(), element.size());
    }
  }
}

std::string ProtoInput(const Tensor& tensor, bool typed, RandomSource* random) {
  using Write = std::function<void(protozero::pbf_writer&)>;
  std::vector<Write> fields = {
      [&](auto& input) { input.add_string(1, tensor.name); },
      [&](auto& input) { input.add_string(2, std::string(DataTypeName(tensor.type))); },
      [&](auto& input) { input.add_packed_int64(3, tensor.shape.begin(), tensor.shape.end()); },
      [&](auto& input) { input.add_string(77, "unknown"); }};
  if (typed) {
    fields.emplace_back([&](auto& input) {
      std::string contents;
      protozero::pbf_writer writer(contents);
      WriteContents(tensor, &writer);
      input.add_message(5, contents);
    });
  }
  random->Shuffle(&fields);
  std::string bytes;
  protozero::pbf_writer input(bytes);
  for (const Write& write : fields) write(input);
  return bytes;
}

TEST(Property, ProtobufRequestsAreReadAsWritten) {
  for (unsigned seed = 0; seed < 3000; ++seed) {
    SCOPED_TRACE(seed);
    RandomSource random(seed);
    const bool typed = random.Coin();
    std::vector<Tensor> inputs(random.Below(4));
    std::string message;
    protozero::pbf_writer writer(message);
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      do {
        inputs[i] = random.NextTensor(i);
      } while (typed && (inputs[i].type == DataType::kFp16 || inputs[i].type == DataType::kBf16));
      if (!typed) writer.add_bytes(7, BytesOf(inputs[i].data));
      writer.add_message(5, ProtoInput(inputs[i], typed, &random));
    }
    const Parsed parsed = ParseProto(message);
    ASSERT_TRUE(parsed.ok()) << parsed.message();
    ExpectSame(parsed.request->inputs, inputs);
  }
}

}  // namespace
}  // namespace fastserve
