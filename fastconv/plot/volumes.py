"""A network as a row of volumes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from fastconv.backends.contract.types import Shape
from fastconv.errors import ArgumentError
from fastconv.nn import Layer
from fastconv.nn.model.checking import checked_layer
from fastconv.plot.axes import COLOURS, new_axes, plain_names, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@plain_names
def volumes(model: Layer, input_shape: Shape | None = None, ax: Axes | None = None) -> Axes:
    """Draw what comes in and what each layer of a model puts out as boxes, height x width x channels.

    The sides of a box grow with the logarithm of its size. Layers that change no shape are left out.

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
    from matplotlib.patches import Polygon

    summary = checked_layer(model, "model", Layer, "a layer, such as a Sequential").summary(input_shape)
    boxes: list[tuple[str, Shape]] = [("input", tuple(summary.input_shape))]
    for row in summary.rows:
        if row.output_shape != boxes[-1][1]:
            boxes.append((row.kind, row.output_shape))
    if len(boxes) == 1:
        raise ArgumentError("model: got one whose layers change no shape; allowed: one of which a layer does")
    ax, left = new_axes(ax, 1.1 * len(boxes) + 1, 3.2), 0.0
    for name, shape in boxes:
        height, width, depth = shape if len(shape) == 3 else (shape[0], 1, 1)
        high, wide, deep = (0.25 * (1 + math.log2(size)) for size in (height, width, depth))
        wide, colour = 0.35 * wide, COLOURS[(name != "input") + 2 * (len(shape) == 1)]
        front = [(left, -high / 2), (left + deep, -high / 2), (left + deep, high / 2), (left, high / 2)]
        top = [front[3], front[2], (front[2][0] + wide, high / 2 + wide), (left + wide, high / 2 + wide)]
        side = [front[1], (front[1][0] + wide, wide - high / 2), (front[1][0] + wide, high / 2 + wide), front[2]]
        for face, alpha in ((front, 0.55), (top, 0.35), (side, 0.2)):
            ax.add_patch(Polygon(face, closed=True, facecolor=colour, edgecolor="black", alpha=alpha, linewidth=0.7))
        middle = left + (deep + wide) / 2
        ax.text(middle, -high / 2 - 0.15, " x ".join(map(str, shape)), ha="center", va="top", fontsize=7)
        ax.text(middle, high / 2 + wide + 0.12, name, ha="center", va="bottom", fontsize=7)
        left += deep + wide + 0.7
    ax.set(xlim=(-0.3, left), ylim=(-1.6, 2.2), aspect="equal")
    ax.set_axis_off()
    return ax
