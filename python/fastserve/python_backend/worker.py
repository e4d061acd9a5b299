"""A worker process: `PYTHON worker.py FD SERVER_PID`.

FD is its end of the channel, SERVER_PID the process that must live for it to live. Python 3.8 or
later, with numpy. See docs/design/005-python-backend.md.
"""

import os
import sys


def _search_path() -> None:
    """Puts the folder of triton_python_backend_utils in the place of this script's folder."""
    here = os.path.dirname(os.path.abspath(__file__))
    sys.path[:] = [entry for entry in sys.path if os.path.abspath(entry) != here]
    sys.path.append(os.path.join(here, "modules"))


if __name__ == "__main__":
    _search_path()
    from fastserve_worker.process import main

    main(int(sys.argv[1]), int(sys.argv[2]))
