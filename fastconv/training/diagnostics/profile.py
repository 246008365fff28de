"""How long each layer takes, and how near that is to what the machine can do."""

from __future__ import annotations

import copy
import statistics
import time
from collections import defaultdict
from dataclasses import asdict, dataclass
from typing import Any

from fastconv import _validate as validate
from fastconv._within import holding
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, Shape
from fastconv.errors import ArgumentError
from fastconv.nn import Layer
from fastconv.nn.containers.within import all_steps, plan_of
from fastconv.nn.core.layer import Chain
from fastconv.nn.core.outputs import bytes_of, ones_like
from fastconv.nn.core.paths import paths_of
from fastconv.nn.fused.steps import FusedStep, Pass, run_forward, watcher
from fastconv.nn.model.checking import checked_model
from fastconv.nn.model.summary import visits
from fastconv.precision import get_precision
from fastconv.training.diagnostics.found import Found
from fastconv.training.diagnostics.machine import Machine, measure_machine
from fastconv.training.diagnostics.tables import table


@dataclass(frozen=True)
class LayerTime:
    """One layer, or several that run as one, in training.

    Parameters
    ----------
    names, kinds : tuple of str
        Paths of the layers, and their classes.
    forward_ms, backward_ms : float
        Medians, without what runs inside as a row of its own; 0 of a direction that did not run.
    forward_macs, backward_macs : int
        Multiplications of weights with numbers of the whole batch, by the direct algorithm.
    forward_bytes, backward_bytes : int
        Of inputs, outputs, parameters and their gradients, each moved once.
    forward_share, backward_share : float
        Of the roofline: the longer of the multiplications and additions at the machine's rate and of the bytes at its
        memory's, by the time taken. Winograd's algorithm multiplies less, so it can pass 1.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(4), fc.nn.ReLU()).build((2,), seed=0)
    >>> machine = fc.training.diagnostics.Machine(flops=1e9, bytes_per_second=1e9)
    >>> row = fc.training.diagnostics.profile_layers(model, np.ones((3, 2), np.float32), machine=machine).rows[0]
    >>> row.kinds, row.forward_macs, row.forward_ms > 0
    (('Dense',), 24, True)
    """

    names: tuple[str, ...]
    kinds: tuple[str, ...]
    forward_ms: float
    backward_ms: float
    forward_macs: int
    backward_macs: int
    forward_bytes: int
    backward_bytes: int
    forward_share: float
    backward_share: float


@dataclass(frozen=True)
class Profile(Found):
    """What `profile_layers` returns; ``print`` it.

    Parameters
    ----------
    backend, precision : str
        What it was measured with.
    input_shape : tuple of int
        Of the batch.
    machine : Machine
        What the roofline is made of.
    rows : tuple of LayerTime
        In the order in which they run.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(4), fc.nn.ReLU()).build((2,), seed=0)
    >>> machine = fc.training.diagnostics.Machine(flops=1e9, bytes_per_second=1e9)
    >>> profile = fc.training.diagnostics.profile_layers(model, np.ones((3, 2), np.float32), machine=machine)
    >>> profile.backend, profile.input_shape, profile.forward_ms > 0
    ('numpy', (3, 2), True)
    """

    backend: str
    precision: str
    input_shape: Shape
    machine: Machine
    rows: tuple[LayerTime, ...]

    @property
    def forward_ms(self) -> float:
        """Of all rows."""
        return sum(row.forward_ms for row in self.rows)

    @property
    def backward_ms(self) -> float:
        """Of all rows."""
        return sum(row.backward_ms for row in self.rows)

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "forward_ms": self.forward_ms, "backward_ms": self.backward_ms}

    def __str__(self) -> str:
        rows = [
            (
                ", ".join(row.names) or ".",
                " + ".join(row.kinds),
                f"{row.forward_ms:.3f}",
                f"{row.backward_ms:.3f}",
                f"{row.forward_macs / 1e6:,.1f}",
                f"{(row.forward_bytes + row.backward_bytes) / 1e6:,.1f}",
                f"{row.forward_share:.0%}",
                f"{row.backward_share:.0%}",
            )
            for row in self.rows
        ]
        macs, moved = (sum(values) for values in zip(*map(_sums, self.rows), strict=True))
        totals = (f"{self.forward_ms:.3f}", f"{self.backward_ms:.3f}", f"{macs / 1e6:,.1f}", f"{moved / 1e6:,.1f}")
        head = (
            f"input {self.input_shape}, backend {self.backend}, precision {self.precision}; MMACs are forward, MB"
            f" of both ways, shares those of the roofline at {self.machine}"
        )
        names = ("layer", "kind", "forward ms", "backward ms", "MMACs", "MB", "forward", "backward")
        return table(names, [*rows, ("total", "", *totals, "", "")], head=head)


def _sums(row: LayerTime) -> tuple[int, int]:
    return row.forward_macs, row.forward_bytes + row.backward_bytes


def profile_layers(model: Layer, x: Array, *, repeats: int = 5, machine: Machine | None = None) -> Profile:
    """Time forward and backward of each layer in training, as they run: fused, and not captured.

    Each step of the model's plan is timed from its call to the end of its computation, so that the times hold what
    Python does between kernels, and on a device the wait for it. The gradient of the output, or of each of several, is
    all ones.

    Parameters
    ----------
    model : Layer
        It is copied; nothing of it changes.
    x : array
        A batch of inputs; what is fast depends on its size.
    repeats : int
        Medians are of so many, after one that does not count.
    machine : Machine or None
        What the roofline is made of; measured by default (`measure_machine`), which takes about a second.

    Returns
    -------
    Profile
        A row for each layer, or for several that run as one.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(4), fc.nn.ReLU()).build((2,), seed=0)
    >>> machine = fc.training.diagnostics.Machine(flops=1e9, bytes_per_second=1e9)
    >>> profile = fc.training.diagnostics.profile_layers(model, np.ones((3, 2), np.float32), machine=machine)
    >>> [row.kinds for row in profile.rows]
    [('Dense',), ('ReLU',)]
    """
    backend, repeats = checked_model(model).backend, validate.at_least_one(repeats, "repeats")
    x = model.check_array(x, "x")
    if x.ndim < 2 or not x.shape[0]:
        raise ArgumentError(f"x: got shape {tuple(x.shape)}; allowed: (N, ..., C), a batch of at least one")
    model.check_size(tuple(x.shape), "x")
    validate.instance(machine, Machine | None, "machine", "a Machine, or None to measure this one")
    machine = machine or measure_machine(backend)
    copied = copy.deepcopy(model)
    plan = plan_of(copied)
    macs = {visit.path: visit.layer.macs(visit.input_shape) for visit in visits(copied, tuple(x.shape[1:]))}
    watch = _TimingWatch(backend, {id(layer): macs[path] for layer, path in paths_of(copied) if path in macs})
    with holding(watcher, watch):
        for number in range(repeats + 1):
            if number == 1:
                watch.times.clear()
            copied.zero_grad()
            y, context = run_forward(plan.steps, x, training=True)
            plan.backward(ones_like(y, backend), context, needs_input_grad=False)
    paths = {id(layer): path for layer, path in paths_of(copied)}
    rows = tuple(_row(seen, watch, paths, machine) for seen in watch.seen.values() if not _passes_on(seen.step))
    return Profile(backend.name, get_precision(), tuple(x.shape), machine, rows)


def _passes_on(step: FusedStep) -> bool:
    """Tell whether a step is a container that does nothing but run what is inside."""
    return len(step.layers) == 1 and isinstance(step.layers[0].structure(), Chain)


@dataclass
class _Seen:
    """A step, the bytes of its input, and the work of one run of it."""

    step: FusedStep
    kept: int
    macs: dict[Pass, int]
    bytes: dict[Pass, int]


@dataclass
class _Open:
    """A step that runs."""

    step: FusedStep
    direction: Pass
    x: Array
    begun: float
    inside: float = 0.0


class _TimingWatch:
    """Times the steps of a plan, those that run inside of others apart."""

    def __init__(self, backend: Backend, macs: dict[int, int]) -> None:
        self._backend, self._macs = backend, macs
        self.seen: dict[int, _Seen] = {}
        self.times: defaultdict[tuple[int, Pass], list[float]] = defaultdict(list)
        self._open: list[_Open] = []

    def begins(self, step: FusedStep, direction: Pass, x: Array) -> None:
        """See `fastconv.nn.fused.steps.Watcher`."""
        if direction == "forward" and id(step) not in self.seen:
            macs: dict[Pass, int] = {"forward": _macs(step, x, self._macs), "backward": 0}
            self.seen[id(step)] = _Seen(step, bytes_of(x), macs, {"forward": 0, "backward": 0})
        self._backend.synchronize()
        self._open.append(_Open(step, direction, x, time.perf_counter()))

    def ends(self, result: Array | None) -> None:
        """See `fastconv.nn.fused.steps.Watcher`."""
        self._backend.synchronize()
        now = time.perf_counter()
        done = self._open.pop()
        seconds = now - done.begun
        if self._open:
            self._open[-1].inside += seconds
        self.times[id(done.step), done.direction].append(seconds - done.inside)
        seen = self.seen[id(done.step)]
        weights = sum(tensor.array.nbytes for layer in _run_by(done.step) for tensor in layer.own_tensors())
        moved = bytes_of(done.x) + (0 if result is None else bytes_of(result)) + weights
        if done.direction == "backward":
            seen.macs["backward"] = seen.macs["forward"] * (1 if result is None else 2)
            moved += weights + seen.kept  # the weights' gradients, and the input
        seen.bytes[done.direction] = moved


def _run_by(step: FusedStep) -> list[Any]:
    """Return the layers that a step runs itself: not those inside that are steps of their own."""
    steps = [inner for part in step.inside for inner in all_steps(part)]
    inside = {id(layer) for inner in steps for each in inner.layers for layer in each.walk()}
    return [
        layer
        for each in step.layers
        for layer in each.walk()
        if id(layer) not in inside and (layer is each or not layer.children())
    ]


def _macs(step: FusedStep, x: Array, of_layers: dict[int, int]) -> int:
    """Return the multiplications of a step's forward on a batch; `of_layers` are those of one image, by layer."""
    shape, total = tuple(x.shape[1:]), 0
    if step.inside:
        total = sum(of_layers.get(id(layer), 0) for layer in _run_by(step))
    elif step.convolution is not None:
        total = step.convolution.macs(step.infer_to_convolution(shape))
    else:
        for layer in step.layers:
            total += layer.macs(shape)
            shape = layer.infer(shape)
    return int(total * x.shape[0])


def _row(seen: _Seen, watch: _TimingWatch, paths: dict[int, str], machine: Machine) -> LayerTime:
    values: dict[str, Any] = {}
    for direction in ("forward", "backward"):
        times = watch.times.get((id(seen.step), direction))
        macs, moved = (seen.macs[direction], seen.bytes[direction]) if times else (0, 0)
        seconds = statistics.median(times) if times else 0.0
        values[f"{direction}_ms"] = 1e3 * seconds
        values[f"{direction}_macs"], values[f"{direction}_bytes"] = macs, moved
        values[f"{direction}_share"] = machine.least_seconds(2 * macs, moved) / seconds if seconds else 0.0
    layers = seen.step.layers
    return LayerTime(
        tuple(paths.get(id(layer), "") for layer in layers), tuple(type(layer).__name__ for layer in layers), **values
    )
