"""Rates of a machine."""

import pytest

import fastconv as fc
from fastconv.errors import ArgumentError
from fastconv.training.diagnostics import Machine, machine, measure_machine


def test_the_longer_of_computing_and_moving_counts():
    found = Machine(1e9, 1e6)
    assert found.least_seconds(2e9, 1e6) == 2
    assert found.least_seconds(1e9, 3e6) == 3
    assert str(found) == "1 GFLOP/s and 0.0 GB/s (stated)"
    assert found.to_dict() == {"flops": 1e9, "bytes_per_second": 1e6, "how": "stated"}


@pytest.mark.parametrize("values", [(0, 1), (1, -1), (float("nan"), 1)])
def test_rates_that_cannot_be_are_refused(values):
    with pytest.raises(ArgumentError, match=r"(flops|bytes_per_second): got .*; allowed: a finite number above 0"):
        Machine(*values)


def test_rates_are_measured_and_a_slow_backend_is_not_kept_busy(monkeypatch):
    """Each time comes from a clock that says how long the work takes."""
    now = [0.0]
    monkeypatch.setattr("time.perf_counter", lambda: now[0])
    with fc.use_backend("numpy") as backend:

        def multiply(x, weight):
            now[0] += 1e-12 * 2 * len(x) ** 3
            assert len(x) <= 2048

        monkeypatch.setattr(machine.functional, "dense", multiply)
        monkeypatch.setattr(backend, "copy", lambda x, *, out: now.__setitem__(0, now[0] + 1e-6 * 8 * x.size))
        found = measure_machine(backend)
    assert found.flops == pytest.approx(1e12)
    assert found.bytes_per_second == pytest.approx(1e6)
    assert found.how == "measured on the backend numpy"
