"""Pruning: the share of zeros over time, and what it costs in accuracy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastconv import _validate as validate
from fastconv.errors import ArgumentError
from fastconv.plot.axes import draw_legend, legend_label, line_style, new_axes, plain_names
from fastconv.plot.checking import Recorded, by_name, history_of, need_finite, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_SOME = "at least one sparsity with its accuracy"


@plain_names
def sparsity(run: Recorded, ax: Axes | None = None) -> Axes:
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
    history = history_of(run, "run")
    if not len(history.get("sparsity", ())):
        raise ArgumentError("run: got one without sparsity; allowed: that of a training with fastconv.optim.Pruning")
    shares = {name: numbers(values, name) for name, values in history.items() if name.partition("/")[0] == "sparsity"}
    need_finite(shares.values(), "sparsity")
    total = shares.pop("sparsity")
    ax = new_axes(ax)
    for number, (name, values) in enumerate(shares.items()):
        style = line_style(number, len(values)) | {"linewidth": 1, "label": legend_label(name.partition("/")[2])}
        ax.plot(np.arange(1, len(values) + 1), 100 * values, **style)
    ax.plot(np.arange(1, len(total) + 1), 100 * total, "k", linewidth=2.5, alpha=0.6, label="all", marker=".")
    ax.set(xlabel="epoch", ylabel="weights that are zero (%)", ylim=(0, 100))
    ax.locator_params(axis="x", integer=True)
    draw_legend(ax)
    return ax


@plain_names
def sparsity_accuracy(results: Mapping[str, Mapping[float, float | Sequence[float]]], ax: Axes | None = None) -> Axes:
    """Draw accuracy against sparsity; of several runs of one sparsity the mean, and a bar from the least to the best.

    Parameters
    ----------
    results : dict of str to dict
        By the names that the legend shows: for each sparsity, 0 to 1, the accuracy, 0 to 1, or those of several runs.
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
    found = {name: _accuracies(each, f"results[{name!r}]") for name, each in by_name(results, "results", _SOME).items()}
    if not any(found.values()):
        raise ArgumentError(f"results: got none; allowed: {_SOME}")
    ax = new_axes(ax)
    for number, (name, runs) in enumerate(found.items()):
        means = np.array([values.mean() for values in runs.values()])
        spread = [[m - values.min() for m, values in zip(means, runs.values(), strict=True)],
                  [values.max() - m for m, values in zip(means, runs.values(), strict=True)]]  # fmt: skip
        bars = spread if any(len(values) > 1 for values in runs.values()) else None
        style = line_style(number, len(runs)) | {"capsize": 3, "label": legend_label(name)}
        ax.errorbar([100 * share for share in runs], means, yerr=bars, **style)
    ax.set(xlabel="weights that are zero (%)", ylabel="accuracy (%)")
    draw_legend(ax)
    return ax


def _accuracies(found: Mapping[float, float | Sequence[float]], name: str) -> dict[float, np.ndarray]:
    """Return accuracies in percent by shares in their order."""
    if not isinstance(found, Mapping):
        raise ArgumentError(f"{name}: got {validate.kind_of(found)}; allowed: a dict of sparsities and accuracies")
    shares = numbers(list(found), f"sparsities of {name}")
    validate.within(shares, f"sparsities of {name}", 0, 1)
    runs: dict[float, np.ndarray] = {}
    for share, given in sorted(zip(shares.tolist(), found.values(), strict=True), key=lambda pair: pair[0]):
        values = numbers([given] if np.ndim(given) == 0 else given, f"accuracy of {name}")
        if not values.size:
            raise ArgumentError(f"accuracy of {name}: got none for sparsity {share:g}; allowed: at least one")
        validate.within(values, f"accuracy of {name}", 0, 1)
        runs[share] = 100 * values
    return runs
