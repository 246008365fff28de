"""Half a cosine, once and again: values by hand."""

import math

import pytest

from fastconv.errors import ArgumentError
from fastconv.optim import schedules


def test_cosine():
    schedule = schedules.Cosine(1.0, 104, warmup_steps=4, final_lr=0.2)
    assert [schedule(step) for step in (0, 1, 2, 3)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert [schedule(step) for step in (4, 54, 104, 500)] == pytest.approx([1.0, 0.6, 0.2, 0.2])


def test_warm_restarts():
    """Periods of 10, 20 and 40 steps."""
    schedule = schedules.CosineWarmRestarts(1.0, 10, 2, 0.2)
    assert [schedule(step) for step in (0, 5, 10, 20, 30, 50, 70)] == pytest.approx([1, 0.6, 1, 0.6, 1, 0.6, 1])
    assert schedule(9) == pytest.approx(0.2 + 0.4 * (1 + math.cos(0.9 * math.pi)))
    again = schedules.CosineWarmRestarts(1.0, 10)
    assert [again(step) for step in (0, 5, 10, 10**9, 10**9 + 5)] == pytest.approx([1, 0.5, 1, 1, 0.5])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.Cosine(0.1, 0), "total_steps: got 0"),
        (lambda: schedules.Cosine(0.1, 10, warmup_steps=10), "warmup_steps: got 10"),
        (lambda: schedules.Cosine(-0.1, 10), "lr: got -0.1"),
        (lambda: schedules.CosineWarmRestarts(-0.1, 10), r"lr: got -0\.1"),
        (lambda: schedules.CosineWarmRestarts(0.1, 0), "T_0: got 0"),
        (lambda: schedules.CosineWarmRestarts(0.1, 10, 0), "T_mult: got 0"),
        (lambda: schedules.CosineWarmRestarts(0.1, 10, 1.5), "T_mult: got 1.5"),
        (lambda: schedules.CosineWarmRestarts(0.1, 10, final_lr=-1), "final_lr: got -1"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
