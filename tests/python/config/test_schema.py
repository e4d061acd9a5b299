"""Our schema is Triton's: compared field by field with the descriptor in the official client."""

import gc
import weakref

import pytest
from fastserve.config import schema
from google.protobuf import descriptor_pb2, json_format
from tritonclient.grpc import model_config_pb2


def _file_of(descriptor) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto()
    descriptor.CopyToProto(file)
    return file


OURS = _file_of(schema.load_pool().FindFileByName("model_config.proto"))
THEIRS = _file_of(model_config_pb2.DESCRIPTOR)


OWN_FIELDS = 1000  # numbers from here on are ours


def _fields(message) -> dict:
    return {
        field.name: (field.number, field.type, field.label, field.type_name, field.default_value)
        for field in message.field
        if field.number < OWN_FIELDS
    }


def _oneofs(message) -> dict:
    names = [oneof.name for oneof in message.oneof_decl]
    return {f.name: names[f.oneof_index] for f in message.field if f.HasField("oneof_index")}


def _enums(enums) -> dict:
    return {enum.name: {value.name: value.number for value in enum.value} for enum in enums}


def _messages(messages, prefix: str = "") -> dict:
    result = {}
    for message in messages:
        name = prefix + message.name
        result[name] = (_fields(message), _oneofs(message), _enums(message.enum_type))
        result |= _messages(message.nested_type, name + ".")
    return result


def test_every_message_has_the_fields_numbers_types_and_oneofs_of_triton():
    assert _messages(OURS.message_type) == _messages(THEIRS.message_type)


def test_every_enum_has_the_values_of_triton():
    assert _enums(OURS.enum_type) == _enums(THEIRS.enum_type)
    assert OURS.package == THEIRS.package
    assert OURS.syntax == THEIRS.syntax


def test_a_message_crosses_to_the_official_client_byte_for_byte():
    ours = schema.message_class("inference.ModelConfig")()
    json_format.ParseDict(
        {
            "name": "m",
            "maxBatchSize": 4,
            "input": [{"name": "X", "dataType": "TYPE_BF16", "dims": ["-1", "3"]}],
            "dynamicBatching": {"maxQueueDelayMicroseconds": "9007199254740993"},
            "parameters": {"k": {"stringValue": "v"}},
        },
        ours,
    )
    theirs = model_config_pb2.ModelConfig.FromString(ours.SerializeToString())
    assert json_format.MessageToDict(theirs) == json_format.MessageToDict(ours)


def test_a_descriptor_set_is_added_once_however_often_it_is_asked_for(tmp_path):
    file = descriptor_pb2.FileDescriptorProto(
        name="test_once.proto", package="test_once", syntax="proto3"
    )
    file.message_type.add(name="Empty")
    path = tmp_path / "once.desc"
    path.write_bytes(descriptor_pb2.FileDescriptorSet(file=[file]).SerializeToString())
    schema.add_descriptor_set(path)
    schema.add_descriptor_set(path)
    assert schema.message_class("test_once.Empty")().SerializeToString() == b""


def test_an_unknown_message_is_a_key_error():
    with pytest.raises(KeyError):
        schema.message_class("inference.NoSuchMessage")


def test_message_classes_stay_when_no_message_is_left() -> None:
    """upb drops a class with its last message; a thread that reaches for it meanwhile crashes."""
    config = schema.message_class("inference.ModelConfig")()
    classes = [
        weakref.ref(type(message))
        for message in (config.sequence_batching, config.sequence_batching.direct)
    ]
    del config
    gc.collect()
    assert all(reference() is not None for reference in classes)
