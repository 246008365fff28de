"""Where pictures are drawn, and the colours of their lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastconv.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Told apart with any colour vision (Okabe and Ito, https://jfly.uni-koeln.de/color/); their yellow is too light here.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
DASHES = ("solid", "dashed", "dotted", "dashdot")


def axes_or_new(ax: Axes | None) -> Axes:
    """Return `ax`, or the Axes of a new figure; DataError if matplotlib is not installed."""
    try:
        from matplotlib.axes import Axes
    except ImportError as error:
        raise DataError(
            f"matplotlib: got {error}; allowed: an installation of it, pip install 'fastconv[plot]'"
        ) from error
    if ax is None:
        from matplotlib import pyplot

        return pyplot.subplots(layout="constrained")[1]
    if not isinstance(ax, Axes):
        raise ArgumentError(f"ax: got {type(ax).__name__}; allowed: one matplotlib Axes, or None for a new figure")
    return ax


def line_style(number: int) -> dict[str, str]:
    """Return colour and dashes of the line of this number: 28 pairs, the first seven of which are solid."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": DASHES[number // len(COLOURS) % len(DASHES)],
    }
