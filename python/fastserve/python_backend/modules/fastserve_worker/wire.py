"""Requests and responses as bytes; the layout stands in docs/design/005-python-backend.md."""

from __future__ import annotations

import struct
from typing import Any, Callable, Dict, List, Sequence, Tuple

from .channel import Channel
from .errors import TritonError
from .messages import Callers, InferenceRequest, InferenceResponse, blank_request
from .placement import Moves, Placement
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
_BLS_REQUEST = struct.Struct("<QQIB")
_VERSION = struct.Struct("<q")
# By the number of dimensions: type, dimension count, shape, then where the bytes are.
_INPUT = [struct.Struct(f"<BB{n}qQQ") for n in range(256)]
_OUTPUT = [struct.Struct(f"<BB{n}qIQQ") for n in range(256)]
_NO_TEXTS = bytes(12)
_NOWHERE = (None, 0, 0)  # of outputs without bytes
_NO_NAMES = bytes(2)

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


def error(message: str, code: int = TritonError.INTERNAL) -> bytes:
    """An error response."""
    return b"\2" + bytes((code,)) + text(message)


def _asked_for(outputs: List[Tensor], names: Sequence[str]) -> List[Tensor]:
    return [tensor for tensor in outputs if tensor._name in names]


class _Answer:
    """One response on its way: bytes, and outputs, as bytes if their place is known, else as name,
    tensor, and offset in the block that is to come.
    """

    __slots__ = ("head", "outputs")

    def __init__(self, head: bytes, outputs: Sequence[Any] = ()) -> None:
        self.head = head
        self.outputs = outputs


def _plan(
    response: Any, names: Sequence[str], placement: Placement, find: Callable[[Tensor], Any]
) -> _Answer:
    """`find` says where in the server's memory a tensor can be left."""
    if type(response) is bytes:
        return _Answer(response)
    if response._error is not None:
        return _Answer(error(response._error.message(), response._error.code()))
    outputs = _asked_for(response._outputs, names) if names else response._outputs
    found: List[Any] = []
    copied = False
    for tensor in outputs:
        name = _name(tensor._name)
        place = find(tensor) if tensor._size else _NOWHERE
        if place is None:
            copied = True
            found.append((name, tensor, 0))
        else:
            found.append(_located(name, tensor, place, placement))
    # Nothing fails from here on, so a response that cannot be sent takes no room.
    if copied:
        found = _with_room(found, placement)
    parameters = response._parameters
    head = b"\1" + (text(parameters) if parameters else b"\0\0\0\0") + _U16.pack(len(found))
    return _Answer(head, found)


def _with_room(found: List[Any], placement: Placement) -> List[Any]:
    return [
        output if type(output) is bytes else (*output[:2], placement.add(output[1]))
        for output in found
    ]


def _located(
    name: bytes, tensor: Tensor, place: Tuple[Any, int, int], placement: Placement
) -> bytes:
    block, segment, offset = place
    if block is not None and block not in placement.blocks:
        placement.blocks.append(block)
    shape = tensor._shape
    count = len(shape)
    return name + _OUTPUT[count].pack(tensor._type, count, *shape, segment, offset, tensor._size)


def _place(answer: _Answer, segment: int, start: int) -> None:
    """The message's block is known."""
    outputs = []
    for output in answer.outputs:
        if type(output) is not bytes:
            name, tensor, at = output
            shape = tensor._shape
            where = (segment, start + at, tensor._size)
            layout = _OUTPUT[len(shape)]
            output = name + layout.pack(tensor._type, len(shape), *shape, *where)
        outputs.append(output)
    answer.outputs = outputs


def _plan_all(answers: List[Tuple[Any, Any]], placement: Placement) -> List[_Answer]:
    planned = []
    for response, names in answers:
        try:
            planned.append(_plan(response, names, placement, Tensor._location))
        except Exception as failure:
            planned.append(_Answer(error(f"the response cannot be sent: {failure}")))
    return planned


def pack_responses(
    channel: Channel,
    execution: int,
    answers: List[Tuple[Any, Any]],
    let_go: Callable[[], None],
) -> Tuple[bytes, Sequence[Tuple[int, int, int]]]:
    """RESPONSES, and the blocks of the server's that are to be released when it has been sent.
    `answers`: per request a response, or one as bytes (NOTHING, `error()`), and the names of the
    outputs that were asked for. What cannot be sent becomes an error.

    The message may refer to the server's blocks, which a model can write to. So a block that lives
    on when the worker has forgotten requests and responses, by `let_go` (it empties `answers`), is
    kept by the model, and what is in it is copied. The caller has no references beside it.
    """
    placement = Placement()
    planned = _plan_all(answers, placement)
    gone: Sequence[Tuple[int, int, int]] = ()
    length = segment = start = 0
    try:
        if placement.length:
            segment, start = placement.copy(channel)
            length = placement.length
            for answer in planned:
                _place(answer, segment, start)
        if placement.blocks:
            gone, kept = placement.let_go(channel, let_go)
            if kept:
                moves = Moves((segment, start), length, kept)
                segment, start = _move(channel, planned, moves, length)
                length = moves.length
    except Exception as failure:
        message = error(f"the responses cannot be sent: {failure}")
        planned = [_Answer(message) for _ in planned]
        length = segment = start = 0
    parts = [_BATCH.pack(execution, len(planned), segment, start, length)]
    for answer in planned:
        parts.append(answer.head)
        parts += answer.outputs
    return b"".join(parts), gone


def _move(channel: Channel, planned: List[_Answer], moves: Moves, length: int) -> Tuple[int, int]:
    """Has the outputs lie in another block, none in the server's that the model keeps."""
    places = [
        [(output, moves.place(*_BLOCK.unpack(output[-_BLOCK.size :]))) for output in answer.outputs]
        for answer in planned
    ]
    segment, start = moves.copy(channel, length)
    for answer, outputs in zip(planned, places):
        answer.outputs = [
            output
            if at < 0
            else output[: -_BLOCK.size] + _BLOCK.pack(segment, start + at, _size_of(output))
            for output, at in outputs
        ]
    return segment, start


def _size_of(output: bytes) -> int:
    size: int = _BLOCK.unpack(output[-_BLOCK.size :])[2]
    return size


def check_response(response: Any, names: Sequence[str]) -> None:
    """Raises what pack_response() would."""
    _plan(response, names, Placement(), Tensor._location)


def pack_response(
    channel: Channel, handle: int, flags: int, response: Any, names: Sequence[str]
) -> bytes:
    """RESPONSE. What cannot be sent raises. The model goes on with its arrays, so only tensors that
    it has no view of are left where they are.
    """
    placement = Placement()
    answer = _plan(response, names, placement, Tensor._send)
    segment, start = placement.copy(channel)
    _place(answer, segment, start)
    head = _RESPONSE.pack(handle, flags) + _BLOCK.pack(segment, start, placement.length)
    return b"".join([head, answer.head, *answer.outputs])


def pack_bls_request(
    channel: Channel, call: int, callers: Callers, decoupled: bool, request: InferenceRequest
) -> bytes:
    """BLS_REQUEST. What cannot be sent raises."""
    placement = Placement()
    inputs = [_pack_input(tensor, placement) for tensor in request._inputs]
    names = [_name(name) for name in request._requested]
    texts = [text(request._id), text(request._parameters), text(request._trace)]
    correlation = request._correlation
    if isinstance(correlation, int):
        is_text, correlated = 0, _U64.pack(correlation)
    else:
        is_text, correlated = 1, text(correlation)
    begin = _BLS_REQUEST.pack(call, *callers, decoupled) + _name(request._model)
    begin += _VERSION.pack(request._version)
    head = _REQUEST.pack(0, request._flags, request._timeout, is_text)
    segment, start = placement.copy(channel)  # after what may raise
    return b"".join(
        [
            begin,
            _BLOCK.pack(segment, start, placement.length),
            head,
            correlated,
            *texts,
            _U16.pack(len(names)),
            *names,
            _U16.pack(len(inputs)),
            *inputs,
        ]
    )


def _pack_input(tensor: Tensor, placement: Placement) -> bytes:
    shape = tensor._shape
    offset = placement.add(tensor) if tensor._size else 0
    return _name(tensor._name) + _INPUT[len(shape)].pack(
        tensor._type, len(shape), *shape, offset, tensor._size
    )
