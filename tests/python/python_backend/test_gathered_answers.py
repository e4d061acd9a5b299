"""Answers of quick batches wait for one another, but for nothing else."""

import os
import signal
import time
from collections.abc import Sequence

import numpy as np
import pytest

from tests.python.python_backend.worker_peer import TIMEOUT_S, Request, WorkerPeer

QUICK, LONG, CALLS, AWAITS, EXITS, LEAVES_IT_TO_A_THREAD = range(6)
LONG_S = TIMEOUT_S / 2
AT_ONCE = 8

MODEL = f"""
import asyncio, sys, threading, time

class TritonPythonModel:
    def initialize(self, args):
        from fastserve_worker import channel

        # However slow the machine is, each batch counts as a quick one.
        channel._QUICK_NS = channel._ANSWERS_WAIT_NS = 1 << 40

    def execute(self, requests):
        what = int(requests[0].inputs()[0].as_numpy()[0])
        if what == {LONG}:
            time.sleep({LONG_S})
        if what in ({CALLS}, {AWAITS}):
            call = pb_utils.InferenceRequest(model_name="other", inputs=requests[0].inputs())
        if what == {CALLS}:
            call.exec()
        if what == {AWAITS}:
            asyncio.run(self.wait_for(call))
        if what == {EXITS}:
            sys.exit(3)
        if what == {LEAVES_IT_TO_A_THREAD}:
            threading.Thread(target=self.answer, args=(requests[0].get_response_sender(),)).start()
            return None
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([what], np.int32))])]

    async def wait_for(self, call):
        return await call.async_exec()

    def answer(self, sender):
        time.sleep({LONG_S})
        sender.send(pb_utils.InferenceResponse(), pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
"""


def start(peer: WorkerPeer, what: Sequence[int]) -> list[int]:
    """Executions that the worker finds all at once."""
    os.kill(peer.process.pid, signal.SIGSTOP)
    executions = [peer.start([Request({"IN": np.array([each], np.int32)})]) for each in what]
    os.kill(peer.process.pid, signal.SIGCONT)
    return executions


def check(peer: WorkerPeer, executions: Sequence[int]) -> None:
    for execution in executions:
        assert peer.responses(execution)[0]["OUT"].tolist() == [QUICK]


@pytest.fixture
def peer(run_model) -> WorkerPeer:
    """Whose answers wait for one another, from now on."""
    peer = run_model(MODEL)
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        executions = start(peer, [QUICK] * AT_ONCE)
        check(peer, executions[:1])
        is_gathered = peer.answers != b""
        check(peer, executions[1:])
        if is_gathered:
            return peer
    pytest.fail("each answer came in a packet of its own")


def test_none_is_lost_or_doubled(peer):
    for _ in range(50):
        check(peer, start(peer, [QUICK] * AT_ONCE))


@pytest.mark.parametrize("last", [LONG, LEAVES_IT_TO_A_THREAD])
def test_they_do_not_wait_for_an_execution_that_is_long(peer, last):
    begin = time.monotonic()
    check(peer, start(peer, [QUICK, QUICK, last])[:2])
    assert time.monotonic() - begin < LONG_S


def test_they_go_before_a_call(peer):
    executions = start(peer, [QUICK, QUICK, CALLS])
    call = peer.bls_request()
    assert peer.packets[0][0] == "RESPONSES"
    check(peer, executions[:2])
    peer.bls_respond(call.call, {"OUT": np.array([1.0], np.float32)})
    assert peer.responses(executions[2])[0]["OUT"].tolist() == [CALLS]


def test_they_do_not_wait_behind_a_thread_that_reads_for_a_call(peer):
    begin = time.monotonic()
    executions = start(peer, [QUICK, AWAITS, LONG])
    peer.bls_respond(peer.bls_request().call, {"OUT": np.array([1.0], np.float32)})
    check(peer, executions[:1])
    assert peer.responses(executions[1])[0]["OUT"].tolist() == [AWAITS]
    assert time.monotonic() - begin < LONG_S


def test_they_go_before_an_exit(peer):
    check(peer, start(peer, [QUICK, QUICK, EXITS])[:2])
    assert peer.process.wait(TIMEOUT_S) == 3


def test_one_alone_does_not_wait(peer):
    for _ in range(20):
        check(peer, start(peer, [QUICK]))
