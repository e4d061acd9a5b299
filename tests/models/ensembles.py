"""Ensembles over the synthetic models: configurations, and a version directory without a file."""

from collections.abc import Iterable, Mapping
from pathlib import Path


def step(member: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """One step; the maps go from the member's tensors to those of the ensemble."""
    maps = [f"input_map {{ key: '{key}' value: '{value}' }}" for key, value in inputs.items()]
    maps += [f"output_map {{ key: '{key}' value: '{value}' }}" for key, value in outputs.items()]
    return f"step {{ model_name: '{member}' model_version: -1 {' '.join(maps)} }}\n"


def chain(members: Iterable[str], source: str = "INPUT0", target: str = "OUTPUT0") -> str:
    """Steps INPUT0 -> OUTPUT0 one after the other, from tensor `source` to tensor `target`."""
    names = list(members)
    tensors = [source, *(f"{target}_{number}" for number in range(1, len(names))), target]
    return "".join(
        step(name, {"INPUT0": tensors[i]}, {"OUTPUT0": tensors[i + 1]})
        for i, name in enumerate(names)
    )


def ensemble(
    steps: str, inputs: Iterable[str], outputs: Iterable[str], max_batch_size: int = 4
) -> str:
    """A configuration; inputs and outputs are written as "NAME TYPE DIMS"."""

    def tensors(kind: str, values: Iterable[str]) -> str:
        lines = []
        for value in values:
            name, data_type, dims, *more = value.split(" ", 3)
            rest = more[0] if more else ""
            lines.append(
                f"{kind} {{ name: '{name}' data_type: TYPE_{data_type} dims: {dims} {rest} }}\n"
            )
        return "".join(lines)

    return (
        f"platform: 'ensemble'\nmax_batch_size: {max_batch_size}\n"
        + tensors("input", inputs)
        + tensors("output", outputs)
        + f"ensemble_scheduling {{\n{steps}}}\n"
    )


_ADD_SUB = {"INPUT0": "INPUT0", "INPUT1": "INPUT1"}

# What each does is what its steps do: tiny adds 1, add_sub gives sum and difference.
ENSEMBLES: dict[str, str] = {
    "chain": ensemble(chain(["tiny"] * 3), ["INPUT0 FP32 [16]"], ["OUTPUT0 FP32 [16]"]),
    "nested": ensemble(
        chain(["chain", "tiny", "chain"]), ["INPUT0 FP32 [16]"], ["OUTPUT0 FP32 [16]"]
    ),
    "diamond": ensemble(
        step("add_sub_fp32", _ADD_SUB, {"OUTPUT0": "sum", "OUTPUT1": "difference"})
        + chain(["tiny"], "sum", "left")
        + chain(["tiny", "tiny"], "difference", "right")
        + step(
            "add_sub_fp32",
            {"INPUT0": "left", "INPUT1": "right"},
            {"OUTPUT0": "OUTPUT0", "OUTPUT1": "OUTPUT1"},
        ),
        ["INPUT0 FP32 [16]", "INPUT1 FP32 [16]"],
        ["OUTPUT0 FP32 [16]", "OUTPUT1 FP32 [16]"],
    ),
    "words": ensemble(
        step("strings", _ADD_SUB, {"OUTPUT0": "joined"})
        + step("identity_bytes", {"INPUT0": "joined"}, {"OUTPUT0": "OUTPUT0"}),
        ["INPUT0 STRING [-1]", "INPUT1 STRING [-1]"],
        ["OUTPUT0 STRING [-1]"],
    ),
    "table": ensemble(
        chain(["identity_int64", "lookup"]), ["INPUT0 INT64 [1]"], ["OUTPUT0 FP32 [1]"]
    ),
    "labelled": ensemble(
        chain(["identity_fp32", "classifier"]), ["INPUT0 FP32 [4]"], ["OUTPUT0 FP32 [4]"]
    ),
}


def write_ensembles(directory: Path | str, names: Iterable[str], version: int = 1) -> Path:
    """Lays out DIRECTORY/NAME/config.pbtxt and an empty DIRECTORY/NAME/VERSION."""
    root = Path(directory)
    for name in names:
        (root / name / str(version)).mkdir(parents=True, exist_ok=True)
        (root / name / "config.pbtxt").write_text(ENSEMBLES[name])
    return root
