"""The thread that reads the channel while user code runs for long."""

from __future__ import annotations

import threading

from .channel import Channel, Waiter

_TICK_S = 0.02
_QUIET_TICKS = 50


class Relief:
    """Sleeps while the main thread is idle. While it executes, looks every 20 ms whether one
    execution goes on; then it reads until the main thread has its next work. So an execution of
    less costs no hand-over between threads, and a longer one delays a cancellation by 20 ms.

    Invariant: while the main thread executes, `_asleep` is false.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._waiter = Waiter()
        self._waiter.done = True
        self._wake = threading.Event()
        self._asleep = True
        self._wanted = False
        # Written by the main thread: odd while it executes.
        self._executions = 0
        threading.Thread(target=self._run, name="fastserve-relief", daemon=True).start()

    def execution_starts(self) -> None:
        if not self._waiter.done:
            self._channel.send_answers()  # it reads already, and sends none when this one is long
        self._executions += 1
        if self._asleep:
            self._asleep = False
            self._wake.set()

    def execution_ends(self) -> None:
        self._executions += 1

    def main_has_work(self) -> None:
        """The main thread will read again, or be executing."""
        if not self._waiter.done:
            self._channel.complete(self._waiter)

    def take_over(self) -> None:
        """Reads from now on, until the main thread is given work."""
        self._wanted = True
        self._asleep = False
        self._wake.set()

    def _run(self) -> None:
        quiet = 0
        while True:
            if self._asleep:
                self._wake.wait()
            seen = self._executions
            self._wake.clear()
            if not self._wanted:
                self._wake.wait(_TICK_S)
            if self._wanted or (self._executions == seen and seen & 1):
                self._wanted = False
                self._waiter.done = False
                self._channel.send_answers()
                self._channel.wait(self._waiter)
                quiet = 0
            elif self._executions != seen:
                quiet = 0
            else:
                quiet += 1
                if quiet > _QUIET_TICKS:
                    quiet = 0
                    self._fall_asleep(seen)

    def _fall_asleep(self, seen: int) -> None:
        self._wake.clear()
        self._asleep = True
        # An execution that started meanwhile saw either value; this thread sees its number.
        if self._executions != seen or self._wanted:
            self._asleep = False
