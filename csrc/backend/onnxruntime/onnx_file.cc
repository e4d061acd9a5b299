#include "backend/onnxruntime/onnx_file.h"

#include <algorithm>
#include <protozero/pbf_reader.hpp>
#include <string_view>
#include <utility>

#include "backend/onnxruntime/element_type.h"
#include "backend/onnxruntime/proto_file.h"

namespace fastserve {

namespace {

// Field numbers of onnx.proto.
enum ModelField : std::uint32_t { kModelGraph = 7 };
enum GraphField : std::uint32_t {
  kGraphInitializer = 5,
  kGraphInput = 11,
  kGraphOutput = 12,
  kGraphSparseInitializer = 15,
};
enum InitializerField : std::uint32_t { kSparseValues = 1, kTensorName = 8 };
enum ValueField : std::uint32_t { kValueName = 1, kValueType = 2 };
enum TypeField : std::uint32_t {
  kTypeTensor = 1,
  kTypeSequence = 4,
  kTypeMap = 5,
  kTypeSparse = 8,
  kTypeOptional = 9
};
enum TensorField : std::uint32_t { kTensorElement = 1, kTensorShape = 2 };
enum ShapeField : std::uint32_t { kShapeDimension = 1 };
enum DimensionField : std::uint32_t { kDimensionValue = 1, kDimensionName = 2 };

// A description of one tensor is a few dozen bytes; what is larger than this is not one.
constexpr std::uint64_t kMaxDescriptionBytes = 1 << 20;

using protozero::pbf_wire_type;

// A field's number together with the wire type it must have: a field of another type is unknown and
// skipped, for the reader's get_ functions take the type for granted.
constexpr std::uint32_t Message(std::uint32_t field) {
  return protozero::tag_and_type(field, pbf_wire_type::length_delimited);
}
constexpr std::uint32_t Number(std::uint32_t field) {
  return protozero::tag_and_type(field, pbf_wire_type::varint);
}

void ReadDimension(protozero::pbf_reader dimension, TensorSignature* tensor) {
  std::int64_t size = -1;
  std::string name;
  while (dimension.next()) {
    switch (dimension.tag_and_type()) {
      case Number(kDimensionValue):
        size = dimension.get_int64();
        break;
      case Message(kDimensionName):
        name = dimension.get_string();
        break;
      default:
        dimension.skip();
    }
  }
  tensor->shape.push_back(size < 0 ? -1 : size);
  tensor->dim_names.push_back(std::move(name));
}

void ReadShape(protozero::pbf_reader shape, OnnxValue* value) {
  value->has_shape = true;
  while (shape.next()) {
    if (shape.tag_and_type() == Message(kShapeDimension)) {
      ReadDimension(shape.get_message(), &value->tensor);
    } else {
      shape.skip();
    }
  }
}

void ReadTensorType(protozero::pbf_reader type, OnnxValue* value) {
  while (type.next()) {
    switch (type.tag_and_type()) {
      case Number(kTensorElement):
        value->tensor.type = ToDataType(static_cast<ort::ElementType>(type.get_int32()));
        break;
      case Message(kTensorShape):
        ReadShape(type.get_message(), value);
        break;
      default:
        type.skip();
    }
  }
}

std::string_view KindOf(std::uint32_t field) {
  switch (field) {
    case kTypeTensor:
      return "tensor";
    case kTypeSequence:
      return "sequence";
    case kTypeMap:
      return "map";
    case kTypeSparse:
      return "sparse tensor";
    case kTypeOptional:
      return "optional";
    default:
      return {};
  }
}

void ReadType(protozero::pbf_reader type, OnnxValue* value) {
  while (type.next()) {
    if (const std::string_view kind = KindOf(type.tag()); !kind.empty()) value->kind = kind;
    if (type.tag_and_type() == Message(kTypeTensor)) {
      ReadTensorType(type.get_message(), value);
    } else {
      type.skip();
    }
  }
}

// Throws protozero::exception when malformed.
OnnxValue ReadValue(const std::string& description) {
  OnnxValue value;
  value.kind = "unknown";
  protozero::pbf_reader reader(description);
  while (reader.next()) {
    switch (reader.tag_and_type()) {
      case Message(kValueName):
        value.tensor.name = reader.get_string();
        break;
      case Message(kValueType):
        ReadType(reader.get_message(), &value);
        break;
      default:
        reader.skip();
    }
  }
  return value;
}

// Reads one graph of a file. False as soon as something is malformed; position() says where.
class GraphReader {
 public:
  explicit GraphReader(ProtoFile* file) : file_(file) {}

  bool ReadModel() {
    FieldCursor model(file_, 0, file_->size());
    while (model.Next()) {
      if (model.number() != kModelGraph || !model.is_message()) continue;
      has_graph_ = true;
      if (!ReadGraph(model.begin(), model.end())) return false;
    }
    return Finish(model);
  }

  bool has_graph() const { return has_graph_; }
  std::uint64_t position() const { return position_; }

  // The graph without the inputs that have a default.
  OnnxGraph Take() {
    std::erase_if(graph_.inputs, [this](const OnnxValue& input) {
      return std::binary_search(initializers_.begin(), initializers_.end(), input.tensor.name);
    });
    return std::move(graph_);
  }

 private:
  bool Finish(const FieldCursor& cursor) {
    position_ = cursor.position();
    return !cursor.malformed();
  }

  bool ReadGraph(std::uint64_t begin, std::uint64_t end) {
    FieldCursor graph(file_, begin, end);
    while (graph.Next()) {
      if (graph.is_message() && !ReadGraphField(graph)) return false;
    }
    std::sort(initializers_.begin(), initializers_.end());
    return Finish(graph);
  }

  bool ReadGraphField(const FieldCursor& field) {
    switch (field.number()) {
      case kGraphInput:
        return ReadDescription(field, &graph_.inputs);
      case kGraphOutput:
        return ReadDescription(field, &graph_.outputs);
      case kGraphInitializer:
        return ReadInitializerName(field.begin(), field.end());
      case kGraphSparseInitializer:
        return ReadSparseInitializer(field);
      default:
        return true;
    }
  }

  bool ReadDescription(const FieldCursor& field, std::vector<OnnxValue>* values) {
    position_ = field.begin();
    std::string description;
    if (field.size() > kMaxDescriptionBytes) return false;
    if (!file_->ReadString(field.begin(), field.size(), &description)) return false;
    try {
      values->push_back(ReadValue(description));
    } catch (const protozero::exception&) {
      return false;
    }
    return true;
  }

  bool ReadInitializerName(std::uint64_t begin, std::uint64_t end) {
    FieldCursor tensor(file_, begin, end);
    while (tensor.Next()) {
      if (tensor.number() != kTensorName || !tensor.is_message()) continue;
      std::string name;
      position_ = tensor.begin();
      if (tensor.size() > kMaxDescriptionBytes) return false;
      if (!file_->ReadString(tensor.begin(), tensor.size(), &name)) return false;
      initializers_.push_back(std::move(name));
      return true;
    }
    return Finish(tensor);
  }

  bool ReadSparseInitializer(const FieldCursor& field) {
    FieldCursor sparse(file_, field.begin(), field.end());
    while (sparse.Next()) {
      if (sparse.number() == kSparseValues && sparse.is_message()) {
        return ReadInitializerName(sparse.begin(), sparse.end());
      }
    }
    return Finish(sparse);
  }

  ProtoFile* file_;
  OnnxGraph graph_;
  std::vector<std::string> initializers_;  // sorted once the graph was read
  bool has_graph_ = false;
  std::uint64_t position_ = 0;
};

}  // namespace

Result<OnnxGraph> ReadOnnxGraph(const std::string& path) {
  FASTSERVE_ASSIGN_OR_RETURN(ProtoFile file, ProtoFile::Open(path));
  GraphReader reader(&file);
  if (!reader.ReadModel()) {
    return Status::InvalidArgument("'" + path + "' is not an ONNX model: malformed at byte " +
                                   std::to_string(reader.position()) + " of " +
                                   std::to_string(file.size()));
  }
  if (!reader.has_graph()) {
    return Status::InvalidArgument("'" + path + "' is not an ONNX model: it holds no graph");
  }
  return reader.Take();
}

}  // namespace fastserve
