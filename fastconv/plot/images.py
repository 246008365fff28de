"""Images, what a kernel makes of them, and what the layers of a model see."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from fastconv import _validate as validate
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, DTypeError, ShapeError
from fastconv.functional import conv2d
from fastconv.nn import Conv2d, Sequential
from fastconv.plot.axes import DIVERGING, SEQUENTIAL, in_range, new_axes, new_grid, plain_names, pyplot, short
from fastconv.plot.checking import by_name, class_names, in_single, listed, need_finite, on_host

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


_PLACES = "places of layers of this model that put out maps"


@plain_names
def matrix(image: Array, ax: Axes | None = None) -> Axes:
    """Draw an image of one channel, (H, W), as the numbers that it is, each on its grey.

    Parameters
    ----------
    image : (H, W) array
        Of one channel.
    ax : Axes or None
        Of a new figure if None.

    Returns
    -------
    Axes
        With a number in each cell.

    Examples
    --------
    >>> ax = fc.plot.matrix(np.arange(6).reshape(2, 3))
    >>> [text.get_text() for text in ax.texts]
    ['0', '1', '2', '3', '4', '5']
    """
    values = on_host(image, "image", 2)
    if max(values.shape) > 40:
        raise ShapeError(f"image: got shape {values.shape}; allowed: at most 40 x 40, for the numbers to be read")
    ax = new_axes(ax, 0.28 * values.shape[1] + 0.3, 0.28 * values.shape[0] + 0.3)
    grey = in_range(values)
    ax.imshow(grey, cmap="gray")
    whole = np.issubdtype(values.dtype, np.integer)
    for (row, column), value in np.ndenumerate(values):
        colour = "black" if grey[row, column] > 0.5 else "white"
        text = str(value) if whole else f"{value:.1f}"
        text = text if len(text) < 8 else f"{value:.0e}"  # as much as there is room for
        ax.text(column, row, text, ha="center", va="center", fontsize=5, color=colour)
    ax.set_axis_off()
    return ax


@plain_names
def kernel_at_work(image: Array, kernels: dict[str, Array]) -> Figure:
    """Draw an image and what each kernel makes of it: ``y[p, q] = sum(kernel * image[p:p+R, q:q+S])``.

    Parameters
    ----------
    image : (H, W) array
        Of one channel.
    kernels : dict of (R, S) arrays
        By name.

    Returns
    -------
    Figure
        The image, then for each kernel its numbers and the result.

    Examples
    --------
    >>> figure = fc.plot.kernel_at_work(np.eye(8), {"edge": np.array([[-1.0, 1.0]])})
    >>> len(figure.axes)
    4
    """
    values = in_single(on_host(image, "image", 2))
    given = by_name(kernels, "kernels")
    weights = {name: in_single(on_host(each, f"kernels[{name!r}]", 2)) for name, each in given.items()}
    made = {
        name: on_host(conv2d(values[None, :, :, None], each[:, :, None, None]), f"image with kernels[{name!r}]", 4)
        for name, each in weights.items()
    }
    plt = pyplot()
    figure: Figure
    figure, axes = plt.subplots(2, len(weights) + 1, figsize=(2.2 * (len(weights) + 1), 4.2), layout="constrained")
    for ax in axes.ravel():
        ax.set_axis_off()
    axes[0, 0].imshow(values, cmap="gray")
    axes[0, 0].set_title("image")
    for number, (name, kernel) in enumerate(weights.items(), 1):
        axes[0, number].imshow(made[name][0, :, :, 0], cmap="gray")
        axes[0, number].set_title(short(name))
        limit = float(np.abs(kernel[np.isfinite(kernel)]).max()) or 1.0
        axes[1, number].imshow(kernel, cmap=DIVERGING, vmin=-limit, vmax=limit)
        for (row, column), value in np.ndenumerate(kernel):
            colour = "white" if abs(value) > 0.6 * limit else "black"
            axes[1, number].text(column, row, f"{value:.2g}", ha="center", va="center", fontsize=8, color=colour)
    return figure


@plain_names
def filters(layer: Conv2d, columns: int = 8) -> Figure:
    """Draw the filters of a first convolution, which see one or three channels, each stretched to its own range.

    Parameters
    ----------
    layer : Conv2d
        Built, of one or three channels.
    columns : int
        How many in a row.

    Returns
    -------
    Figure
        With a picture for each filter.

    Examples
    --------
    >>> figure = fc.plot.filters(fc.nn.Conv2d(8, 5).build((16, 16, 3)), columns=4)
    >>> len(figure.axes)
    8
    """
    validate.instance(layer, Conv2d, "layer", "a built Conv2d")
    weights = on_host(layer.weight.data, "layer", 4)
    columns = validate.at_least_one(columns, "columns")
    if weights.shape[2] not in (1, 3):
        raise ShapeError(f"layer: got filters of {weights.shape[2]} channels; allowed: 1 or 3, as an image has")
    count = weights.shape[3]
    figure, axes = new_grid(math.ceil(count / columns), min(columns, count), 0.8)
    for ax, number in zip(axes, range(count), strict=False):
        ax.imshow(in_range(weights[..., number]).squeeze(), cmap="gray" if weights.shape[2] == 1 else None)
    return figure


@plain_names
def feature_maps(model: Sequential, image: Array, *, per_layer: int = 8, layers: Sequence[int] | None = None) -> Figure:
    """Draw what the layers of a model make of one image: a row for each, its first channels in a row.

    Parameters
    ----------
    model : Sequential
        Built.
    image : (H, W, C) array
        As the model takes it: of floating numbers, normalised as those of training.
    per_layer : int
        Channels to draw of each layer.
    layers : sequence of int or None
        Places in the model; by default all that put out maps of more than one pixel.

    Returns
    -------
    Figure
        With a row for each layer.

    Examples
    --------
    >>> model = fc.nn.Sequential(fc.nn.Conv2d(4, 3), fc.nn.ReLU()).build((8, 8, 3))
    >>> figure = fc.plot.feature_maps(model, np.zeros((8, 8, 3), np.float32), per_layer=4)
    >>> len(figure.axes) >= 8
    True
    """
    validate.instance(model, Sequential, "model", "a built Sequential")
    x, per_layer = on_host(image, "image", 3), validate.at_least_one(per_layer, "per_layer")
    model.check_size((1, *x.shape), "image")
    if x.dtype.kind != "f":
        raise DTypeError(f"image: got {x.dtype}; allowed: float32 or float64, as the model was trained on")
    places = _places(layers, len(model.layers))
    shown: list[tuple[str, np.ndarray]] = []
    value = model.backend.asarray(np.ascontiguousarray(x[None], model.dtype))
    for place, layer in enumerate(model.layers):
        value = layer(value)
        if place in places and value.ndim == 4 and value.shape[1] > 1:
            shown.append((f"{place} {type(layer).__name__}", model.backend.to_numpy(value)[0, :, :, :per_layer]))
    if not shown:
        raise ArgumentError(f"layers: got {validate.shown(layers)}; allowed: {_PLACES}")
    need_finite([maps for _, maps in shown], "maps")
    per_layer = min(per_layer, max(maps.shape[2] for _, maps in shown))
    figure, axes = new_grid(len(shown), per_layer, 0.9)
    for row, (name, maps) in enumerate(shown):
        axes[row * per_layer].set_title(name, fontsize=7, loc="left")
        for ax, channel in zip(axes[row * per_layer :], range(maps.shape[2]), strict=False):
            ax.imshow(in_range(maps[:, :, channel]), cmap=SEQUENTIAL)
    return figure


def _places(layers: Sequence[int] | None, count: int) -> set[int]:
    if layers is None:
        return set(range(count))
    found = {validate.at_least(place, -1, "layers") for place in listed(layers, "layers", _PLACES)}
    if not found <= set(range(count)):
        raise ArgumentError(f"layers: got {validate.shown(layers)}; allowed: {_PLACES}, 0 to {count - 1}")
    return found


def confusion_side(names: Sequence[object]) -> float:
    """Return how many inches a confusion matrix of classes with these names is wide."""
    return 0.5 * len(names) + 1.5 + 0.07 * max([0, *(len(short(name)) - 10 for name in names)])


@plain_names
def confusion(counts: Array, names: Sequence[str] | None = None, ax: Axes | None = None) -> Axes:
    """Draw a confusion matrix: in row i and column j how many of class i were taken for j, and by colour the share.

    Parameters
    ----------
    counts : (K, K) array
        Such as `fastconv.metrics.ConfusionMatrix` gives; or shares, which are written with two decimals.
    names : sequence of str or None
        Of the classes; by default their numbers.
    ax : Axes or None
        Of a new figure if None.

    Returns
    -------
    Axes
        With a cell for each pair of classes.

    Raises
    ------
    ArgumentError
        A count is negative or not finite, or all are 0.
    ShapeError
        There is not a row and a column for each class.

    Examples
    --------
    >>> ax = fc.plot.confusion(np.array([[8, 2], [1, 9]]), ["cat", "dog"])
    >>> [label.get_text() for label in ax.get_xticklabels()]
    ['cat', 'dog']
    """
    values = on_host(counts, "counts", 2)
    labels = [short(name) for name in class_names(names, len(values))]
    if not values.shape[0] == values.shape[1] == len(labels):
        raise ShapeError(f"counts: got shape {values.shape}; allowed: a row and a column for each of the names")
    validate.within(values, "counts", 0, math.inf)
    if not values.any():
        raise ArgumentError("counts: got zeros only; allowed: at least one above 0")
    side = confusion_side(labels)
    ax = new_axes(ax, side, side - 0.3)
    sums = values.sum(1, keepdims=True, dtype=np.float64)
    share = values / np.where(sums > 0, sums, 1)
    ax.imshow(share, cmap="Blues", vmin=0, vmax=1)
    digits = 0 if np.array_equal(values, np.rint(values)) else 2
    for (row, column), value in np.ndenumerate(values):
        if value:
            colour = "white" if share[row, column] > 0.5 else "black"
            ax.text(column, row, f"{value:.{digits}f}", ha="center", va="center", fontsize=7, color=colour)
    ax.set_xticks(range(len(labels)), labels, rotation=45, ha="right", rotation_mode="anchor", parse_math=False)
    ax.set_yticks(range(len(labels)), labels, parse_math=False)
    ax.set(xlabel="predicted", ylabel="true")
    return ax
