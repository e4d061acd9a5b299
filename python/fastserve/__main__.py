"""`python -m fastserve`: the server; `python -m fastserve perf`: the load generator."""

import sys

from fastserve.cli import main

if __name__ == "__main__":
    sys.exit(main())
