"""The life of a worker process: start, INITIALIZE, serve, FINALIZE."""

from __future__ import annotations

import asyncio
import atexit
import ctypes
import faulthandler
import gc
import json
import os
import resource
import signal
import socket
import struct
import sys
import threading
import traceback
from collections import deque
from typing import Any, Callable, Deque, List, NoReturn

from . import current, messages, user_model, wire
from .channel import (
    BLS_RESPONSE,
    CANCEL,
    CHECK_READY,
    EXECUTE,
    FINALIZE,
    GO_ON,
    HOLD,
    INITIALIZE,
    INITIALIZED,
    LOG_SETTINGS,
    READY,
    RETURN,
    Channel,
)
from .errors import PASSING, describe
from .execution import Executor
from .log import Logger
from .worker_state import IDLE_S, WorkerState

_PR_SET_PDEATHSIG = 1
_HANDLES = struct.Struct("<Q")
_INITIALIZED = struct.Struct("<B")
_READY = struct.Struct("<QB")


def main(descriptor: int, server: int) -> NoReturn:
    """Never returns: the status is 0 after FINALIZE, SystemExit's when the model raised one."""
    _bind_to(server)
    os.set_inheritable(descriptor, False)
    _unbuffer()
    # Where a crash of an extension was called; all threads would push it out of the last lines.
    faulthandler.enable(2, all_threads=False)
    status = 1
    try:
        Worker(Channel(socket.socket(fileno=descriptor))).run()
        status = 0
    except SystemExit as end:
        status = _status(end)
    except BaseException:
        traceback.print_exc()
    _end(status)


def _bind_to(server: int) -> None:
    """This process is killed when the server's thread that started it ends."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl

    def die_with(parent: int) -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)  # it had ended before

    die_with(server)
    _kill_children_with_worker(die_with)
    _leave_signals_to_the_server()


def _kill_children_with_worker(die_with: Callable[[int], None]) -> None:
    """A forked child maps the memory of the channel, too, and must not keep it when the worker was
    killed. Only one that the main thread forked: the signal comes with the end of the thread that
    did. Its own children are left alone, so that a model can make a daemon.
    """
    worker, main_thread = os.getpid(), threading.get_ident()
    is_worker = True

    def follow() -> None:
        nonlocal is_worker
        if is_worker and threading.get_ident() == main_thread:
            die_with(worker)
        is_worker = False

    os.register_at_fork(after_in_child=follow)


def _leave_signals_to_the_server() -> None:
    """A terminal's Ctrl-C and a service manager's SIGTERM reach all processes; the server lets its
    requests end before its workers do. A handler, because programs that a model starts would
    inherit SIG_IGN.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    # Blocked meanwhile, or one that comes early would find this handler in the child.
    os.register_at_fork(before=_block, after_in_parent=_unblock, after_in_child=_end_by_sigterm)


def _leave(*_: Any) -> None:
    pass


def _block() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))


def _unblock() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM,))


def _end_by_sigterm() -> None:
    """A forked child is the model's own, and terminate() of it is to work."""
    if signal.getsignal(signal.SIGTERM) is _leave:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _unblock()


def _unbuffer() -> None:
    """Lines of the model reach the server's log when they are written, whatever is in them."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")


def _status(end: SystemExit) -> int:
    # The server puts the end of the standard error into the errors of the requests it fails.
    print(f"the worker ends by {describe(end)}", file=sys.stderr)
    if end.code is None:
        return 0
    return end.code & 0xFF if isinstance(end.code, int) else 1


def _end(status: int) -> NoReturn:
    """Not through the interpreter's own end, which would wait for the model's threads."""
    try:
        if status == 0:
            atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


class Worker:
    """One instance of a model, on the main thread."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._state = WorkerState(channel)
        self._model: Any = None
        self._executor: Executor | None = None
        self._has_is_ready = False
        # Of CHECK_READY, for the thread that answers them while `execute` runs.
        self._tokens: Deque[int] = deque()
        self._is_asking = False
        self._asking = threading.Lock()  # guards both
        self._finalizing = False
        calls = self._state.calls
        channel.handlers.update(
            {
                INITIALIZE: self._on(self._initialize),
                EXECUTE: self._on(self._execute),
                FINALIZE: self._on(self._finalize),
                CANCEL: self._cancel,
                HOLD: self._hold,
                GO_ON: self._go_on,
                CHECK_READY: self._check_ready,
                LOG_SETTINGS: self._set_log_level,
                BLS_RESPONSE: calls.on_response,
                RETURN: calls.on_return,
            }
        )
        current.set_worker(self._state)

    def run(self) -> None:
        """Until FINALIZE."""
        try:
            self._serve()
        finally:
            self._channel.send_answers()
        if self._model is not None and hasattr(self._model, "finalize"):
            self._model.finalize()

    def _serve(self) -> None:
        while not self._finalizing:
            function, argument = self._state.next_work()
            if function != self._execute:
                self._channel.send_answers()  # it may take long
            function(argument)
            if self._executor is not None and self._executor.is_async and not self._finalizing:
                self._run_loop(self._executor)

    def _on(self, function: Callable[[bytes], None]) -> Callable[[bytes], None]:
        """A handler that leaves the work to the main thread."""
        deliver = self._state.deliver
        return lambda body: deliver(function, body)

    # ---- INITIALIZE

    def _initialize(self, body: bytes) -> None:
        settings = json.loads(body)
        error = config = ""
        try:
            self._prepare(settings)
            model_class = user_model.import_model(settings)
            if settings.get("auto_complete"):
                config = user_model.complete_config(model_class, settings)
            else:
                self._start_model(model_class, settings)
        except PASSING:
            raise
        except BaseException as failure:
            error = describe(failure)
            traceback.print_exc()
        greeting = _INITIALIZED.pack(self._has_is_ready) + wire.text(error) + wire.text(config)
        self._channel.send(INITIALIZED, greeting)

    def _prepare(self, settings: Any) -> None:
        limit = int(settings.get("memory_limit_bytes", 0))
        if limit:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
        state = self._state
        state.log_level = int(settings.get("log_level", Logger.INFO))
        state.version_directory = settings["version_directory"]
        messages.own_model = (str(settings["model_name"]), int(settings["model_version"]))
        user_model.extend_search_path(settings)

    def _start_model(self, model_class: Any, settings: Any) -> None:
        model = user_model.create(model_class, settings)
        decoupled = user_model.is_decoupled(settings)
        self._executor = Executor(
            self._state,
            model,
            str(settings["instance_name"]),
            decoupled=decoupled,
            empty_rows=user_model.has_ready_control(settings),
        )
        self._has_is_ready = hasattr(model, "is_ready")
        self._model = model
        gc.freeze()  # what lives from now on to the end is not looked through again and again

    # ---- an event loop on the main thread, for `async def execute`

    def _run_loop(self, executor: Executor) -> None:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        thread = threading.get_ident()

        def redirect(function: Callable[[Any], None], argument: Any) -> None:
            if threading.get_ident() == thread:
                function(argument)
            else:
                loop.call_soon_threadsafe(function, argument)

        def give_back() -> None:
            self._state.idle()
            loop.call_later(IDLE_S, give_back)

        self._channel.send_answers()
        self._state.loop_thread = thread
        self._state.redirect = redirect
        self._state.relief.main_has_work()
        loop.call_soon(executor.begin)
        loop.call_soon(self._state.catch_up, None)
        give_back()
        loop.add_reader(self._channel.fileno(), self._channel.drain)
        loop.run_forever()
        loop.remove_reader(self._channel.fileno())
        self._state.redirect = None

    async def _finalize_loop(self, executor: Executor) -> None:
        await executor.drain()
        asyncio.get_running_loop().stop()

    # ---- packets

    def _execute(self, body: bytes) -> None:
        if self._executor is None:
            raise RuntimeError("EXECUTE before the model was initialised")
        self._executor.run(body)

    def _finalize(self, _: bytes) -> None:
        self._finalizing = True
        if self._state.redirect is not None and self._executor is not None:
            ending = asyncio.ensure_future(self._finalize_loop(self._executor))
            ending.add_done_callback(lambda task: task.exception())

    def _cancel(self, body: bytes) -> None:
        for (handle,) in _HANDLES.iter_unpack(body):
            self._state.cancel(handle)

    def _hold(self, body: bytes) -> None:
        """A request's reader does not keep up: its responses are to wait."""
        (handle,) = _HANDLES.unpack(body)
        if handle in self._state.live or self._state.backlog.holds(handle):
            self._state.backlog.hold(handle)

    def _go_on(self, body: bytes) -> None:
        self._state.backlog.go_on(_HANDLES.unpack(body)[0])

    def _set_log_level(self, body: bytes) -> None:
        self._state.log_level = int(json.loads(body)["level"])

    # ---- readiness

    def _check_ready(self, body: bytes) -> None:
        (token,) = _HANDLES.unpack(body)
        if not self._has_is_ready:
            self._send_ready(token, self._model is not None, "")
        elif self._state.redirect is not None:
            self._state.redirect(self._ready_in_loop, token)
        elif self._state.executing or self._is_asking:
            # `execute` may take long; the model is asked beside it, by one thread.
            with self._asking:
                self._tokens.append(token)
                start, self._is_asking = not self._is_asking, True
            if start:
                threading.Thread(target=self._ready_beside, daemon=True).start()
        else:
            self._state.deliver(self._ready_now, token)

    def _ready_in_loop(self, token: int) -> None:
        task = asyncio.ensure_future(user_model.check_ready_async(self._model))
        task.add_done_callback(lambda ended: self._answer_ready([token], ended.result))

    def _ready_beside(self) -> None:
        while True:
            with self._asking:
                self._is_asking = bool(self._tokens)
                if not self._is_asking:
                    return
                tokens = list(self._tokens)
                self._tokens.clear()
            # As on the main thread, an exit of the model is the worker's.
            try:
                self._answer_ready(tokens, lambda: user_model.check_ready(self._model))
            except SystemExit as end:
                _end(_status(end))
            except BaseException:
                traceback.print_exc()
                _end(1)

    def _ready_now(self, token: int) -> None:
        self._answer_ready([token], lambda: user_model.check_ready(self._model))

    def _answer_ready(self, tokens: List[int], check: Callable[[], Any]) -> None:
        try:
            ready, error = check()
        except PASSING:
            raise
        except BaseException as failure:
            ready, error = False, describe(failure)
        for token in tokens:
            self._send_ready(token, ready, error)

    def _send_ready(self, token: int, ready: bool, error: str) -> None:
        self._channel.send(READY, _READY.pack(token, ready) + wire.text(error))
