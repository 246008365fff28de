"""Schedules: values by hand, and PyTorch's."""

import math

import pytest

from fastconv.errors import ArgumentError
from fastconv.optim import schedules


def test_constant():
    assert [schedules.Constant(0.3)(step) for step in (0, 10**6)] == [0.3, 0.3]


def test_step():
    schedule = schedules.Step(1.0, (10, 20), factor=0.5)
    assert [schedule(step) for step in (0, 9, 10, 19, 20, 100)] == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_cosine():
    schedule = schedules.Cosine(1.0, 104, warmup_steps=4, final_lr=0.2)
    assert [schedule(step) for step in (0, 1, 2, 3)] == pytest.approx([0.2, 0.4, 0.6, 0.8])
    assert [schedule(step) for step in (4, 54, 104, 500)] == pytest.approx([1.0, 0.6, 0.2, 0.2])


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


@pytest.mark.parametrize(
    "make",
    [
        lambda: schedules.Constant(-1),
        lambda: schedules.Step(0.1, (1,), factor=-2),
        lambda: schedules.Cosine(0.1, 0),
        lambda: schedules.Cosine(0.1, 10, warmup_steps=10),
        lambda: schedules.OneCycle(0.1, 10, peak=1.5),
        lambda: schedules.OneCycle(0.1, 10, start_factor=0),
    ],
)
def test_refuses(make):
    with pytest.raises(ArgumentError):
        make()


@pytest.mark.peer
def test_same_as_pytorch():
    torch = pytest.importorskip("torch")
    parameters = [torch.nn.Parameter(torch.zeros(1))]

    def rates(make, steps):
        optimizer = torch.optim.SGD(parameters, 1.0)
        scheduler, found = make(optimizer), []
        for _ in range(steps):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return found

    lr = torch.optim.lr_scheduler
    ours = schedules.OneCycle(0.4, 50)
    assert rates(lambda o: lr.OneCycleLR(o, 0.4, total_steps=50 + 1), 50)[0] == pytest.approx(ours(0))
    assert rates(lambda o: lr.OneCycleLR(o, 0.4, total_steps=50), 49) == pytest.approx([ours(i) for i in range(49)])
    ours = schedules.Cosine(1.0, 40, final_lr=0.1)
    got = rates(lambda o: lr.CosineAnnealingLR(o, 40, 0.1), 40)
    assert got == pytest.approx([ours(i) for i in range(40)])
    ours = schedules.Step(1.0, (5, 9), 0.3)
    assert rates(lambda o: lr.MultiStepLR(o, [5, 9], 0.3), 15) == pytest.approx([ours(i) for i in range(15)])


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
    ],
)
def test_milestones_that_count_epochs_are_told(milestones, steps_per_epoch, epochs, told):
    assert bool(schedules.misfit(schedules.Step(0.1, milestones), 0, steps_per_epoch, epochs)) is told
