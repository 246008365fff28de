"""Every schedule that PyTorch has too, step by step with random settings, in float64: within 1e-10."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv.optim import schedules

pytestmark = pytest.mark.peer
torch: Any = pytest.importorskip("torch")
PROBLEMS = 40  # of each schedule
STEPS = 60

Random = np.random.Generator
Problem = tuple[Any, Callable[[Any], Any]]  # ours, and what makes theirs of an optimizer, whose rate is the first one
theirs = torch.optim.lr_scheduler


def _count(rng: Random, low: int, high: int) -> int:
    return int(rng.integers(low, high))


def _step(lr: float, rng: Random) -> Problem:
    size, factor = _count(rng, 1, 30), rng.uniform(0.1, 1.5)
    return schedules.Step(lr, factor=factor, step_size=size), lambda o: theirs.StepLR(o, size, factor)


def _milestones(lr: float, rng: Random) -> Problem:
    at, factor = sorted(map(int, rng.integers(1, STEPS, _count(rng, 0, 6)))), rng.uniform(0.1, 1)
    return schedules.Step(lr, tuple(at), factor), lambda o: theirs.MultiStepLR(o, at, factor)


def _exponential(lr: float, rng: Random) -> Problem:
    factor = rng.uniform(0.7, 1.1)
    return schedules.Exponential(lr, factor), lambda o: theirs.ExponentialLR(o, factor)


def _polynomial(lr: float, rng: Random) -> Problem:
    total, power = _count(rng, 1, 80), rng.uniform(0.2, 3)
    return schedules.Polynomial(lr, total, power), lambda o: theirs.PolynomialLR(o, total, power)


def _cosine(lr: float, rng: Random) -> Problem:
    total, low = _count(rng, STEPS, 90), rng.uniform(0, lr)  # behind its end PyTorch's rises again
    return schedules.Cosine(lr, total, final_lr=low), lambda o: theirs.CosineAnnealingLR(o, total, low)


def _restarts(lr: float, rng: Random) -> Problem:
    first, times, low = _count(rng, 1, 30), _count(rng, 1, 4), rng.uniform(0, lr)
    ours = schedules.CosineWarmRestarts(lr, first, times, low)
    return ours, lambda o: theirs.CosineAnnealingWarmRestarts(o, first, times, low)


def _cyclic(lr: float, rng: Random) -> Problem:
    up, down, top = _count(rng, 1, 12), _count(rng, 1, 12), lr * rng.uniform(1, 10)
    mode, factor = str(rng.choice(["triangular", "triangular2", "exp_range"])), rng.uniform(0.8, 1)
    ours = schedules.Cyclic(lr, top, up, down, mode, factor)
    return ours, lambda o: theirs.CyclicLR(o, lr, top, up, down, mode, factor, cycle_momentum=False)


def _one_cycle(lr: float, rng: Random) -> Problem:
    total, three = _count(rng, STEPS, 90), bool(rng.integers(2))
    settings = rng.uniform(0.1, 0.5 if three else 0.95), rng.uniform(2, 30), rng.uniform(2, 1e4)
    anneal = str(rng.choice(["cos", "linear"]))
    names = dict(zip(("pct_start", "div_factor", "final_div_factor"), settings, strict=True))
    more = {"anneal_strategy": anneal, "three_phase": three, "cycle_momentum": False}
    ours = schedules.OneCycle(lr, total, *settings, anneal=anneal, three_phase=three)
    return ours, lambda o: theirs.OneCycleLR(o, lr, total, **names, **more)


def _warm_up(lr: float, rng: Random) -> Problem:
    steps, low, factor = _count(rng, 1, 30), rng.uniform(0.01, 0.9), rng.uniform(0.8, 1)

    def make(o: Any) -> Any:
        parts = theirs.LinearLR(o, low, 1.0, steps), theirs.ExponentialLR(o, factor)
        return theirs.SequentialLR(o, parts, [steps])

    return schedules.Warmup(schedules.Exponential(lr, factor), steps, low), make


def _lines(lr: float, rng: Random) -> Problem:
    begin, end, steps = *rng.uniform(0.01, 1, 2), _count(rng, 1, 80)
    ours = schedules.PiecewiseLinear(((0, lr * begin), (steps, lr * end)))
    return ours, lambda o: theirs.LinearLR(o, begin, end, steps)


def _constant(lr: float, rng: Random) -> Problem:
    return schedules.Constant(lr), lambda o: theirs.ConstantLR(o, 1.0, _count(rng, 1, 50))


def _inverse_time(lr: float, rng: Random) -> Problem:
    rate = rng.uniform(0, 2)
    return schedules.InverseTime(lr, rate), lambda o: theirs.LambdaLR(o, lambda step: 1 / (1 + rate * step))


def _function(lr: float, rng: Random) -> Problem:
    power = rng.uniform(0.2, 2)
    ours = schedules.Function(lambda step: lr / (1 + step) ** power)
    return ours, lambda o: theirs.MultiplicativeLR(o, lambda step: (step / (1 + step)) ** power)


MAKERS: dict[str, Callable[[float, Random], Problem]] = {
    "step": _step,
    "milestones": _milestones,
    "exponential": _exponential,
    "polynomial": _polynomial,
    "cosine": _cosine,
    "restarts": _restarts,
    "cyclic": _cyclic,
    "one_cycle": _one_cycle,
    "warm_up": _warm_up,
    "lines": _lines,
    "constant": _constant,
    "inverse_time": _inverse_time,
    "function": _function,
}


def _optimizer(lr: float) -> Any:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr)


@pytest.mark.parametrize("number", range(PROBLEMS))
@pytest.mark.parametrize("name", MAKERS)
def test_equals_torch(name: str, number: int) -> None:
    rng = np.random.default_rng([number, *name.encode()])
    lr = float(rng.uniform(0.01, 2))
    ours, make = MAKERS[name](lr, rng)
    optimizer = _optimizer(lr)
    scheduler, want = make(optimizer), []
    for _ in range(STEPS):
        want.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose([ours(step) for step in range(STEPS)], want, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("number", range(100))
def test_reduces_when_torch_does(number: int) -> None:
    rng = np.random.default_rng([number, 11])
    rising = bool(rng.integers(2))
    how: dict[str, Any] = {
        **{"mode": "max" if rising else "min", "threshold_mode": str(rng.choice(["rel", "abs"]))},
        **{"factor": rng.uniform(0.1, 0.9), "threshold": rng.uniform(0, 0.05), "min_lr": rng.uniform(0, 0.01)},
        **{"patience": _count(rng, 0, 5), "cooldown": _count(rng, 0, 4)},
    }
    ours, optimizer = schedules.ReduceOnPlateau(1.0, "score", **how), _optimizer(1.0)
    scheduler = theirs.ReduceLROnPlateau(optimizer, **how)
    values = np.round(1 / np.arange(1, STEPS + 1) + rng.uniform(0, 0.2, STEPS), 2)
    for value in 1.5 - values if rising else values:
        ours.observe({"score": value})
        scheduler.step(value)
        assert ours(0) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-10)
        assert ours.state_dict()["bad_epochs"] == scheduler.num_bad_epochs
