#include "backend/worker/answer.h"

#include <cstring>
#include <utility>

#include "backend/worker/json_parameters.h"
#include "inference/response_output.h"
#include "protocol/input_tensor.h"
#include "protocol/json_writer.h"

namespace fastserve {

static_assert(static_cast<int>(DataType::kBool) == 1 && static_cast<int>(DataType::kFp64) == 12 &&
                  static_cast<int>(DataType::kBytes) == 13 &&
                  static_cast<int>(DataType::kBf16) == 14,
              "data types have Triton's numbers on the wire");

namespace {

constexpr std::uint8_t kLastCode = 7;

// The codes of the wire are those of Status, without OK.
StatusCode CodeOf(std::uint8_t code) { return static_cast<StatusCode>(code + 1); }
std::uint8_t WireCode(StatusCode code) {
  return static_cast<std::uint8_t>(static_cast<int>(code) - 1);
}
static_assert(static_cast<int>(StatusCode::kUnknown) == 1 &&
                  static_cast<int>(StatusCode::kCancelled) == kLastCode + 1,
              "the codes of docs/design/005");

Result<Answer> ReadError(PacketReader* reader) {
  Answer answer;
  answer.kind = Answer::Kind::kError;
  const std::uint8_t code = reader->U8();
  const std::string_view message = reader->Text();
  if (!reader->ok()) return Broken("a response that ends within its error");
  if (code > kLastCode) return Broken("a response with error code " + std::to_string(code));
  answer.status = Status(
      CodeOf(code), IsValidUtf8(message) ? std::string(message) : "the error's text is not UTF-8");
  return answer;
}

Result<WireTensor> ReadOutput(PacketReader* reader) {
  WireTensor wire;
  const std::string_view name = reader->Text();
  wire.tensor.name = name;
  wire.tensor.type = static_cast<DataType>(reader->U8());
  wire.tensor.shape = reader->Dims();
  wire.range = reader->Range();
  if (!reader->ok()) return Broken("a response that ends within an output");
  if (!IsValidUtf8(name)) return Broken("an output whose name is not UTF-8");
  FASTSERVE_RETURN_IF_ERROR(CheckWireTensor(wire));
  return wire;
}

void WriteError(const Status& status, PacketWriter* writer) {
  writer->Range({});
  writer->U8(static_cast<std::uint8_t>(Answer::Kind::kError));
  writer->U8(WireCode(status.code()));
  writer->Text(status.message());
}

void WriteParameters(const Parameters& parameters, PacketWriter* writer) {
  std::string json;
  if (!parameters.empty()) AppendJsonParameters(parameters, &json);
  writer->Text(json);
}

}  // namespace

Result<AnswerBlock> ReadAnswerBlock(PacketReader* reader, WorkerLink* link) {
  AnswerBlock block;
  block.range = reader->Range();
  if (!reader->ok()) return Broken("a packet that ends before its block");
  FASTSERVE_ASSIGN_OR_RETURN(block.buffer, link->TakeBlock(block.range));
  return block;
}

Status CheckWireTensor(const WireTensor& wire) {
  const Tensor& tensor = wire.tensor;
  const auto place = [&] {
    return "tensor '" + tensor.name + "' of type " + std::to_string(static_cast<int>(tensor.type)) +
           " and shape " + ShapeToString(tensor.shape) + " with " +
           std::to_string(wire.range.length) + " bytes";
  };
  if (DataTypeName(tensor.type) == "INVALID") return Broken(place() + ": the type does not exist");
  if (!ElementCount(tensor.shape)) return Broken(place() + ": the shape is negative or too large");
  if (tensor.type == DataType::kBytes) return Status::Ok();
  const auto expected = TensorByteSize(tensor.type, tensor.shape);
  if (!expected || *expected != wire.range.length) return Broken(place() + " do not fit");
  return Status::Ok();
}

Status SetData(BufferView bytes, Tensor* tensor) {
  if (tensor->type == DataType::kBytes) {
    FASTSERVE_RETURN_IF_ERROR(CheckBytesElements("'" + tensor->name + "'", {bytes.data, bytes.size},
                                                 *ElementCount(tensor->shape)));
  }
  FASTSERVE_ASSIGN_OR_RETURN(tensor->data, AlignedForType(std::move(bytes), tensor->type));
  return Status::Ok();
}

Result<Answer> ReadAnswer(PacketReader* reader, const WorkerLink& link, const AnswerBlock& block) {
  const std::uint8_t kind = reader->U8();
  if (!reader->ok()) return Broken("a response without a kind");
  if (kind == static_cast<std::uint8_t>(Answer::Kind::kNothing)) return Answer();
  if (kind == static_cast<std::uint8_t>(Answer::Kind::kError)) return ReadError(reader);
  if (kind != static_cast<std::uint8_t>(Answer::Kind::kTensors))
    return Broken("a response of kind " + std::to_string(kind));
  Answer answer;
  answer.kind = Answer::Kind::kTensors;
  const std::string_view parameters = reader->Text();
  if (!parameters.empty()) {
    Result<Parameters> parsed = ParseParameters(parameters);
    if (parsed.ok()) {
      answer.parameters = std::move(*parsed);
    } else {
      answer.status = Status::Internal("response parameters: " + parsed.status().message());
    }
  }
  const std::uint16_t count = reader->U16();
  for (std::uint16_t i = 0; i < count; ++i) {
    FASTSERVE_ASSIGN_OR_RETURN(WireTensor wire, ReadOutput(reader));
    FASTSERVE_ASSIGN_OR_RETURN(BufferView bytes,
                               link.Resolve(wire.range, block.range, block.buffer));
    FASTSERVE_RETURN_IF_ERROR(SetData(std::move(bytes), &wire.tensor));
    answer.outputs.push_back(std::move(wire.tensor));
  }
  if (!reader->ok()) return Broken("a response that ends within itself");
  return answer;
}

InferResponse ToResponse(const ModelSpec& spec, const InferRequest& request, Answer answer) {
  InferResponse response;
  response.model_name = spec.name;
  response.model_version = spec.version;
  response.id = request.id;
  response.status = std::move(answer.status);
  response.parameters = std::move(answer.parameters);
  response.outputs.reserve(answer.outputs.size());
  for (Tensor& output : answer.outputs) {
    if (!response.status.ok()) break;
    AddOutput(spec, std::move(output), request, &response);
  }
  return response;
}

void WriteResponse(const InferResponse& response, WorkerLink* link, PacketWriter* writer) {
  if (!response.status.ok()) return WriteError(response.status, writer);
  std::size_t size = 0;
  for (const Tensor& output : response.outputs) size += PlacedSize(output.data.size);
  ArenaBlockPtr block;
  if (size != 0) {
    Result<ArenaBlockPtr> lent = link->Lend(size);
    if (!lent.ok()) return WriteError(lent.status(), writer);
    block = std::move(*lent);
    CountCopiedBytes(size);
  }
  writer->Range(block == nullptr ? BlockRange{}
                                 : BlockRange{block->segment(), block->offset(), size});
  writer->U8(static_cast<std::uint8_t>(Answer::Kind::kTensors));
  WriteParameters(response.parameters, writer);
  writer->U16(static_cast<std::uint16_t>(response.outputs.size()));
  std::size_t at = 0;
  for (const Tensor& output : response.outputs) {
    const std::size_t bytes = output.data.size;
    if (bytes != 0) std::memcpy(block->data() + at, output.data.data, bytes);
    writer->Text(output.name);
    writer->U8(static_cast<std::uint8_t>(output.type));
    writer->Dims(output.shape);
    writer->Range(bytes == 0 ? BlockRange{}
                             : BlockRange{block->segment(), block->offset() + at, bytes});
    at += PlacedSize(bytes);
  }
}

}  // namespace fastserve
