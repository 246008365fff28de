from __future__ import annotations

import threading
import time

import pytest

from fastconv.parallel.exchange import Exchange


def test_what_was_asked_for_comes_in_order_on_one_thread():
    exchange, seen = Exchange(), []

    def note(number):
        time.sleep(0.01 * (number == 0))
        seen.append((number, threading.current_thread().name))
        return number

    promises = [exchange.later(lambda number=number: note(number)) for number in range(5)]
    assert exchange.now(lambda: note(5)) == 5
    assert [promise.wait() for promise in promises] == [0, 1, 2, 3, 4]
    assert [number for number, _ in seen] == [0, 1, 2, 3, 4, 5]
    assert {name for _, name in seen} == {"fastconv exchange"}


def test_without_a_thread_it_is_done_here():
    assert Exchange().now(lambda: threading.current_thread()) is threading.current_thread()


def test_errors_come_to_who_waits():
    exchange = Exchange()
    promise = exchange.later(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        promise.wait()
    assert exchange.now(lambda: 3) == 3


def test_the_thread_ends_with_the_exchange():
    exchange = Exchange()
    thread = exchange.later(threading.current_thread).wait()
    del exchange
    thread.join(30)
    assert not thread.is_alive()
