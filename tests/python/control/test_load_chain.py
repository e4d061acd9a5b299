"""Which loads wait for which others."""

import pytest
from fastserve.control.load_chain import LoadChain
from fastserve.errors import UnavailableError


def test_the_models_that_wait_are_known():
    chain = LoadChain()
    assert chain.enter("a", "b") == {"a"}
    assert chain.enter("b", "c") == {"a", "b"}
    assert chain.enter("x", "c") == {"a", "b", "x"}


@pytest.mark.parametrize(
    ("loading", "target", "text"),
    [("a", "a", "(a -> a)"), ("b", "a", "(b -> a -> b)"), ("c", "a", "(c -> a -> b -> c)")],
)
def test_a_circle_is_refused(loading, target, text):
    chain = LoadChain()
    chain.enter("a", "b")
    chain.enter("b", "c")
    with pytest.raises(UnavailableError) as raised:
        chain.enter(loading, target)
    assert text in str(raised.value)


def test_who_has_been_answered_waits_no_more():
    chain = LoadChain()
    chain.enter("a", "b")
    chain.enter("a", "b")
    chain.leave("a", "b")
    with pytest.raises(UnavailableError):
        chain.enter("b", "a")
    chain.leave("a", "b")
    assert chain.enter("b", "a") == {"b"}
