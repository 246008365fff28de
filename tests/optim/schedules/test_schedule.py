"""What all schedules share: what they count, words for wrong settings, copies."""

import copy
import dataclasses
import inspect
import pickle

import numpy as np
import pytest

from fastconv.errors import ArgumentError
from fastconv.optim import schedules
from fastconv.training import named

MADE = [
    schedules.Constant(0.1),
    schedules.InverseTime(0.1, 0.5),
    schedules.Step(0.1, (3, 6)),
    schedules.Exponential(0.1, 0.9),
    schedules.Polynomial(0.1, 10),
    schedules.Cosine(0.1, 10),
    schedules.CosineWarmRestarts(0.1, 3, 2),
    schedules.Cyclic(0.1, 0.2, 3),
    schedules.OneCycle(0.1, 10),
    schedules.Warmup(schedules.Cosine(0.1, 8), 2),
    schedules.PiecewiseLinear(((0, 0.1), (10, 0))),
    schedules.ReduceOnPlateau(0.1),
    schedules.Function(abs),
]


def test_every_schedule_is_made_here():
    assert {type(schedule).__name__ for schedule in MADE} == set(named.choices("schedule"))


@pytest.mark.parametrize("schedule", MADE, ids=lambda schedule: type(schedule).__name__)
def test_says_what_it_counts_and_survives_copies(schedule):
    assert f"by={schedule.by!r})" in repr(schedule)
    for twin in (copy.deepcopy(schedule), pickle.loads(pickle.dumps(schedule))):
        assert twin == schedule
        assert [twin(step) for step in range(12)] == [schedule(step) for step in range(12)]
    with pytest.raises(AttributeError):
        schedule.by = "step"
    assert "by" in inspect.signature(type(schedule)).parameters  # what builds by name reads it


@pytest.mark.parametrize("schedule", MADE, ids=lambda schedule: type(schedule).__name__)
def test_counts_steps_or_epochs(schedule):
    settings = {name: getattr(schedule, name) for name in inspect.signature(type(schedule)).parameters}
    with pytest.raises(ArgumentError, match=r"by: got 'epochs'; allowed: .*nearest: 'epoch'"):
        type(schedule)(**{**settings, "by": "epochs"})


@pytest.mark.parametrize("schedule", MADE, ids=lambda schedule: type(schedule).__name__)
def test_numbers_of_steps_are_shown_as_such(schedule):
    for item in dataclasses.fields(schedule):
        value = getattr(schedule, item.name)
        if str(item.type).startswith("int") and value is not None:
            assert type(value) is int
            assert f"{item.name}={value}," in repr(schedule)


def test_a_warm_up_ends_before_the_cosine_does():
    assert repr(schedules.Cosine(0.1, 10, 9)) == (
        "Cosine(lr=0.1, total_steps=10, warmup_steps=9, final_lr=0.0, by='step')"
    )
    with pytest.raises(ArgumentError, match="warmup_steps: got 10; allowed: an int from 0 to 9"):
        schedules.Cosine(0.1, 10, 10)


def test_a_wrong_name_gets_the_right_one():
    for make, message in (
        (lambda: schedules.OneCycle(0.1, 10, pct_start=0.2), r"pct_start: got it for OneCycle.*nearest: 'peak'"),
        (lambda: schedules.Exponential(0.1, gamma=0.9), "nearest: 'factor'"),
        (lambda: schedules.Exponential(0.1, decay_rate=0.9), "nearest: 'factor'"),
        (lambda: schedules.Cosine(0.1, 10, alpha=0.1), r"\(final_lr, which is alpha times lr\)$"),
        (lambda: schedules.Function(lr_lambda=None), r"\(function, which gives the rate itself, not a factor of it\)$"),
        (
            lambda: schedules.OneCycle(0.1, steps_per_epoch=3),
            r"\(total_steps=epochs \* steps_per_epoch, or .*'epoch'\)$",
        ),
        (lambda: schedules.Cosine(0.1, total_step=9), "nearest: 'total_steps'"),
        (lambda: schedules.Constant(0.1, xyz=9), r"xyz: got it for Constant, .*allowed: lr, by$"),
    ):
        with pytest.raises(ArgumentError, match=message):
            make()


def test_the_rate_of_a_step():
    by_epoch = schedules.Step(1.0, (2,), by="epoch")
    assert schedules.rate_at(by_epoch, 100, 1) == 1.0
    assert schedules.rate_at(by_epoch, 100, 2) == pytest.approx(0.1)
    assert schedules.rate_at(lambda step: step / 2, 100, 2) == 50.0
    for wrong in (-0.1, float("nan"), float("inf"), None, "high"):
        with pytest.raises(ArgumentError, match=r"schedule: got .*, as the rate of step 7 \(of <function"):
            schedules.rate_at(lambda step, wrong=wrong: wrong, 7, 1)


def test_an_own_schedule_says_what_it_counts():
    class Own:
        by = "epochs"

        def __call__(self, number):
            return 0.1

    with pytest.raises(ArgumentError, match=r"by of .*: got 'epochs'; allowed: 'step', 'epoch'"):
        schedules.unit_of(Own())


@pytest.mark.parametrize(
    ("schedule", "step"),
    [
        (schedules.Exponential(0.1, 2), 10_000),
        (schedules.Exponential(0.1, 2, staircase=True, by="epoch"), 10_000),
        (schedules.Exponential(0.1, 0.5), 10**400),
        (schedules.InverseTime(0.1, 3.0), 10**400),
        (schedules.Step(0.1, factor=2.0, step_size=1), 10_000),
        (schedules.Step(0.1, tuple(range(2000)), 2.0), 10_000),
    ],
)
def test_a_rate_beyond_all_floats_is_told(schedule, step):
    with pytest.raises(ArgumentError, match=rf"^{schedule.by}: got 10*, where the rate of {type(schedule).__name__}\("):
        schedule(step)


@pytest.mark.parametrize("schedule", MADE, ids=lambda schedule: type(schedule).__name__)
def test_what_is_no_number_of_a_step_is_refused(schedule):
    for wrong in ("3", -1, 1.5, None, True, float("nan"), [1]):
        with pytest.raises(ArgumentError, match=rf"^{schedule.by}: got .*; allowed: an int of at least 0$"):
            schedule(wrong)
    assert schedule(np.int64(3)) == schedule(3)
