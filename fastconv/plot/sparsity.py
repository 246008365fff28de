"""Pruning: the share of zeros over time, and what it costs in accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.plot.axes import COLOURS, legend_label, line_style, new_axes, plain_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _PrunedHistory(Protocol):
    """What of a `fastconv.training.History` is drawn."""

    history: dict[str, list[float]]


@plain_names
def sparsity(run: _PrunedHistory, ax: Axes | None = None) -> Axes:
    """Draw the share of weights that are zero by epoch: of each layer that was pruned, and of all together.

    Parameters
    ----------
    run : History
        Of a training with `fastconv.optim.Pruning`.
    ax : Axes or None
        Of a new figure if None.

    Returns
    -------
    Axes

    Examples
    --------
    >>> run = fc.training.History({"sparsity": [0.5, 0.9], "sparsity/0.weight": [0.5, 0.9]})
    >>> len(fc.plot.sparsity(run).lines)
    2
    """
    if not run.history.get("sparsity"):
        raise ArgumentError("run: got one without sparsity; allowed: that of a training with fastconv.optim.Pruning")
    ax = new_axes(ax)
    layers = {name.partition("/")[2]: values for name, values in run.history.items() if name.startswith("sparsity/")}
    for number, (name, values) in enumerate(layers.items()):
        ax.plot(
            np.arange(1, len(values) + 1),
            100 * np.array(values),
            **line_style(number),
            linewidth=1,
            label=legend_label(name),
        )
    total = run.history["sparsity"]
    ax.plot(np.arange(1, len(total) + 1), 100 * np.array(total), "k", linewidth=2.5, alpha=0.6, label="all", marker=".")
    ax.set(xlabel="epoch", ylabel="weights that are zero (%)", ylim=(0, 100))
    ax.locator_params(axis="x", integer=True)
    ax.legend(fontsize="small")
    return ax


@plain_names
def sparsity_accuracy(results: Mapping[str, Mapping[float, float | Sequence[float]]], ax: Axes | None = None) -> Axes:
    """Draw accuracy against sparsity; of several runs of one sparsity the mean, and a bar from the least to the best.

    Parameters
    ----------
    results : dict of str to dict
        By the names that the legend shows: for each sparsity, 0 to 1, the accuracy, or those of several runs.
    ax : Axes or None
        Of a new figure if None.

    Returns
    -------
    Axes

    Examples
    --------
    >>> fc.plot.sparsity_accuracy({"published": {0.0: 0.86, 0.95: 0.77}}).get_ylabel()
    'accuracy (%)'
    """
    if not isinstance(results, Mapping) or not any(results.values()):
        raise ArgumentError("results: got nothing; allowed: at least one sparsity with its accuracy")
    ax = new_axes(ax)
    for number, (name, found) in enumerate(results.items()):
        shares = sorted(found)
        runs = [100 * np.atleast_1d(np.asarray(found[share], float)) for share in shares]
        means = np.array([values.mean() for values in runs])
        spread = [[m - values.min() for m, values in zip(means, runs, strict=True)],
                  [values.max() - m for m, values in zip(means, runs, strict=True)]]  # fmt: skip
        bars = spread if any(len(values) > 1 for values in runs) else None
        mark = "os^Dv"[number % 5]
        colour = COLOURS[number % len(COLOURS)]
        ax.errorbar(
            100 * np.array(shares), means, yerr=bars, color=colour, marker=mark, capsize=3, label=legend_label(name)
        )
    ax.set(xlabel="weights that are zero (%)", ylabel="accuracy (%)")
    ax.legend(fontsize="small")
    return ax
