"""Schedules made for another run are told, those that no run could follow refused."""

import re

import pytest

from fastconv.errors import ArgumentError
from fastconv.optim import schedules


@pytest.mark.parametrize(
    ("milestones", "steps_per_epoch", "epochs", "told"),
    [
        ((30, 60), 8, 90, True),  # of epochs, as elsewhere: more than there are steps in one
        ((5, 10), 100, 20, True),
        ((240, 480), 8, 90, False),
        ((5, 10), 1, 20, False),  # a step is an epoch
        ((2, 3), 3, 4, False),  # of steps, within what there are
        ((5,), 10, 1, False),
        ((), 10, 20, False),
        ((30, 80), 40, 90, True),
        ((15, 40), 40, 30, True),  # one of them behind the last epoch
        ((400, 800), 40, 30, False),
    ],
)
def test_milestones_that_count_epochs_are_told(milestones, steps_per_epoch, epochs, told):
    assert bool(schedules.misfit(schedules.Step(0.1, milestones), 0, steps_per_epoch, epochs)) is told


@pytest.mark.parametrize(
    ("schedule", "told"),
    [
        (schedules.Polynomial(0.1, 10), r"from step 10 on, before training ends at step 40; .*: total_steps=40"),
        (schedules.Warmup(schedules.Cosine(0.1, 10), 10), r"from step 20 on, .* at step 40; .*: an end at step 40"),
        (schedules.Cosine(0.1, 3, by="epoch"), r"from epoch 3 on, before .*at epoch 4; allowed: total_steps=4"),
        (schedules.Cosine(0.1, 4, by="epoch"), ""),
        (schedules.Step(0.1, (1, 2), by="epoch"), ""),
        (
            schedules.Step(0.1, step_size=1),
            "step_size=1 is over 40 times in 4 epochs; schedules count steps, 10 in each",
        ),
        (schedules.Step(0.1, step_size=10), ""),
        (schedules.CosineWarmRestarts(0.1, 1), "T_0=1 is over"),
        (schedules.CosineWarmRestarts(0.1, 1, by="epoch"), ""),
        (schedules.Cyclic(0.1, 0.2, 1), "step_size_up=1 is over"),
        (schedules.PiecewiseLinear(((0, 0.1), (5, 0))), "points are all within the first of 4 epochs"),
        (schedules.PiecewiseLinear(((0, 0.1), (30, 0))), ""),
        (schedules.PiecewiseLinear(((0, 0.0), (5, 0.1))), ""),  # a warm-up
        (schedules.PiecewiseLinear(((0, 0.1), (4, 0)), by="epoch"), ""),
        (schedules.Exponential(0.1, 0.4), r"whose rate falls to 1e-09 in half of the training; schedules count steps"),
        (schedules.Exponential(0.1, 0.95), ""),
        (schedules.Exponential(0.1, 0.4, by="epoch"), ""),
        (schedules.ReduceOnPlateau(0.1), ""),
        (lambda step: 0.1, ""),
    ],
)
def test_what_does_not_last_as_long_as_the_run_is_told(schedule, told):
    text = schedules.misfit(schedule, 0, 10, 4)
    assert re.search(told, text) if told else not text


def test_how_soon_milestones_end_is_told():
    within = [schedules.misfit(schedules.Step(0.1, (3, last)), 0, 5, 20) for last in (4, 10)]
    assert "milestones are all within the first of 20 epochs; schedules count steps, 5 in each" in within[0]
    assert "milestones are all within the first 3 of 20 epochs" in within[1]


def test_a_run_that_is_taken_up_again_counts_from_where_it_was():
    by_step, by_epoch = schedules.Cosine(0.1, 40), schedules.Cosine(0.1, 4, by="epoch")
    for schedule in (by_step, by_epoch):
        assert not schedules.misfit(schedule, 20, 10, 2, epoch=2)
        assert schedules.misfit(schedule, 20, 10, 3, epoch=2)


@pytest.mark.parametrize(
    ("steps", "by", "message"),
    [(40, "step", "ends at step 40, where training ends at step 40"), (4, "epoch", "at epoch 4, where")],
)
def test_a_warm_up_longer_than_the_run_is_told(steps, by, message):
    schedule = schedules.Warmup(schedules.Constant(0.1, by=by), steps)
    assert message in schedules.misfit(schedule, 0, 10, 4)
    assert schedules.misfit(schedules.Warmup(schedules.Constant(0.1, by=by), steps - 1), 0, 10, 4) == ""


def test_what_is_watched_must_be_recorded():
    schedule = schedules.Warmup(schedules.ReduceOnPlateau(0.1, "val_los", "min"), 2)
    with pytest.raises(ArgumentError, match=r"monitor of Warmup: got 'val_los'; .*nearest: 'val_loss'"):
        schedules.check_monitor(schedule, ("loss", "val_loss"))
    schedules.check_monitor(schedules.ReduceOnPlateau(0.1), ("loss",))
    schedules.check_monitor(None, ("loss",))


@pytest.mark.parametrize("epochs", [5, 10, 30, 90])
@pytest.mark.parametrize("steps_per_epoch", [40, 196, 391])
def test_what_counts_epochs_elsewhere_is_told_and_its_like_in_steps_is_not(epochs, steps_per_epoch):
    def made(unit):
        third, half = max(epochs * unit // 3, 1), epochs * unit // 2
        yield schedules.Step(0.1, (half, epochs * unit * 3 // 4))
        yield schedules.Step(0.1, step_size=third)
        yield schedules.PiecewiseLinear(((0, 0.0), (third, 0.4), (epochs * unit, 0.0)))
        yield schedules.Cosine(0.1, epochs * unit)

    for schedule in made(1):
        assert "schedules count steps" in schedules.misfit(schedule, 0, steps_per_epoch, epochs)
    for schedule in made(steps_per_epoch):
        assert schedules.misfit(schedule, 0, steps_per_epoch, epochs) == ""


def test_what_is_past_is_not_told_again():
    falling = schedules.PiecewiseLinear(((0, 0.1), (5, 0.01)))
    assert schedules.misfit(falling, 0, 10, 4)
    assert not schedules.misfit(falling, 40, 10, 4, epoch=4)
    assert not schedules.misfit(schedules.Step(0.1, (2, 5)), 40, 10, 4, epoch=4)
