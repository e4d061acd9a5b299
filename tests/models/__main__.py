"""Command line: `python -m tests.models DIR [NAME...]` or `python -m tests.models --data`."""

import argparse
from pathlib import Path

from tests.models import MODELS, write_data, write_repository


def main() -> None:
    """Writes a model repository, or the checked-in files."""
    parser = argparse.ArgumentParser(prog="python -m tests.models")
    parser.add_argument("directory", nargs="?", help="where to write the model repository")
    parser.add_argument("names", nargs="*", help="default: all but `broken` and `sequence`")
    parser.add_argument("--data", action="store_true", help="rewrite tests/models/data")
    arguments = parser.parse_args()
    if arguments.data:
        print("\n".join(write_data(Path(__file__).parent / "data")))
        return
    if arguments.directory is None:
        parser.error("a directory is needed, or --data")
    names = arguments.names or sorted(set(MODELS) - {"broken", "sequence"})
    write_repository(arguments.directory, names)


if __name__ == "__main__":
    main()
