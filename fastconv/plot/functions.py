"""Functions of one variable: activations with their gradients, and cost functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastconv import _validate as validate
from fastconv.backends import get_backend
from fastconv.errors import ArgumentError
from fastconv.losses.listed import ListedLoss
from fastconv.nn.layers.activations import PointwiseLayer
from fastconv.plot.axes import draw_legend, legend_label, line_style, new_axes, plain_names, pyplot
from fastconv.plot.checking import listed, need_finite

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@plain_names
def activations(*layers: PointwiseLayer, low: float = -5.0, high: float = 5.0) -> Figure:
    """Draw activations, and their gradients beside them.

    Parameters
    ----------
    *layers : PointwiseLayer
        Such as ``nn.ReLU()``; need not be built.
    low, high : float
        Range of x.

    Returns
    -------
    Figure
        With two axes: y = f(x), and dy/dx.

    Examples
    --------
    >>> figure = fc.plot.activations(fc.nn.ReLU(), fc.nn.Tanh())
    >>> [len(ax.get_lines()) >= 2 for ax in figure.axes]
    [True, True]
    """
    if not layers:
        raise ArgumentError("layers: got none; allowed: at least one activation, such as nn.ReLU()")
    for layer in layers:
        if not isinstance(layer, PointwiseLayer):
            got = validate.shown(layer)
            raise ArgumentError(f"layers: got {got} among them; allowed: activations, such as nn.ReLU()")
    x = _between(low, high, 501)
    backend = get_backend()
    figure: Figure
    figure, (left, right) = pyplot().subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    for number, layer in enumerate(layers):
        there = backend.asarray(x)
        y, slope = backend.empty(x.shape, x.dtype), backend.empty(x.shape, x.dtype)
        backend.activate(layer.activation, there, out=y)
        kept = y if layer.function.needs == "y" else there
        backend.activate_backward(layer.activation, backend.asarray(np.ones_like(x)), kept, out=slope)
        style = line_style(number, len(x))
        left.plot(x, backend.to_numpy(y), label=legend_label(repr(layer)), **style)
        right.plot(x, backend.to_numpy(slope), label=legend_label(repr(layer)), **style)
    left.set(title="y = f(x)", xlabel="x", ylabel="y", ylim=(-1.5, max(2.0, min(high, 4.0))))
    right.set(title="gradient", xlabel="x", ylabel="dy / dx")
    for ax in (left, right):
        ax.axhline(0, color="0.85", zorder=0)
        ax.axvline(0, color="0.85", zorder=0)
    draw_legend(left)
    return figure


@plain_names
def costs(
    losses: Mapping[str, ListedLoss] | Sequence[ListedLoss],
    *,
    target: float = 0.0,
    low: float = -3.0,
    high: float = 3.0,
    ax: Axes | None = None,
) -> Axes:
    """Draw what losses cost for predictions around one target.

    Parameters
    ----------
    losses : sequence of losses, or dict with a name for each
        Of numbers, such as ``fc.losses.MeanSquaredError()`` and ``Huber(1.0)``.
    target : float
        What is right.
    low, high : float
        Range of predictions.
    ax : Axes or None
        Of a new figure if None.

    Returns
    -------
    Axes
        With a line for each loss.

    Examples
    --------
    >>> ax = fc.plot.costs([fc.losses.MeanSquaredError(), fc.losses.Huber(1.0)])
    >>> len(ax.get_lines()) >= 2
    True
    """
    allowed = "a sequence of losses, or a dict with a name for each"
    named = dict(losses) if isinstance(losses, Mapping) else {repr(x): x for x in listed(losses, "losses", allowed)}
    if not named:
        raise ArgumentError("losses: got none; allowed: at least one loss")
    target, predictions, backend = validate.number(target, "target"), _between(low, high, 301), get_backend()
    targets, costs = backend.asarray(np.full((1, 1), target)), {}
    for name, loss in named.items():
        if not isinstance(loss, ListedLoss):
            raise ArgumentError(f"losses: got {validate.shown(loss)}; allowed: losses, such as MeanSquaredError()")
        costs[name] = np.array([float(loss(backend.asarray(np.full((1, 1), p)), targets)[0]) for p in predictions])
        need_finite((costs[name],), f"losses[{name!r}]")
    ax = new_axes(ax)
    for number, (name, values) in enumerate(costs.items()):
        ax.plot(predictions, values, label=legend_label(name), **line_style(number, len(predictions)))
    ax.axvline(target, color="0.85", zorder=0)
    ax.set(xlabel="prediction", ylabel="cost")
    draw_legend(ax)
    return ax


def _between(low: float, high: float, count: int) -> np.ndarray:
    low, high = validate.number(low, "low"), validate.number(high, "high")
    if not low < high:
        raise ArgumentError(f"low: got {low:g}; allowed: a number below high, which is {high:g}")
    return np.linspace(low, high, count)
