"""Compiles the project's .proto files into serialized descriptors beside them (NAME.proto ->
NAME.desc).

The .desc files are checked in, so neither the build nor the server needs protoc. Run after editing
a .proto file; `--check` only compares, for lint. Needs grpcio-tools (a development dependency).
"""

import argparse
import sys
import tempfile
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "python" / "fastserve"


def compile_proto(proto: Path, include_dirs: list[Path]) -> bytes:
    """The FileDescriptorSet of `proto` alone, without source locations."""
    from grpc_tools import protoc

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "out.desc"
        arguments = [
            "protoc",
            *(f"-I{path}" for path in include_dirs),
            f"--descriptor_set_out={target}",
            proto.name,
        ]
        if protoc.main(arguments) != 0:
            raise SystemExit(f"{proto}: protoc failed")
        return target.read_bytes()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="fail when a .desc file is not up to date"
    )
    arguments = parser.parse_args()
    protos = sorted(PACKAGE.rglob("*.proto"))
    include_dirs = sorted({proto.parent for proto in protos})
    stale = []
    for proto in protos:
        target = proto.with_suffix(".desc")
        compiled = compile_proto(proto, include_dirs)
        if target.exists() and target.read_bytes() == compiled:
            continue
        stale.append(str(target))
        if not arguments.check:
            target.write_bytes(compiled)
            print(f"wrote {target}")
    if arguments.check and stale:
        print(
            f"out of date, run python tools/generate_protos.py: {', '.join(stale)}", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
