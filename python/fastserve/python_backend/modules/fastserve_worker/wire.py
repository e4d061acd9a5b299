"""Requests and responses as bytes; the layout stands in docs/design/005-python-backend.md."""

from __future__ import annotations

import struct
from typing import Any, Dict, List, Sequence, Tuple

from .channel import Channel
from .errors import TritonError
from .messages import InferenceRequest, InferenceResponse, blank_request
from .tensor import Tensor, received

NOTHING = b"\0"

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_REQUEST = struct.Struct("<QIQB")
_BATCH = struct.Struct("<QIIQQ")
_BLOCK = struct.Struct("<IQQ")
_RESPONSE = struct.Struct("<QI")
_BLS_RESPONSE = struct.Struct("<QB")
_BLS_REQUEST = struct.Struct("<QQB")
_VERSION = struct.Struct("<q")
# By the number of dimensions: type, dimension count, shape, then where the bytes are.
_INPUT = [struct.Struct(f"<BB{n}qQQ") for n in range(256)]
_OUTPUT = [struct.Struct(f"<BB{n}qIQQ") for n in range(256)]
_NO_TEXTS = bytes(12)
_NO_NAMES = bytes(2)
_ALIGNMENT = 64

_names: Dict[bytes, str] = {}
_packed_names: Dict[str, bytes] = {}
_REMEMBERED = 1024


def text(value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")
    return _U32.pack(len(data)) + data


def _read_text(body: bytes, at: int) -> Tuple[str, int]:
    (length,) = _U32.unpack_from(body, at)
    end = at + 4 + length
    return body[at + 4 : end].decode("utf-8", "replace"), end


def _read_name(body: bytes, at: int) -> Tuple[str, int]:
    """A text of which a model has few: decoded once."""
    (length,) = _U32.unpack_from(body, at)
    end = at + 4 + length
    data = body[at + 4 : end]
    name = _names.get(data)
    if name is None:
        name = data.decode("utf-8", "replace")
        if len(_names) < _REMEMBERED:
            _names[data] = name
    return name, end


def _name(value: str) -> bytes:
    """UnicodeEncodeError for a name with half a surrogate pair."""
    packed = _packed_names.get(value)
    if packed is None:
        data = value.encode()
        packed = _U32.pack(len(data)) + data
        if len(_packed_names) < _REMEMBERED:
            _packed_names[value] = packed
    return packed


# ---- what the server sends


def read_batch(channel: Channel, body: bytes) -> Tuple[int, List[InferenceRequest]]:
    """EXECUTE: the number of the execution and its requests."""
    execution, count, segment, offset, length = _BATCH.unpack_from(body)
    base = channel.lent(segment, offset, length)
    at = _BATCH.size
    requests = []
    for _ in range(count):
        request, at = _read_request(body, at, base)
        requests.append(request)
    return execution, requests


def _read_request(body: bytes, at: int, base: Any) -> Tuple[InferenceRequest, int]:
    request = blank_request()
    handle, request._flags, request._timeout, is_text = _REQUEST.unpack_from(body, at)
    request._handle = handle
    at += 21
    if is_text:
        request._correlation, at = _read_text(body, at)
    else:
        (request._correlation,) = _U64.unpack_from(body, at)
        at += 8
    if body.startswith(_NO_TEXTS, at):
        request._id = request._parameters = request._trace = ""
        at += 12
    else:
        request._id, at = _read_text(body, at)
        request._parameters, at = _read_text(body, at)
        request._trace, at = _read_text(body, at)
    if body.startswith(_NO_NAMES, at):
        request._requested = []
        at += 2
    else:
        request._requested, at = _read_names(body, at)
    request._inputs, at = _read_inputs(body, at, base)
    return request, at


def _read_names(body: bytes, at: int) -> Tuple[List[str], int]:
    (count,) = _U16.unpack_from(body, at)
    at += 2
    names = []
    for _ in range(count):
        name, at = _read_name(body, at)
        names.append(name)
    return names, at


def _read_inputs(body: bytes, at: int, base: Any) -> Tuple[List[Tensor], int]:
    (count,) = _U16.unpack_from(body, at)
    at += 2
    tensors = []
    for _ in range(count):
        name, at = _read_name(body, at)
        layout = _INPUT[body[at + 1]]
        kind, _, *shape, offset, size = layout.unpack_from(body, at)
        at += layout.size
        tensors.append(received(name, kind, shape, size, base, offset))
    return tensors, at


def read_bls_response(channel: Channel, body: bytes) -> Tuple[int, bool, InferenceResponse]:
    """BLS_RESPONSE: the call, whether it is the last one, the response."""
    call, final = _BLS_RESPONSE.unpack_from(body)
    segment, offset, length = _BLOCK.unpack_from(body, 9)
    base = channel.lent(segment, offset, length)
    kind, at = body[29], 30
    if kind == 2:
        message, _ = _read_text(body, at + 1)
        return call, bool(final), InferenceResponse([], TritonError(message, body[at]))
    response = InferenceResponse()
    if kind == 1:
        response._parameters, at = _read_text(body, at)
        response._outputs = _read_outputs(body, at, base, offset)
    return call, bool(final), response


def _read_outputs(body: bytes, at: int, base: Any, start: int) -> List[Tensor]:
    (count,) = _U16.unpack_from(body, at)
    at += 2
    tensors = []
    for _ in range(count):
        name, at = _read_name(body, at)
        layout = _OUTPUT[body[at + 1]]
        fields = layout.unpack_from(body, at)
        at += layout.size
        offset = fields[-2] - start
        tensors.append(received(name, fields[0], fields[2:-3], fields[-1], base, offset))
    return tensors


# ---- what the worker sends


class _Placement:
    """Where tensors of one message go: first every size is added, then the block is taken, then
    bytes are copied. Not thread-safe.
    """

    __slots__ = ("copies", "length")

    def __init__(self) -> None:
        self.length = 0
        self.copies: List[Tuple[Tensor, int]] = []

    def add(self, tensor: Tensor) -> int:
        """The offset in the block that is to come."""
        at = self.length
        self.copies.append((tensor, at))
        self.length = (at + tensor._size + _ALIGNMENT - 1) & -_ALIGNMENT
        return at

    def copy(self, channel: Channel) -> Tuple[int, int]:
        """Takes the block and fills it: its segment and offset."""
        if not self.length:
            return 0, 0
        segment, start = channel.arena.allocate(self.length)
        try:
            for tensor, at in self.copies:
                tensor._write(segment, start + at)
        except BaseException:
            channel.arena.release(segment.id, start)
            raise
        return segment.id, start


def error(message: str, code: int = TritonError.INTERNAL) -> bytes:
    """An error response."""
    return b"\2" + bytes((code,)) + text(message)


class _Answer:
    """One response on its way: bytes, and outputs whose place is known when the block is."""

    __slots__ = ("head", "outputs")

    def __init__(self, head: bytes, outputs: Sequence[Any] = ()) -> None:
        self.head = head
        self.outputs = outputs


def _asked_for(outputs: List[Tensor], names: Sequence[str]) -> List[Tensor]:
    return [tensor for tensor in outputs if tensor._name in names]


def _plan(response: Any, names: Sequence[str], placement: _Placement) -> _Answer:
    if type(response) is bytes:
        return _Answer(response)
    if response._error is not None:
        return _Answer(error(response._error.message(), response._error.code()))
    outputs = _asked_for(response._outputs, names) if names else response._outputs
    planned = [
        (_name(tensor._name), tensor, tensor._location() if tensor._size else (0, 0))
        for tensor in outputs
    ]
    # Nothing fails from here on, so a response that cannot be sent takes no room.
    planned = [
        output if output[2] is not None else (output[0], output[1], placement.add(output[1]))
        for output in planned
    ]
    parameters = response._parameters
    head = b"\1" + (text(parameters) if parameters else b"\0\0\0\0") + _U16.pack(len(planned))
    return _Answer(head, planned)


def _finish(answer: _Answer, segment: int, start: int, parts: List[bytes]) -> None:
    parts.append(answer.head)
    for name, tensor, place in answer.outputs:
        parts.append(name)
        shape = tensor._shape
        where = place if type(place) is tuple else (segment, start + place)
        parts.append(
            _OUTPUT[len(shape)].pack(tensor._type, len(shape), *shape, *where, tensor._size)
        )


def pack_responses(channel: Channel, execution: int, answers: Sequence[Tuple[Any, Any]]) -> bytes:
    """RESPONSES. `answers`: per request a response, or one as bytes (NOTHING, `error()`), and the
    names of the outputs that were asked for. What cannot be sent becomes an error.
    """
    placement = _Placement()
    planned = []
    for response, names in answers:
        try:
            planned.append(_plan(response, names, placement))
        except Exception as failure:
            planned.append(_Answer(error(f"the response cannot be sent: {failure}")))
    try:
        segment, start = placement.copy(channel)
    except Exception as failure:
        message = error(f"the responses cannot be sent: {failure}")
        planned = [_Answer(message) for _ in planned]
        placement.length = segment = start = 0
    parts = [_BATCH.pack(execution, len(planned), segment, start, placement.length)]
    for answer in planned:
        _finish(answer, segment, start, parts)
    return b"".join(parts)


def pack_response(
    channel: Channel, handle: int, flags: int, response: Any, names: Sequence[str]
) -> bytes:
    """RESPONSE. What cannot be sent raises."""
    placement = _Placement()
    answer = _plan(response, names, placement)
    segment, start = placement.copy(channel)
    parts = [_RESPONSE.pack(handle, flags), _BLOCK.pack(segment, start, placement.length)]
    _finish(answer, segment, start, parts)
    return b"".join(parts)


def pack_bls_request(
    channel: Channel, call: int, caller: int, decoupled: bool, request: InferenceRequest
) -> bytes:
    """BLS_REQUEST. What cannot be sent raises."""
    placement = _Placement()
    inputs = [_pack_input(tensor, placement) for tensor in request._inputs]
    names = [_name(name) for name in request._requested]
    texts = [text(request._id), text(request._parameters), text(request._trace)]
    correlation = request._correlation
    if isinstance(correlation, int):
        is_text, correlated = 0, _U64.pack(correlation)
    else:
        is_text, correlated = 1, text(correlation)
    model = _name(request._model)
    segment, start = placement.copy(channel)
    return b"".join(
        [
            _BLS_REQUEST.pack(call, caller, decoupled),
            model,
            _VERSION.pack(request._version),
            _BLOCK.pack(segment, start, placement.length),
            _REQUEST.pack(0, request._flags, request._timeout, is_text),
            correlated,
            *texts,
            _U16.pack(len(names)),
            *names,
            _U16.pack(len(inputs)),
            *inputs,
        ]
    )


def _pack_input(tensor: Tensor, placement: _Placement) -> bytes:
    shape = tensor._shape
    offset = placement.add(tensor) if tensor._size else 0
    return _name(tensor._name) + _INPUT[len(shape)].pack(
        tensor._type, len(shape), *shape, offset, tensor._size
    )
