"""Learning-rate schedules: functions of the number of the step, or of the epoch, counted from 0.

So a run can be taken up again at any step. ``schedule(step)`` is the rate that the step with this number uses; one with
``by="epoch"`` is called with the number of the epoch. `Trainer` takes any function too. One that watches results
has ``observe(logs)``, called after each epoch, and a state: ``state_dict()`` and ``load_state_dict(state)``.
"""

from typing import TYPE_CHECKING

from fastconv._attributes import tells_names
from fastconv.optim.schedules.composed import Function, PiecewiseLinear, Warmup
from fastconv.optim.schedules.cosines import Cosine, CosineWarmRestarts
from fastconv.optim.schedules.cycles import Cyclic, OneCycle
from fastconv.optim.schedules.decays import Constant, Exponential, InverseTime, Polynomial, Step
from fastconv.optim.schedules.misfits import check_monitor, misfit
from fastconv.optim.schedules.plateau import ReduceOnPlateau
from fastconv.optim.schedules.schedule import Schedule, Watching, rate_at, unit_of

__all__ = [
    "Constant",
    "Cosine",
    "CosineWarmRestarts",
    "Cyclic",
    "Exponential",
    "Function",
    "InverseTime",
    "OneCycle",
    "PiecewiseLinear",
    "Polynomial",
    "ReduceOnPlateau",
    "Schedule",
    "Step",
    "Warmup",
    "Watching",
    "check_monitor",
    "misfit",
    "rate_at",
    "unit_of",
]

if not TYPE_CHECKING:  # else every name would pass for one that is there
    __getattr__ = tells_names(__name__)
