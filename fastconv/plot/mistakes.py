"""What a classifier takes for what, with the images that it gets most wrong."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import _validate as validate
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, ShapeError
from fastconv.plot.axes import in_range, plain_names, pyplot, short
from fastconv.plot.checking import class_names, images_of, on_host
from fastconv.plot.images import confusion, confusion_side

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@plain_names
def mistakes(
    images: Array, labels: Array, logits: Array, names: Sequence[str] | None = None, *, count: int = 12
) -> Figure:
    """Draw the confusion matrix of answers, and beside it the images that cost the most.

    An image costs ``-log softmax(logits)[label]``, the cross-entropy of `fastconv.losses.SoftmaxCrossEntropy`; above
    each stand its class, what it was taken for, and the probability of that.

    Parameters
    ----------
    images : (N, H, W) or (N, H, W, C) array
        As they are to be shown: of one channel or three, in any range.
    labels : (N,) ints
        Their classes, 0 to K - 1.
    logits : (N, K) array
        What the model puts out for them.
    names : sequence of str or None
        Of the K classes.
    count : int
        How many of the worst images, at most.

    Returns
    -------
    Figure
        The matrix in its first axes, the worst image in the second.

    Raises
    ------
    ArgumentError
        The logits of an image have no softmax: one is NaN or infinite, or all are minus infinity.
    ShapeError
        There are no images, or not of one channel or three, or not as many labels or logits.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> figure = fc.plot.mistakes(np.zeros((2, 8, 8)), np.array([0, 1]), np.array([[1.0, 0.0], [3.0, 0.0]]), count=1)
    >>> figure.axes[1].get_title()
    '1 as 0, 95%'
    """
    shown = images_of(images, "images")
    right, scores = on_host(labels, "labels", 1), on_host(logits, "logits", 2).astype(np.float64)
    for name, each in (("labels", right), ("logits", scores)):
        if len(each) != len(shown):
            raise ShapeError(f"{name}: got shape {each.shape}; allowed: one for each of the {len(shown)} images")
    kinds = scores.shape[1]
    if right.dtype.kind not in "iu" or right.min() < 0 or right.max() >= kinds:
        raise ShapeError(f"labels: got {right.dtype} from {right.min()} to {right.max()}; allowed: 0 to {kinds - 1}")
    names = class_names(names, kinds)
    highest = scores.max(1, keepdims=True)  # NaN if one of them is
    if not np.isfinite(highest).all():
        wrong = int(np.flatnonzero(~np.isfinite(highest))[0])
        raise ArgumentError(
            f"logits: got {highest[wrong, 0]} for image {wrong}; allowed: a finite highest one for each"
        )
    logs = scores - highest - np.log(np.exp(scores - highest).sum(1, keepdims=True))
    worst = np.argsort(logs[np.arange(len(right)), right], kind="stable")[: validate.at_least_one(count, "count")]
    counts = np.zeros((kinds, kinds), np.int64)
    np.add.at(counts, (right, scores.argmax(1)), 1)
    columns = math.ceil(math.sqrt(len(worst)))
    rows = math.ceil(len(worst) / columns)
    side = confusion_side(names)
    figure: Any = pyplot().figure(figsize=(side + 1.3 * columns, max(side, 1.5 * rows)), layout="constrained")
    left, beside = figure.subfigures(1, 2, width_ratios=(side, 1.3 * columns))
    confusion(counts, names, left.subplots())
    grid = np.asarray(beside.subplots(rows, columns, squeeze=False)).ravel()
    for ax in grid:
        ax.set_axis_off()
    for ax, number in zip(grid, worst, strict=False):
        image, taken = shown[number], scores[number].argmax()
        ax.imshow(in_range(image).squeeze(), cmap="gray")
        title = f"{short(names[right[number]])} as {short(names[taken])}, {math.exp(logs[number, taken]):.0%}"
        ax.set_title(title, fontsize=6)
    drawn: Figure = figure
    return drawn
