"""Statistics of activations and gradients, layer by layer, and units that never fire."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv import random
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, DataError
from fastconv.losses import Loss, loss_and_grad
from fastconv.nn import Layer, Parameter
from fastconv.nn.layers.activations import PointwiseLayer
from fastconv.nn.model.checking import checked_model
from fastconv.training.batches import checked_batch
from fastconv.training.diagnostics.found import Found
from fastconv.training.diagnostics.histogram import histogram
from fastconv.training.diagnostics.layerwise import Place, layerwise
from fastconv.training.diagnostics.tables import table


@dataclass(frozen=True)
class Statistics(Found):
    """Of the elements of an array, in float64; those that are not finite only count as such.

    Parameters
    ----------
    size : int
        How many elements there are.
    mean, std, min, max : float
        NaN if no element is finite. `std` is the root of the mean squared distance from the mean.
    zeros, not_finite : float
        Shares of all elements.
    counts : tuple of int
        How many elements are in each bin of the histogram, the last one with its upper edge.
    edges : tuple of float
        Of the bins, one more than there are.

    Examples
    --------
    >>> found = fc.training.diagnostics.statistics_of(np.array([0.0, 1.0, 2.0, np.nan]), bins=2)
    >>> found.mean, found.zeros, found.not_finite, found.counts
    (1.0, 0.25, 0.25, (1, 2))
    """

    size: int
    mean: float
    std: float
    min: float
    max: float
    zeros: float
    not_finite: float
    counts: tuple[int, ...]
    edges: tuple[float, ...]

    def __str__(self) -> str:
        return (
            f"mean {self.mean:.3g}, std {self.std:.3g}, from {self.min:.3g} to {self.max:.3g}, {self.zeros:.0%} zeros"
            + (f", {self.not_finite:.0%} not finite" if self.not_finite else "")
        )


def statistics_of(values: np.ndarray, bins: int = 20) -> Statistics:
    """Return the statistics of an array of the host.

    Parameters
    ----------
    values : numpy.ndarray
        Numbers of any shape.
    bins : int
        Of the histogram.

    Returns
    -------
    Statistics
        In float64.

    Examples
    --------
    >>> fc.training.diagnostics.statistics_of(np.array([1.0, 3.0])).std
    1.0
    """
    flat = np.asarray(values, np.float64).reshape(-1)
    size = flat.size
    finite = flat[np.isfinite(flat)]
    some = bool(finite.size)
    unit = 2.0**600 if some and np.abs(finite).max() > 1e150 else 1.0  # so that neither sums nor squares overflow
    counts, edges = histogram(finite, validate.at_least_one(bins, "bins"))
    return Statistics(
        size,
        mean=float((finite / unit).mean()) * unit if some else math.nan,
        std=float((finite / unit).std()) * unit if some else math.nan,
        min=float(finite.min()) if some else math.nan,
        max=float(finite.max()) if some else math.nan,
        zeros=float(np.mean(flat == 0)) if size else 0.0,
        not_finite=1 - finite.size / size if size else 0.0,
        counts=tuple(counts.tolist()),
        edges=tuple(edges.tolist()),
    )


@dataclass(frozen=True)
class LayerStatistics:
    """Of one layer.

    Parameters
    ----------
    name, kind : str
        Path and class.
    output : Statistics
        Of what the layer puts out.
    gradient : Statistics or None
        Of the loss with respect to the output; None without a loss, and before the first parameter.
    parameters : mapping of str to Statistics
        Of the gradients of its parameters, by name.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(4), fc.nn.ReLU()).build((2,), seed=0)
    >>> rows = fc.training.diagnostics.layer_statistics(model, np.ones((3, 2), np.float32)).rows
    >>> [(row.name, row.kind, row.output.size) for row in rows]
    [('0', 'Dense', 12), ('1', 'ReLU', 12)]
    """

    name: str
    kind: str
    output: Statistics
    gradient: Statistics | None = None
    parameters: Mapping[str, Statistics] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelStatistics(Found):
    """What `layer_statistics` returns; ``print`` it.

    Parameters
    ----------
    rows : tuple of LayerStatistics
        One for each layer.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(4), fc.nn.ReLU()).build((2,), seed=0)
    >>> found = fc.training.diagnostics.layer_statistics(model, np.ones((3, 2), np.float32))
    >>> len(found.rows), sorted(found.to_dict())
    (2, ['rows'])
    """

    rows: tuple[LayerStatistics, ...]

    def __str__(self) -> str:
        def cells(found: Statistics | None) -> tuple[str, ...]:
            if found is None:
                return ("",) * 4
            return f"{found.mean:.2e}", f"{found.std:.2e}", f"{found.max:.2e}", f"{found.zeros:.0%}"

        rows = [(row.name, row.kind, *cells(row.output), *cells(row.gradient)) for row in self.rows]
        names = ("mean", "std", "max", "zeros")
        return table(("layer", "kind", *names, *(f"grad {name}" for name in names)), rows)


def layer_statistics(
    model: Layer,
    x: Array,
    y: Array | None = None,
    loss: Loss | None = None,
    *,
    bins: int = 20,
    seed: int = 0,
    step: int = 0,
) -> ModelStatistics:
    """Return the statistics of all layers' outputs on one batch, in training, and with `y` and `loss` of the gradients.

    Layers run one by one, without fusions; of one that is used several times the last use counts, and of several arrays
    that a layer puts out the last.

    Parameters
    ----------
    model : Layer
        Nothing of it changes.
    x, y : array
        A batch of inputs, and their targets.
    loss : Loss or None
        What is minimised; None gives no gradients.
    bins : int
        Of the histograms.
    seed, step : int
        Of the draws of dropout, as `Trainer` counts them.

    Returns
    -------
    ModelStatistics
        A row for each layer.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(4), fc.nn.ReLU()).build((2,), seed=0)
    >>> found = fc.training.diagnostics.layer_statistics(model, np.ones((3, 2), np.float32))
    >>> [row.kind for row in found.rows]
    ['Dense', 'ReLU']
    """
    if (y is None) != (loss is None):
        raise ArgumentError(f"{'loss' if loss is None else 'y'}: got None; allowed: both y and loss, or neither")
    look = _Collect(checked_model(model).backend, validate.at_least_one(bins, "bins"))
    copied = layerwise(model, look)
    x = copied.check_array(x, "x")
    with random.stream(seed, step):
        predictions, context = copied.forward(x, training=True)
    if loss is not None:
        gradient = loss_and_grad(loss, predictions, y)[1]
        copied.zero_grad()
        copied.backward(gradient, context, needs_input_grad=False)
    rows = [
        LayerStatistics(name, place.kind, output, look.gradients.get(name), look.parameters_of(place))
        for name, (place, output) in look.outputs.items()
    ]
    return ModelStatistics(tuple(rows))


class _Collect:
    """Notes the statistics of what it is shown."""

    def __init__(self, backend: Backend, bins: int) -> None:
        self._backend, self._bins = backend, bins
        self.outputs: dict[str, tuple[Place, Statistics]] = {}
        self.gradients: dict[str, Statistics] = {}

    def _of(self, array: Array) -> Statistics:
        return statistics_of(self._backend.to_numpy(array), self._bins)

    def forward(self, place: Place, x: Array, y: Array) -> None:
        self.outputs[place.name] = place, self._of(y)

    def backward(self, place: Place, grad_output: Array, grad_input: Array | None) -> None:
        self.gradients[place.name] = self._of(grad_output)

    def parameters_of(self, place: Place) -> dict[str, Statistics]:
        tensors = place.layer.own_tensors()
        return {each.name: self._of(each.grad) for each in tensors if isinstance(each, Parameter) and each.has_grad}


@dataclass(frozen=True)
class DeadUnits:
    """Of one activation layer.

    Parameters
    ----------
    name, kind : str
        Path and class.
    units : int
        Channels: the last axis of its output.
    dead : tuple of int
        The numbers of those that never fired.

    Examples
    --------
    >>> row = fc.training.diagnostics.DeadUnits("1", "ReLU", units=8, dead=(2, 5))
    >>> row.fraction
    0.25
    """

    name: str
    kind: str
    units: int
    dead: tuple[int, ...]

    @property
    def fraction(self) -> float:
        """The share of them."""
        return len(self.dead) / self.units


@dataclass(frozen=True)
class DeadUnitReport(Found):
    """What `dead_units` returns; ``print`` it.

    Parameters
    ----------
    rows : tuple of DeadUnits
        One for each activation layer.
    images : int
        How many were looked at.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(4), fc.nn.ReLU()).build((2,), seed=0)
    >>> report = fc.training.diagnostics.dead_units(model, np.zeros((3, 2), np.float32))
    >>> report.images, len(report.rows)
    (3, 1)
    """

    rows: tuple[DeadUnits, ...]
    images: int

    def to_dict(self) -> dict[str, Any]:
        rows = [{**asdict(row), "fraction": row.fraction} for row in self.rows]
        return {"images": self.images, "rows": rows}

    def __str__(self) -> str:
        rows = [(row.name, row.kind, str(row.units), str(len(row.dead)), f"{row.fraction:.1%}") for row in self.rows]
        head = f"units that never fired on {self.images} images"
        return table(("layer", "kind", "units", "dead", "share"), rows, head=head)


def dead_units(model: Layer, data: Any, *, batch_size: int = 256) -> DeadUnitReport:
    """Return which units of activation layers never fire over a data set, that is, are above 0 for no image and place.

    Of ReLU these pass on nothing, and no gradient. Of one that is not 0 below 0 (LeakyReLU, GELU) it is those whose
    input is never positive; the sigmoid always fires. Running statistics are used as in evaluation.

    Parameters
    ----------
    model : Layer
        Nothing of it changes.
    data : array, or iterable of (x, y) or of arrays x
        Inputs, such as a `DataLoader` gives them.
    batch_size : int
        Of an array.

    Returns
    -------
    DeadUnitReport
        A row for each activation layer.

    Raises
    ------
    ArgumentError
        The model has no activation layer.
    DataError
        There is nothing in `data`.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Dense(2), fc.nn.ReLU()).build((1,))
    >>> model.layers[0].weight.data = np.array([[1.0, -1.0]], np.float32)
    >>> model.layers[0].bias.data = np.zeros(2, np.float32)
    >>> fc.training.diagnostics.dead_units(model, np.ones((3, 1), np.float32)).rows[0].dead
    (1,)
    """
    look = _Firing(checked_model(model).backend)
    copied = layerwise(model, look)
    images = 0
    for x in _inputs(copied, data, validate.at_least_one(batch_size, "batch_size")):
        copied.forward(x, training=False)
        images += x.shape[0]
    if not images:
        raise DataError("data: got no images; allowed: one or more")
    if not look.fired:
        raise ArgumentError("model: got one without an activation layer; allowed: one that has some")
    rows = [
        DeadUnits(place.name, place.kind, fired.size, tuple(np.flatnonzero(~fired).tolist()))
        for place, fired in look.fired.values()
    ]
    return DeadUnitReport(tuple(rows), images)


def _inputs(model: Layer, data: Any, size: int) -> Iterable[Array]:
    if model.backend.owns(data):
        x = model.check_array(data, "data")
        yield from (x[begin : begin + size] for begin in range(0, x.shape[0], size))
        return
    for each in data:
        if isinstance(each, tuple | list):
            yield checked_batch(model, *each)[0]
        else:
            yield model.check_array(each, "data")


class _Firing:
    """Notes which channels of activation layers were above 0."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.fired: dict[str, tuple[Place, np.ndarray]] = {}

    def forward(self, place: Place, x: Array, y: Array) -> None:
        if isinstance(place.layer, PointwiseLayer):
            values = np.asarray(self._backend.to_numpy(y))
            fired: np.ndarray = np.asarray((values > 0).any(axis=tuple(range(values.ndim - 1))))
            before = self.fired.get(place.name)
            self.fired[place.name] = place, fired if before is None else fired | before[1]

    def backward(self, place: Place, grad_output: Array, grad_input: Array | None) -> None:
        """Nothing of a gradient is needed."""
