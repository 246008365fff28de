"""The plan of a sequence of layers: made once when a model is built or moved, and read by all that runs them.

What layers are frozen changes nothing of it: links and steps ask for that when they run.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from fastconv.backends.contract.types import Array
from fastconv.nn.core.freezing import freezing_state
from fastconv.nn.core.layer import AbstractLayer, Context, FrozenForward
from fastconv.nn.fused.endings import Wanted
from fastconv.nn.fused.patterns import find_steps
from fastconv.nn.fused.steps import Alone, FusedStep, frozen_steps, run_backward

fusing: ContextVar[bool] = ContextVar("fusing", default=True)
"""Whether plans that are made in this thread run layers as one; `arrange_all` then settles all containers so."""


@dataclass(frozen=True, eq=False)
class Plan:
    """How layers run.

    Attributes
    ----------
    layers : tuple of Layer
        What it was made of.
    steps : tuple of FusedStep
        What runs.
    """

    layers: tuple[AbstractLayer, ...]
    steps: tuple[FusedStep, ...]
    _found: list[tuple[object, int]] = field(default_factory=list)

    @property
    def trained_from(self) -> int:
        """The number of the first step that has parameters which are not frozen; looked for when that has changed."""
        now = freezing_state()
        if not self._found or self._found[0][0] is not now:
            first = next((i for i, step in enumerate(self.steps) if step.is_trained), len(self.steps))
            self._found[:] = [(now, first)]
        return self._found[0][1]

    @property
    def owns_output(self) -> bool:
        """As of a layer."""
        return self.steps[-1].owns_output

    @property
    def owns_grad(self) -> bool:
        """As of a layer."""
        return self.steps[0].owns_grad

    def backward(self, grad_output: Array, contexts: Sequence[Context], *, needs_input_grad: bool) -> Array | None:
        """Run the steps backward; if the gradient of x is not needed, without those before what is trained."""
        stop = 0 if needs_input_grad else self.trained_from
        grad, _ = run_backward(self.steps[stop:], contexts[stop:], grad_output, Wanted(needs_input_grad))
        return grad if needs_input_grad else None

    def frozen(self) -> FrozenForward:
        """Return what computes them for inference."""
        return frozen_steps(self.steps)


def make_plan(layers: tuple[AbstractLayer, ...]) -> Plan:
    """Return the plan of layers that are built; each is a step of its own unless `fusing`."""
    if fusing.get():
        return Plan(layers, find_steps(layers, layers[0].backend.native))
    return Plan(layers, tuple(Alone(layer=each) for each in layers))
