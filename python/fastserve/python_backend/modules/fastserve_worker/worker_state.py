"""What the parts of a worker share."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Callable, Deque, Dict, List, Set, Tuple

from .backlog import Backlog
from .calls import Calls
from .channel import Channel, Waiter
from .messages import NOBODY, Callers, InferenceRequest
from .relief import Relief

INFO = 2
IDLE_S = 5

Work = Tuple[Callable[[Any], None], Any]


class WorkerState:
    """The channel, the work of the main thread, and the requests that are not answered.

    `live` maps a request's handle to its cancellation flag, a list of one bool.
    """

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.arena = channel.arena
        self.relief = Relief(channel)
        self.calls = Calls(channel, self._take_over)
        self.calls.default_callers = self._default_callers
        self.live: Dict[int, List[bool]] = {}
        # Requests that were cancelled before their execution began; later than `_begun`.
        self._cancelled_early: Set[int] = set()
        self._begun = 0
        self.newest = NOBODY  # the requests of the execution that began last
        self.backlog = Backlog(channel, self._take_over)
        self.log_level = INFO
        self.version_directory = ""
        self.executing = False
        # Set by an event loop that runs on the main thread: where work goes instead of the queue.
        self.redirect: Callable[[Callable[[Any], None], Any], None] | None = None
        self.loop_thread = 0  # its thread
        self._queue: Deque[Work] = deque()
        self._waiter = Waiter()
        self._armed = False
        channel.on_idle = self.idle

    def begin(self, request: InferenceRequest) -> None:
        """An execution has it. Requests begin in the order of their handles."""
        handle = request._handle
        if not handle:
            return  # a row of a sequence batch without a request
        self.live[handle] = request._cancelled
        if handle in self._cancelled_early:
            self._cancelled_early.discard(handle)
            request._cancelled[0] = True
        self._begun = handle  # last: cancel() forgets what it finds begun and not live

    def cancel(self, handle: int) -> None:
        """By the thread that reads, while another may begin the request."""
        self._cancelled_early.add(handle)
        cancelled = self.live.get(handle)
        if cancelled is not None:
            cancelled[0] = True
        if cancelled is not None or handle <= self._begun:
            self._cancelled_early.discard(handle)

    def deliver(self, function: Callable[[Any], None], argument: Any) -> None:
        """Has the main thread call `function(argument)`. From any thread."""
        redirect = self.redirect
        if redirect is not None:
            redirect(function, argument)
            return
        self._queue.append((function, argument))
        if self.redirect is not None:  # it came meanwhile and may have missed this
            self.redirect(self.catch_up, None)
        self.channel.complete(self._waiter)
        self.relief.main_has_work()

    def catch_up(self, _: Any) -> None:
        """In the loop: what was queued before it began."""
        while self._queue:
            function, argument = self._queue.popleft()
            function(argument)

    def next_work(self) -> Work:
        """What the main thread does next; it reads the channel itself until there is something."""
        if not self._queue and self.channel.has_answers():
            self.channel.drain()  # perhaps their company
        while not self._queue:
            self._waiter.done = False
            if not self._queue:
                self.channel.wait(self._waiter)
        return self._queue.popleft()

    def execution_starts(self) -> None:
        self.executing = True
        self.relief.execution_starts()
        if not self._armed:
            self._armed = True
            self.channel.arm_idle(IDLE_S)

    def execution_ends(self) -> None:
        self.executing = False
        self.relief.execution_ends()
        self.channel.settle_releases()

    def idle(self) -> None:
        """Nothing came for a while: gives memory back."""
        self.channel.flush_releases()
        if not self.arena.trim() and not self.executing and self._armed:
            self._armed = False
            self.channel.arm_idle(0)

    def may_wait(self) -> bool:
        """Whether nothing but the model's own code stands still when the calling thread does."""
        return self.redirect is None or threading.get_ident() != self.loop_thread

    def _take_over(self) -> None:
        # With an event loop on the main thread the loop reads.
        if self.redirect is None:
            self.relief.take_over()

    def _default_callers(self) -> Callers:
        """For threads that a model started: the requests that are answered, if they are of one
        execution.
        """
        first, count = self.newest
        live = list(self.live)
        is_one = all(0 <= handle - first < count for handle in live)
        # Not nobody while one executes: a call of its own chain would wait for ever.
        if self.executing or (live and is_one):
            return self.newest
        return (live[0], 1) if len(live) == 1 else NOBODY
