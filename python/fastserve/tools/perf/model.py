"""What the load generator knows about the model under load."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TensorSpec:
    """An input as the model's metadata lists it; -1 is a free dimension."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelUnderLoad:
    """Name, inputs and outputs; `max_batch_size` 0 means that shapes are complete as they are."""

    name: str
    version: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[str, ...]
    max_batch_size: int


@dataclass(frozen=True)
class ServerTimes:
    """The server's own totals from its statistics, in nanoseconds."""

    successes: int = 0
    queue_ns: int = 0
    compute_input_ns: int = 0
    compute_infer_ns: int = 0
    compute_output_ns: int = 0
    executions: int = 0
    inferences: int = 0

    def since(self, earlier: "ServerTimes") -> "ServerTimes":
        return ServerTimes(
            **{
                name: getattr(self, name) - getattr(earlier, name)
                for name in self.__dataclass_fields__
            }
        )


@dataclass(frozen=True)
class Target:
    """Where the server is: host, port and what the user called it."""

    protocol: str
    host: str
    port: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(default=())
