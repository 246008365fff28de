"""Triangles and one cycle: values by hand."""

import math

import pytest

from fastconv.errors import ArgumentError
from fastconv.optim import schedules


def test_one_cycle():
    schedule = schedules.OneCycle(1.0, 101, peak=0.3, start_factor=10, final_factor=100)
    assert schedule(0) == pytest.approx(0.1)
    assert schedule(100) == pytest.approx(0.001)
    assert schedule(1000) == schedule(100)
    assert all(schedule(i) < schedule(i + 1) for i in range(28))
    assert all(schedule(i) > schedule(i + 1) for i in range(30, 100))


def test_rates_of_one_cycle_by_hand():
    """100 steps, the thirtieth of which has the largest rate; between, half a cosine each."""
    schedule = schedules.OneCycle(1.0, 100, peak=0.3, start_factor=10, final_factor=100)
    assert [schedule(step) for step in (0, 29, 99, 100)] == pytest.approx([0.1, 1.0, 0.001, 0.001], rel=1e-12)
    assert max(range(100), key=schedule) == 29
    up, down = 0.9 * (1 - math.cos(math.pi / 29)) / 2, 0.999 * (1 - math.cos(math.pi / 70)) / 2
    assert [schedule(step) for step in (1, 28)] == pytest.approx([0.1 + up, 1.0 - up], rel=1e-12)
    assert [schedule(step) for step in (30, 98)] == pytest.approx([1.0 - down, 0.001 + down], rel=1e-12)
    assert schedule(64) == pytest.approx((1.0 + 0.001) / 2, rel=1e-12)  # half way down: 29 + 35


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_short_cycles(steps):
    schedule = schedules.OneCycle(1.0, steps)
    assert all(0 < schedule(i) <= 1.0 for i in range(steps + 1))


def test_one_cycle_along_lines_and_in_three_phases():
    """31 steps, the eleventh of which has the largest rate, and the twenty-first that of the first again."""
    schedule = schedules.OneCycle(1.0, 31, 11 / 31, 10, 10, anneal="linear", three_phase=True)
    got = [schedule(step) for step in (0, 5, 10, 15, 20, 25, 30, 99)]
    assert got == pytest.approx([0.1, 0.55, 1.0, 0.55, 0.1, 0.055, 0.01, 0.01], rel=1e-12)
    two = schedules.OneCycle(1.0, 31, 11 / 31, 10, 10, anneal="linear")
    assert [two(step) for step in (5, 20, 30)] == pytest.approx([0.55, 0.505, 0.01], rel=1e-12)


@pytest.mark.parametrize(
    ("mode", "factor", "rates"),
    [
        ("triangular", 1.0, [0.1, 0.6, 1.1, 0.85, 0.6, 0.35, 0.1, 0.6, 1.1]),
        ("triangular2", 1.0, [0.1, 0.6, 1.1, 0.85, 0.6, 0.35, 0.1, 0.35, 0.6]),
        ("exp_range", 0.5, [0.1, 0.35, 0.35, 0.1 + 0.75 / 8, 0.1 + 0.5 / 16, 0.1 + 0.25 / 32, 0.1, 0.1 + 0.5 / 128]),
    ],
)
def test_cyclic(mode, factor, rates):
    schedule = schedules.Cyclic(0.1, 1.1, 2, 4, mode, factor)
    assert [schedule(step) for step in range(len(rates))] == pytest.approx(rates, rel=1e-12)
    assert schedules.Cyclic(0.0, 1.0, 4)(6) == 0.5  # a fall is as long as a rise


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.OneCycle(-0.1, 10), r"max_lr: got -0\.1"),
        (lambda: schedules.Cyclic(-0.1, 0.2), r"base_lr: got -0\.1"),
        (lambda: schedules.OneCycle(0.1, 10, peak=1.5), "peak: got 1.5"),
        (lambda: schedules.OneCycle(0.1, 10, start_factor=0), "start_factor: got 0"),
        (lambda: schedules.OneCycle(0.1, 10, anneal="cosine"), r"anneal: got 'cosine'; .*nearest: 'cos'"),
        (lambda: schedules.OneCycle(0.1, 10, peak=0.6, three_phase=True), r"peak: got 0.6 with .*at most 0.5"),
        (lambda: schedules.OneCycle(0.1, 10, three_phase="no"), "three_phase: got 'no'; allowed: True, False"),
        (lambda: schedules.Cyclic(0.1, 0.01), r"max_lr: got 0.01; allowed: .*at least 0.1"),
        (lambda: schedules.Cyclic(0.1, 0.2, mode="triangle"), r"mode: got 'triangle'; .*nearest: 'triangular'"),
        (lambda: schedules.Cyclic(0.1, 0.2, 0), "step_size_up: got 0"),
        (lambda: schedules.Cyclic(0.1, 0.2, 4, 0), "step_size_down: got 0"),
        (lambda: schedules.Cyclic(0.1, 0.2, factor=0, mode="exp_range"), "factor: got 0"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
