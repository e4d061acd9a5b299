"""The line that says how the measurement goes."""

import sys
import time
from typing import TextIO

from fastserve import _core

REFRESH_S = 0.5


class ProgressLine:
    """Rewrites one line of a terminal; elsewhere it says nothing, or (verbose) one line a level."""

    def __init__(self, verbose: bool = False, stream: TextIO = sys.stderr) -> None:
        self._verbose = verbose
        self._stream = stream
        self._enabled = stream.isatty()
        self._last = 0.0
        self._width = 0
        self._said = ""

    def update(self, label: str, begin: "_core.LoadSnapshot", now: "_core.LoadSnapshot") -> None:
        if self._verbose and not self._enabled and self._said != label:
            self._said = label
            print(f"measuring {label}", file=self._stream, flush=True)
        if not self._enabled or time.monotonic() - self._last < REFRESH_S:
            return
        self._last = time.monotonic()
        window = now.since(begin)
        rate = window.completed / window.time_s if window.time_s > 0 else 0
        text = (
            f"{label}: {window.time_s:.0f} s, {rate:.0f} requests/s, "
            f"p50 {window.percentile_us(50):.0f} us, p99 {window.percentile_us(99):.0f} us, "
            f"{now.in_flight} in flight, {window.failed} failed"
        )
        if now.overdue:
            text += f", {now.overdue} overdue"
        self._write(text)

    def clear(self) -> None:
        if self._enabled and self._width:
            self._write("")
            self._width = 0

    def _write(self, text: str) -> None:
        self._stream.write("\r" + text.ljust(self._width) + ("\r" if not text else ""))
        self._stream.flush()
        self._width = len(text)
