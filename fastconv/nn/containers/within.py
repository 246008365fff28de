"""What runs within containers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastconv.nn.containers.graph import Graph
from fastconv.nn.containers.sequential import Sequential
from fastconv.nn.core.layer import AbstractLayer
from fastconv.nn.fused.plan import Plan, make_plan
from fastconv.nn.fused.steps import FusedStep


def plan_of(model: AbstractLayer) -> Plan:
    """Return how a built model runs, of anything but a `Sequential` as one layer."""
    return model.plan if isinstance(model, Sequential) else make_plan((model,))


def all_steps(part: Plan | FusedStep | AbstractLayer) -> Iterator[FusedStep]:
    """Yield the steps in `part`, each after those that run inside of it."""
    inside: Sequence[Plan | FusedStep | AbstractLayer]
    if isinstance(part, Plan):
        inside = part.steps
    elif isinstance(part, FusedStep):
        inside = part.inside
    elif isinstance(part, Sequential):
        inside = part.plan.steps
    elif isinstance(part, Graph):
        inside = [plan for plan in part.plans if plan is not None]
    else:
        inside = [child for _, child in part.children()]
    for inner in inside:
        yield from all_steps(inner)
    if isinstance(part, FusedStep):
        yield part
