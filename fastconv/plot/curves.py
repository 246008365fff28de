"""Curves of training runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fastconv import _validate as validate
from fastconv.errors import ArgumentError
from fastconv.plot.axes import draw_legend, legend_label, line_style, new_axes, plain_names
from fastconv.plot.checking import Recorded, history_of, need_finite, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@plain_names
def curves(runs: Recorded | Mapping[str, Recorded], quantity: str = "loss", ax: Axes | None = None) -> Axes:
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
    found = {name: history_of(run, f"runs[{name!r}]" if name else "runs") for name, run in named.items()}
    if not any(len(values) for history in found.values() for values in history.values()):
        raise ArgumentError("runs: got nothing; allowed: at least one run with an epoch")
    known = sorted({name.removeprefix("val_") for history in found.values() for name in history})
    if not isinstance(quantity, str) or quantity not in known:
        raise ArgumentError(f"quantity: got {validate.shown(quantity)}; allowed: {', '.join(known)}")
    lines = [
        (number, legend_label(name, words), words, numbers(history[key], key))
        for number, (name, history) in enumerate(found.items())
        for key, words in ((quantity, "training"), (f"val_{quantity}", "validation"))
        if len(history.get(key, ()))
    ]
    need_finite([values for *_, values in lines], quantity)
    ax = new_axes(ax)
    for number, label, words, values in lines:
        style = line_style(number, len(values)) | {"linestyle": "solid"}
        if words == "validation":
            style |= {"linestyle": "dashed", "markerfacecolor": "none"}
        ax.plot(np.arange(1, len(values) + 1), values, **style, label=label)
    ax.set(xlabel="epoch", ylabel=quantity.replace("_", " "))
    ax.locator_params(axis="x", integer=True)
    draw_legend(ax)
    return ax
