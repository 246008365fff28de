"""What all pictures share: matplotlib, where it is installed, and colours that everybody can tell apart."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from fastconv import _validate as validate
from fastconv._calls import tells_habits
from fastconv.errors import ArgumentError, DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Told apart with any colour vision (Okabe and Ito, https://jfly.uni-koeln.de/color/); their yellow is too light here.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
# For amounts, and for what is above or below 0 (orange above): even in grey, and with any colour vision.
SEQUENTIAL, DIVERGING = "viridis", "PuOr_r"
STYLES = ("solid", "dashed", "dotted", "dashdot")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">")
"""So that lines can be told apart in print without colours, too."""
_MARKS = 12  # on a line, about
_MOST_NAMED, _IN_LEGEND = 20, 48  # names and their letters: with more of them nothing is left of a new figure's axes


def pyplot() -> Any:
    """Return matplotlib.pyplot, or say what to install."""
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise DataError(
            f"matplotlib: got {error}; allowed: an installation of it, pip install 'fastconv[plot]'"
        ) from error
    return plt


_Arguments = ParamSpec("_Arguments")
_Drawn = TypeVar("_Drawn")


def plain_names(draw: Callable[_Arguments, _Drawn]) -> Callable[_Arguments, _Drawn]:
    """Wrap what draws: a name with dollar signs, of a class or a run, is no formula, in whatever text it stands."""

    @functools.wraps(draw)
    def run(*arguments: _Arguments.args, **more: _Arguments.kwargs) -> _Drawn:
        with pyplot().rc_context({"text.parse_math": False}):
            drawn = draw(*arguments, **more)
        figure: Any = getattr(drawn, "figure", None) or getattr(drawn, "_fig", drawn)  # of axes, of an animation
        for axis in (axis for ax in figure.axes for axis in (ax.xaxis, ax.yaxis)):
            if axis.get_scale() != "linear":  # powers of ten are formulas
                for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                    tick.label1.set_parse_math(True)
        return drawn

    return tells_habits({})(run)


def new_axes(ax: Axes | None, width: float = 5.0, height: float = 3.5) -> Axes:
    """Return `ax`, or the axes of a new figure of this size in inches; DataError if there is no matplotlib."""
    plt = pyplot()
    if ax is None:
        made: Axes = plt.subplots(figsize=(width, height), layout="constrained")[1]
        return made
    if not isinstance(ax, plt.Axes):
        raise ArgumentError(f"ax: got {validate.kind_of(ax)}; allowed: one matplotlib Axes, or None for a new figure")
    given: Axes = ax
    allowed = "one of a figure, with two straight axes, or None for a new figure"
    if given.name != "rectilinear":
        raise ArgumentError(f"ax: got one of the projection {given.name!r}; allowed: {allowed}")
    if given.figure is None:
        raise ArgumentError(f"ax: got one that was removed from its figure; allowed: {allowed}")
    return given


def new_grid(rows: int, columns: int, size: float = 1.0) -> tuple[Figure, list[Axes]]:
    """Return a figure of rows x columns pictures, `size` inches each, without ticks."""
    figure: Figure
    figure, made = pyplot().subplots(
        rows, columns, figsize=(size * columns, size * rows), layout="constrained", squeeze=False
    )
    flat = list(np.asarray(made).ravel())
    for ax in flat:
        ax.set_axis_off()
    return figure, flat


def short(name: object, letters: int = 28) -> str:
    """Return a name as it stands beside a picture: of a long one, which leaves no room for that, both ends."""
    text = str(name)
    half = (letters - 3) // 2
    return text if len(text) <= letters else f"{text[: letters - 3 - half]}...{text[-half:]}"


def legend_label(name: object, more: str = "") -> str:
    """Return a name, short enough, and what follows it in a legend: matplotlib leaves out what begins with "_"."""
    text = f"{short(name, _IN_LEGEND)} {more}".strip()
    return f" {text}" if text.startswith("_") else text


def draw_legend(ax: Axes, fontsize: str = "small", **where: Any) -> None:
    """Draw the legend, of as many lines as there is room for; its last line says how many it leaves out."""
    from matplotlib.lines import Line2D

    handles, labels = ax.get_legend_handles_labels()
    if len(labels) > _MOST_NAMED:
        labels = [*labels[: _MOST_NAMED - 1], f"and {len(labels) - _MOST_NAMED + 1} more"]
        handles = [*handles[: _MOST_NAMED - 1], Line2D([], [], linestyle="none")]
    ax.legend(handles, labels, fontsize=fontsize, **where)


def line_style(number: int, points: int) -> dict[str, Any]:
    """Return colour, dashes and marks of the line of this number; of 40 lines no two have the same dashes and marks."""
    round_number, mark = divmod(number, len(MARKERS))
    every = max(points // _MARKS, 1)
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": STYLES[(round_number + mark) % len(STYLES)],
        "marker": MARKERS[mark],
        "markersize": 4,
        "markevery": (3 * number % every, every),  # not all at one place: lines may lie on each other
    }


def in_range(values: np.ndarray) -> np.ndarray:
    """Return values moved and scaled to 0 to 1, as pictures take them; all 0.5 if they are equal.

    The finite ones span the range; infinite ones lie at its ends, and NaN stays NaN, which a picture leaves out.
    """
    values = values.astype(np.float64)
    finite = values[np.isfinite(values)]
    low, high = (finite.min(), finite.max()) if finite.size else (0.0, 0.0)
    middle = np.where(np.isnan(values), np.nan, 0.5)
    return (np.clip(values, low, high) - low) / (high - low) if high > low else middle
