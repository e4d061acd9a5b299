"""The queues of the models over one pool of threads."""

import threading

import pytest
from fastserve.control.operations import OperationQueue

LIMIT_S = 30


@pytest.fixture
def full_pool():
    """A queue whose only thread is occupied by `busy` until the event is set."""
    operations, over, runs = OperationQueue(1), threading.Event(), threading.Event()
    operations.submit("busy", lambda: runs.set() or over.wait(LIMIT_S))
    assert runs.wait(LIMIT_S)
    yield operations, over
    over.set()
    operations.shutdown()


def test_what_a_model_asks_for_does_not_wait_for_the_pool(full_pool):
    operations, _ = full_pool
    operations.submit("m", lambda: None, from_model=True).result(LIMIT_S)


def test_what_waits_for_the_pool_is_done_before_what_a_model_asks_for(full_pool):
    operations, over = full_pool
    done: list[str] = []
    operations.submit("m", lambda: done.append("client"))
    operations.submit("m", lambda: done.append("model"), from_model=True).result(LIMIT_S)
    assert done == ["client", "model"]
    over.set()  # the pool finds nothing left of it
    operations.submit("m", lambda: done.append("later")).result(LIMIT_S)
    assert done == ["client", "model", "later"]


def test_a_client_still_waits_for_the_pool(full_pool):
    operations, over = full_pool
    waiting = operations.submit("m", lambda: None)
    assert not waiting.done()
    over.set()
    waiting.result(LIMIT_S)


def test_the_end_waits_for_what_models_asked_for(full_pool):
    operations, over = full_pool
    runs, may_end = threading.Event(), threading.Event()
    last = operations.submit("m", lambda: runs.set() or may_end.wait(LIMIT_S), from_model=True)
    assert runs.wait(LIMIT_S)
    over.set()
    ending = threading.Thread(target=operations.shutdown)
    ending.start()
    ending.join(0.1)
    assert ending.is_alive()
    may_end.set()
    ending.join(LIMIT_S)
    assert last.done()
    with pytest.raises(RuntimeError):
        operations.submit("m", lambda: None, from_model=True)
