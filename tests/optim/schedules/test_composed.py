"""Warm-up, lines between points, functions."""

import pytest

from fastconv.errors import ArgumentError
from fastconv.optim import schedules


def test_warm_up_in_front():
    schedule = schedules.Warmup(schedules.Step(1.0, (2,), 0.5), 4)
    assert [schedule(step) for step in range(8)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1, 1, 0.5, 0.5])
    schedule = schedules.Warmup(schedules.Constant(0.5), 4, start_factor=0)
    assert [schedule(step) for step in range(6)] == pytest.approx([0, 0.125, 0.25, 0.375, 0.5, 0.5])


def test_a_cosine_has_the_same_warm_up():
    inside, before = schedules.Cosine(0.3, 50, 7), schedules.Warmup(schedules.Cosine(0.3, 43), 7)
    assert [before(step) for step in range(60)] == pytest.approx([inside(step) for step in range(60)], rel=1e-14)
    assert before.end == 50


def test_warm_up_counts_what_it_is_in_front_of():
    assert schedules.Warmup(schedules.Constant(1.0, by="epoch"), 4).by == "epoch"
    assert schedules.Warmup(lambda step: 1.0, 4).by == "step"
    with pytest.raises(ArgumentError, match=r"by: got 'step' before Constant\(.*allowed: 'epoch'"):
        schedules.Warmup(schedules.Constant(1.0, by="epoch"), 4, by="step")
    assert "by='epoch'" in repr(schedules.Warmup(schedules.ReduceOnPlateau(0.1), 2))


def test_warm_up_hands_results_and_state_on():
    schedule = schedules.Warmup(schedules.ReduceOnPlateau(1.0, "loss", patience=0), 2)
    assert isinstance(schedule, schedules.Watching)
    for loss in (1.0, 2.0):
        schedule.observe({"loss": loss})
    assert [schedule(epoch) for epoch in range(3)] == pytest.approx([0.1 / 3, 0.2 / 3, 0.1])
    twin = schedules.Warmup(schedules.ReduceOnPlateau(1.0, "loss", patience=0), 2)
    twin.load_state_dict(schedule.state_dict())
    assert twin(5) == pytest.approx(0.1)
    plain = schedules.Warmup(schedules.Constant(1.0), 2)
    plain.observe({})
    plain.load_state_dict({})
    assert plain.state_dict() == {}
    assert plain.monitor is None


def test_lines_between_points():
    schedule = schedules.PiecewiseLinear([(2, 1.0), [4, 0.5], (8, 0)])
    assert [schedule(step) for step in range(10)] == [1, 1, 1, 0.75, 0.5, 0.375, 0.25, 0.125, 0, 0]
    assert schedules.PiecewiseLinear(((5, 0.1),))(0) == 0.1


def test_any_function():
    schedule = schedules.Function(lambda epoch: 0.5**epoch, by="epoch")
    assert (schedules.unit_of(schedule), schedule(3)) == ("epoch", 0.125)
    assert schedules.Function(lambda step: 0.1).by == "step"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: schedules.Warmup(schedules.Constant, 3), "schedule: got <class"),
        (lambda: schedules.Warmup(0.1, 3), "schedule: got 0.1"),
        (lambda: schedules.Warmup(schedules.Constant(0.1), 0), "warmup_steps: got 0"),
        (lambda: schedules.Warmup(schedules.Constant(0.1), 3, -1), "start_factor: got -1"),
        (lambda: schedules.PiecewiseLinear(()), r"points: got \(\)"),
        (lambda: schedules.PiecewiseLinear((1, 2)), r"points: got \(1, 2\); allowed: pairs"),
        (lambda: schedules.PiecewiseLinear(((0, 0.1), (0, 0.2))), "by rising steps"),
        (lambda: schedules.PiecewiseLinear(((5, 0.1), (4, 0.2))), "by rising steps"),
        (lambda: schedules.PiecewiseLinear(((0, 0.1), (4, -0.2))), r"rate of points\[1\]: got -0.2"),
        (lambda: schedules.PiecewiseLinear(((0.5, 0.1),)), r"step of points\[0\]: got 0.5"),
        (lambda: schedules.Function(0.1), "function: got 0.1"),
        (lambda: schedules.Function(float), "function: got <class 'float'>"),
    ],
)
def test_refuses(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()
