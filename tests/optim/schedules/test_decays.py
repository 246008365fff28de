"""Rates that fall: values by hand."""

import math

import numpy as np
import pytest

from fastconv.errors import ArgumentError
from fastconv.optim import schedules


def test_constant():
    assert [schedules.Constant(0.3)(step) for step in (0, 10**6)] == [0.3, 0.3]


def test_step():
    schedule = schedules.Step(1.0, (10, 20), factor=0.5)
    assert [schedule(step) for step in (0, 9, 10, 19, 20, 100)] == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert schedules.Step(1.0, (5, 5))(5) == pytest.approx(0.01)  # two at once


def test_every_so_many_steps():
    schedule = schedules.Step(1.0, factor=0.5, step_size=10)
    assert [schedule(step) for step in (0, 9, 10, 19, 20, 35)] == [1, 1, 0.5, 0.5, 0.25, 0.125]


def test_inverse_time():
    schedule = schedules.InverseTime(0.6, 0.5)
    assert [schedule(step) for step in (0, 1, 2, 4)] == pytest.approx([0.6, 0.4, 0.3, 0.2])
    schedule = schedules.InverseTime(0.6, 0.5, 4, staircase=True)
    assert [schedule(step) for step in (3, 4, 7, 8)] == pytest.approx([0.6, 0.4, 0.4, 0.3])


def test_exponential():
    schedule = schedules.Exponential(0.8, 0.25, 4)
    assert [schedule(step) for step in (0, 2, 4, 8)] == pytest.approx([0.8, 0.4, 0.2, 0.05])
    schedule = schedules.Exponential(0.8, 0.25, 4, staircase=True)
    assert [schedule(step) for step in (0, 3, 4, 7)] == pytest.approx([0.8, 0.8, 0.2, 0.2])
    assert schedules.Exponential(1.0, math.exp(-0.1))(7) == pytest.approx(math.exp(-0.7), rel=1e-14)


def test_polynomial():
    schedule = schedules.Polynomial(1.0, 10, 2, 0.2)
    assert [schedule(step) for step in (0, 5, 10, 11, 99)] == pytest.approx([1.0, 0.4, 0.2, 0.2, 0.2])
    assert schedules.Polynomial(1.0, 4)(1) == 0.75


def test_settings_are_kept_as_they_were_checked():
    schedule = schedules.Exponential(np.float32(0.5), np.float16(0.5), np.int64(2))
    assert (type(schedule.lr), type(schedule.factor), type(schedule.decay_steps)) == (float, float, int)
    assert schedule(2) == 0.25


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.Constant(-1), "lr: got -1"),
        (lambda: schedules.Constant(math.nan), "lr: got nan"),
        (lambda: schedules.Constant("0.1"), "lr: got '0.1'; allowed: a finite number"),
        (lambda: schedules.Step(-0.1, (1,)), r"lr: got -0\.1"),
        (lambda: schedules.InverseTime(-0.1, 1), r"lr: got -0\.1"),
        (lambda: schedules.Exponential(-0.1, 0.9), r"lr: got -0\.1"),
        (lambda: schedules.Polynomial(-0.1, 10), r"lr: got -0\.1"),
        (lambda: schedules.Step(0.1, (1,), factor=-2), "factor: got -2"),
        (lambda: schedules.Step(0.1, (30, 20)), r"milestones: got \(30, 20\); .*none below the one before"),
        (lambda: schedules.Step(0.1, (30, -1)), r"milestones\[1\]: got -1"),
        (lambda: schedules.Step(0.1, 30), "milestones: got 30; allowed: numbers of steps in a tuple"),
        (lambda: schedules.Step(0.1), "milestones: got neither of milestones and step_size"),
        (lambda: schedules.Step(0.1, (1,), step_size=2), "milestones: got both"),
        (lambda: schedules.Step(0.1, step_size=0), "step_size: got 0"),
        (lambda: schedules.InverseTime(0.1, -1), "decay_rate: got -1"),
        (lambda: schedules.InverseTime(0.1, 1, 0), "decay_steps: got 0"),
        (lambda: schedules.Exponential(0.1, 0), "factor: got 0"),
        (lambda: schedules.Exponential(0.1, 0.9, staircase=1), "staircase: got 1; allowed: True, False"),
        (lambda: schedules.Polynomial(0.1, 0), "total_steps: got 0"),
        (lambda: schedules.Polynomial(0.1, 10, 0), "power: got 0"),
        (lambda: schedules.Polynomial(0.1, 10, final_lr=-1), "final_lr: got -1"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
