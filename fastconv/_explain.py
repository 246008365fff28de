"""Which kernel and which fusion each layer gets, and why: `fastconv.explain`.

One training step is run on a copy of the model with random data, and what is launched is written down, so the answer is
what happens, not what ought to.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fastconv import _validate as validate
from fastconv._calls import tells_habits
from fastconv._html import table
from fastconv._within import holding
from fastconv.backends.contract.types import Array
from fastconv.nn.containers.within import all_steps, plan_of
from fastconv.nn.core.outputs import ones_like
from fastconv.nn.core.paths import paths_of
from fastconv.nn.fused.plan import Plan
from fastconv.nn.fused.residual import ResidualActivation
from fastconv.nn.fused.steps import FusedStep, Pass, run_forward, stored_dtype, watcher
from fastconv.nn.model.checking import checked_model
from fastconv.nn.model.model import Layer
from fastconv.precision import get_precision

_CONTAINERS = ("Sequential", "Residual", "Parallel", "Graph")


@dataclass
class ExplainedStep:
    """One layer, or several that run as one.

    Attributes
    ----------
    names : tuple of str
        Paths of the layers: ``("0", "1", "2")``.
    kinds : tuple of str
        Their classes.
    operations : tuple of str
        The operations of the backend, each with what it does beside: ``conv2d + relu``; none if a layer runs alone.
    forward, backward : list of str
        The kernels launched, in order, in training.
    reasons : tuple of str
        Why a convolution's kernels were chosen, forward and backward.
    kept : tuple of str
        Which of its arrays are stored as bfloat16 in training: "output", "convolution and its gradient".
    frozen : tuple of str
        Which of the layers are frozen: there is no gradient of their parameters.
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    operations: tuple[str, ...]
    forward: list[str] = field(default_factory=list)
    backward: list[str] = field(default_factory=list)
    reasons: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()
    frozen: tuple[str, ...] = ()


@dataclass(frozen=True)
class Explanation:
    """What `explain` returns; ``print`` it."""

    backend: str
    precision: str
    input_shape: tuple[int, ...]
    rows: tuple[ExplainedStep, ...]

    def __str__(self) -> str:
        lines = [f"input {self.input_shape}, backend {self.backend}, precision {self.precision}"]
        for row in self.rows:
            lines.append(f"{', '.join(row.names) or '.'}: {' + '.join(row.kinds)}")
            if row.operations:
                lines.append(f"    fused:    {', '.join(row.operations)}")
            lines += [f"    because:  {reason}" for reason in row.reasons]
            if row.frozen:
                lines.append(f"    frozen:   {', '.join(row.frozen)}")
            if row.kept:
                lines.append(f"    bfloat16: {', '.join(row.kept)}")
            for label, kernels in (("forward: ", row.forward), ("backward:", row.backward)):
                if kernels:
                    lines.append(f"    {label} {', '.join(kernels)}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        names = ("layers", "kinds", "fused", "because", "forward", "backward", "bfloat16", "frozen")
        rows = [
            (
                *(", ".join(row.names) or ".", " + ".join(row.kinds), ", ".join(row.operations)),
                *("\n".join(part) for part in (row.reasons, row.forward, row.backward, row.kept, row.frozen)),
            )
            for row in self.rows
        ]
        head = f"input {self.input_shape}, backend {self.backend}, precision {self.precision}"
        return table(names, rows, head=head, left=len(names))


@tells_habits({})
def explain(model: Layer, input_shape: Sequence[int]) -> Explanation:
    """Tell which kernels each layer of a built model gets, and what is fused.

    Parameters
    ----------
    model : Layer
        Its weights, gradients and running statistics stay as they are.
    input_shape : (N, H, W, C) or (N, C)
        Of a batch: choices depend on it.

    Returns
    -------
    Explanation
        An object to print, or to show in a notebook; its `rows` hold the same as lists.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Conv2d(4, 3), fc.nn.ReLU()).build((8, 8, 3))
    >>> print(fc.explain(model, (2, 8, 8, 3)))
    input (2, 8, 8, 3), backend numpy, precision default
    0, 1: Conv2d + ReLU
        fused:    conv2d + relu, activate_backward_bias + relu
    """
    backend = checked_model(model).backend
    shape = validate.sizes(input_shape, "input_shape", "a batch of at least one, (N, ...)")
    model.check_size(shape, "input_shape")
    model = copy.deepcopy(model)  # which has no gradients: the first are written, not added
    plan = plan_of(model)
    watch = _LaunchWatch(plan, {id(layer): path for layer, path in paths_of(model)})
    x = backend.asarray(np.random.default_rng(0).standard_normal(shape), model.dtype)
    with holding(watcher, watch), backend.trace(watch.launched.append):
        y, context = run_forward(plan.steps, x, training=True)
        plan.backward(ones_like(y, backend), context, needs_input_grad=False)
    # A container that only passes on has nothing to tell.
    shown = [row for row in watch.rows.values() if row.forward or row.backward or row.kinds[0] not in _CONTAINERS]
    return Explanation(backend.name, get_precision(), shape, tuple(shown))


class _LaunchWatch:
    """A row for each step of a plan; what is launched belongs to the innermost step that runs."""

    def __init__(self, plan: Plan, paths: dict[int, str]) -> None:
        self.rows = {id(step): _row(step, paths) for step in all_steps(plan)}
        self.launched: list[str] = []
        self._open: list[list[str]] = []

    def begins(self, step: FusedStep, direction: Pass, x: Array) -> None:
        """See `fastconv.nn.fused.steps.Watcher`."""
        self._collect()
        row = self.rows[id(step)]
        self._open.append(row.forward if direction == "forward" else row.backward)
        conv = step.convolution
        if direction == "forward" and conv is not None and not row.reasons:
            row.reasons = tuple(conv.why((x.shape[0], *step.infer_to_convolution(x.shape[1:]))))

    def ends(self, result: Array | None) -> None:
        """See `fastconv.nn.fused.steps.Watcher`."""
        self._collect()
        self._open.pop()

    def _collect(self) -> None:
        if self._open:
            self._open[-1].extend(self.launched)
        self.launched.clear()


def _row(step: FusedStep, paths: dict[int, str]) -> ExplainedStep:
    inside = [layer for layer in step.layers if not layer.children()]
    if isinstance(step, ResidualActivation):
        inside += step.last.layers
    return ExplainedStep(
        tuple(paths.get(id(layer), "") for layer in step.layers),
        tuple(type(layer).__name__ for layer in step.layers),
        (*step.forward_operations, *step.backward_operations),
        kept=step.stored if stored_dtype(step.layers[0]) != step.layers[0].dtype else (),
        frozen=tuple(paths.get(id(layer), "") for layer in inside if isinstance(layer, Layer) and layer.is_frozen),
    )
