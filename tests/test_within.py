"""Choices for a block, and what is said of those that stand alone on a line."""

from __future__ import annotations

import gc
import threading
import warnings
from collections.abc import Iterator

import pytest

import fastconv as fc
from fastconv._within import within
from fastconv.errors import ArgumentError
from tests.interrupts import every_place

_active: list[str] = []


@within("choice({})", ", or choose({})")
def choice(what: str, *, twice: bool = False) -> Iterator[str]:
    _active.append(what)
    try:
        yield what.upper()
    finally:
        _active.pop()


@pytest.fixture(autouse=True)
def _nothing_left():
    yield
    assert not _active


def _precision():
    fc.precision("strict")


def _algorithm():
    fc.algorithm("shapes")


def _backend():
    fc.use_backend("numpy")


def _named():
    choice("a", twice=True)


def _of_several():
    return [None for _ in range(2) if choice("b") and False]


@pytest.mark.parametrize(
    ("alone", "message"),
    [
        (
            _precision,
            "fc.precision('strict'): got it without a block, where it does nothing; allowed: `with"
            " fc.precision('strict'):`, or fc.set_precision('strict') for the whole process",
        ),
        (_algorithm, "fc.algorithm('shapes'): got it without a block"),
        (_backend, "fc.use_backend('numpy'): got it without a block"),
        (
            _named,
            "choice('a', twice=True): got it without a block, where it does nothing; allowed: `with choice('a',"
            " twice=True):`, or choose('a', twice=True)",
        ),
    ],
)
def test_alone_on_a_line_it_warns(alone, message):
    with pytest.warns(UserWarning, match="without a block") as caught:
        alone()
    assert [str(each.message)[: len(message)] for each in caught] == [message]
    assert caught[0].filename == __file__
    assert caught[0].lineno == alone.__code__.co_firstlineno + 1


def test_averages_alone_on_a_line_warn():
    model = fc.nn.Sequential(fc.nn.Dense(2)).build((3,))
    optimizer = fc.optim.EMA(fc.optim.SGD(model.parameters(), 0.1))
    with pytest.warns(UserWarning, match=r"^optimizer\.averaged\(\): got it without a block"):
        optimizer.averaged()


def test_whatever_else_is_done_with_it_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with choice("a") as got:
            assert (got, _active) == ("A", ["a"])
        kept = choice("b")
        del kept
        gc.collect()
        assert [None for _ in range(2) if choice("c") and False] == []
        with pytest.raises(ZeroDivisionError), choice("d"):
            raise ZeroDivisionError
        with pytest.raises(ArgumentError, match="precision"), fc.precision("exact"):
            pass


def test_one_is_for_one_block():
    """Which one ends would not be known, if threads shared it."""
    one = choice("a")
    with one:
        with pytest.raises(RuntimeError, match=r"choice\('a'\): got it for a second block; allowed: one"), one:
            pass
        assert _active == ["a"]
    assert not _active
    with pytest.raises(RuntimeError, match="second block"), one:
        pass


def test_a_function_runs_within_it_each_time():
    @choice("a")
    def active(depth):
        return active(depth - 1) if depth else list(_active)

    assert active(0) == ["a"] == active(0)
    assert active(2) == ["a"] * 3
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(active(0))) for _ in range(2)]
    for thread in threads:
        thread.start()
        thread.join()
    assert seen == [["a"], ["a"]]


def test_it_shows_how_it_is_written():
    assert repr(choice("a", twice=True)) == "<with choice('a', twice=True): ...>"
    assert repr(fc.precision("fast")) == "<with fc.precision('fast'): ...>"


def test_an_interrupt_ends_it_and_is_all_that_is_said():
    def enter():
        with fc.precision("strict"):
            assert fc.get_precision() == "strict"

    def look(broken):
        assert fc.get_precision() == "default"

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert every_place(enter, lambda: None, look, instructions=True) > 50
