"""A network as a row of volumes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastconv import _validate as validate
from fastconv.backends.contract.types import Shape
from fastconv.errors import ArgumentError
from fastconv.nn import Layer
from fastconv.plot.axes import COLOURS, new_axes, plain_names, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes


_IN_A_ROW = 13
"""Boxes at most: a page is about as wide."""
_ROW = 4.2  # from one row to the next, in units of the boxes; more where one is taller than this leaves room for


@plain_names
def volumes(model: Layer, input_shape: Shape | None = None, ax: Axes | None = None) -> Axes:
    """Draw what comes in and what each layer of a model puts out as boxes, height x width x channels.

    The sides of a box grow with the logarithm of its size. Layers that change no shape are left out. More than 13
    boxes stand in several rows.

    Parameters
    ----------
    model : Layer
        Need not be built if `input_shape` is given.
    input_shape : (H, W, C) or None
        That of the model if None.
    ax : Axes or None
        Of a new figure if None.

    Returns
    -------
    Axes
        With a box for each shape.

    Examples
    --------
    >>> ax = fc.plot.volumes(fc.models.lenet5.unbuilt(), (32, 32, 3))
    >>> len(ax.texts) > 4
    True
    """
    pyplot()  # says what to install
    summary = validate.instance(model, Layer, "model", "a layer, such as a Sequential").summary(input_shape)
    boxes: list[tuple[str, Shape]] = [("input", tuple(summary.input_shape))]
    for row in summary.rows:
        if row.output_shape != boxes[-1][1]:
            boxes.append((row.kind, row.output_shape))
    if len(boxes) == 1:
        raise ArgumentError("model: got one whose layers change no shape; allowed: one of which a layer does")
    rows = math.ceil(len(boxes) / _IN_A_ROW)
    across = math.ceil(len(boxes) / rows)
    ax, right = new_axes(ax, 1.1 * across + 1, 1.6 * (rows + 1)), 0.0
    half = max(_side(shape[0]) for _, shape in boxes) / 2
    apart = max(_ROW, 2 * half + 1.2)
    for row in range(rows):
        left = 0.0
        for name, shape in boxes[row * across :][:across]:
            left = _draw_box(ax, name, shape, left, -apart * row)
        right = max(right, left)
    ax.set(xlim=(-0.3, right), ylim=(-max(1.6, half + 0.5) - apart * (rows - 1), max(2.2, half + 0.6)), aspect="equal")
    ax.set_axis_off()
    return ax


def _side(size: int) -> float:
    return 0.25 * (1 + math.log2(size))


def _draw_box(ax: Axes, name: str, shape: Shape, left: float, middle: float) -> float:
    """Draw the box whose front begins at `left`, and return where the next one begins."""
    from matplotlib.patches import Polygon

    height, width, depth = shape if len(shape) == 3 else (shape[0], 1, 1)
    high, wide, deep = map(_side, (height, width, depth))
    wide, colour = 0.35 * wide, COLOURS[(name != "input") + 2 * (len(shape) == 1)]
    low, top, right = middle - high / 2, middle + high / 2, left + deep
    front = [(left, low), (right, low), (right, top), (left, top)]
    above = [front[3], front[2], (right + wide, top + wide), (left + wide, top + wide)]
    side = [front[1], (right + wide, low + wide), (right + wide, top + wide), front[2]]
    for face, alpha in ((front, 0.55), (above, 0.35), (side, 0.2)):
        ax.add_patch(Polygon(face, closed=True, facecolor=colour, edgecolor="black", alpha=alpha, linewidth=0.7))
    centre = left + (deep + wide) / 2
    ax.text(centre, low - 0.15, " x ".join(map(str, shape)), ha="center", va="top", fontsize=7)
    ax.text(centre, top + wide + 0.12, name, ha="center", va="bottom", fontsize=7)
    return right + wide + 0.7
