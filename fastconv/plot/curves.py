"""Curves of training runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fastconv.errors import ArgumentError
from fastconv.plot.axes import COLOURS, legend_label, new_axes, plain_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _Recorded(Protocol):
    """What of a `fastconv.training.History` is drawn."""

    history: dict[str, list[float]]

    @property
    def epochs(self) -> int: ...


@plain_names
def curves(runs: _Recorded | Mapping[str, _Recorded], quantity: str = "loss", ax: Axes | None = None) -> Axes:
    """Draw a quantity by epoch, of one run or several; with dashes that of the validation, where there is one.

    Parameters
    ----------
    runs : History, or dict with a name for each
        What was recorded.
    quantity : str
        Such as "loss" or "accuracy".
    ax : Axes or None
        Of a new figure if None.

    Returns
    -------
    Axes
        With a line for each run.

    Examples
    --------
    >>> ax = fc.plot.curves(fc.History({"loss": [1.0, 0.5], "val_loss": [1.1, 0.7]}))
    >>> [line.get_ydata().tolist() for line in ax.get_lines()]
    [[1.0, 0.5], [1.1, 0.7]]
    """
    named = dict(runs) if isinstance(runs, Mapping) else {"": runs}
    if not named or not any(run.epochs for run in named.values()):
        raise ArgumentError("runs: got nothing; allowed: at least one run with an epoch")
    known = sorted({name for run in named.values() for name in run.history if not name.startswith("val_")})
    if quantity not in known:
        raise ArgumentError(f"quantity: got {quantity!r}; allowed: {', '.join(known)}")
    ax = new_axes(ax)
    for number, (name, run) in enumerate(named.items()):
        for prefix, style, words in (("", "-", "training"), ("val_", "--", "validation")):
            values = run.history.get(prefix + quantity)
            if values:
                label = legend_label(f"{name} {words}".strip())
                epochs = np.arange(1, len(values) + 1)
                ax.plot(epochs, values, style, color=COLOURS[number % len(COLOURS)], label=label, marker=".")
    ax.set(xlabel="epoch", ylabel=quantity.replace("_", " "))
    ax.locator_params(axis="x", integer=True)
    ax.legend(fontsize="small")
    return ax
