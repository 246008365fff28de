"""What speaks for a class, beside the image or over it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fastconv import _validate as validate
from fastconv.backends.contract.types import Array
from fastconv.errors import ShapeError
from fastconv.plot.axes import DIVERGING, SEQUENTIAL, in_range, new_grid, plain_names, short
from fastconv.plot.checking import by_name, images_of, on_host

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@plain_names
def attributions(images: Array, maps: Mapping[str, Array], *, together: bool = False) -> Figure:
    """Draw images, a row for each, and beside each what maps say of it, a column for each.

    A map that is above and below 0 somewhere gets two colours, orange for what speaks for a class, on a scale from
    -m to m; others one from 0 to m. m is the magnitude that one value in a hundred passes, so that a single pixel does
    not pale all others. A map that is coarser than the image is laid over it, in grey.
    Sources of what is drawn: see `fastconv.training.diagnostics.saliency`, `gradient_times_input`, `occlusion` and
    `grad_cam`; of the grid of classes the image plot of SHAP, Lundberg and Lee 2017, https://arxiv.org/abs/1705.07874.

    Parameters
    ----------
    images : (N, H, W) or (N, H, W, C) array
        As they are to be shown: of one channel or three, in any range.
    maps : dict of (N, h, w) arrays
        By name.
    together : bool
        Whether the maps of a row have one scale, as maps of several classes need to be compared.

    Returns
    -------
    Figure
        Row by row the image, and its maps.

    Raises
    ------
    ArgumentError
        There are no maps, or one without a finite value.
    ShapeError
        A map is not of as many images, or these are not of one channel or three.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> figure = fc.plot.attributions(np.ones((2, 8, 8, 3)), {"saliency": np.ones((2, 8, 8))})
    >>> len(figure.axes)
    4
    """
    shown, together = images_of(images, "images"), validate.truth(together, "together")
    values = {
        name: on_host(each, f"maps[{name!r}]", 3).astype(np.float64) for name, each in by_name(maps, "maps").items()
    }
    for name, each in values.items():
        if len(each) != len(shown):
            raise ShapeError(
                f"maps[{name!r}]: got shape {each.shape}; allowed: one for each of the {len(shown)} images"
            )
    figure, axes = new_grid(len(shown), len(values) + 1, 1.0)
    for number, image in enumerate(shown):
        row = axes[number * (len(values) + 1) :][: len(values) + 1]
        _show(row[0], image)
        here = {name: each[number] for name, each in values.items()}
        limits = [_limit(each) for each in here.values()]
        row_limit = _limit(np.concatenate([each.ravel() for each in here.values()]))
        signed = {name: np.nanmin(values[name]) < 0 for name in here}
        for ax, (name, each), limit in zip(row[1:], here.items(), limits, strict=True):
            most = row_limit if together else limit
            over = each.shape != image.shape[:2]
            if over:
                _show(ax, image if image.ndim == 2 else image.mean(axis=2))
            low, colours = (-most, DIVERGING) if signed[name] else (0.0, SEQUENTIAL)
            extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
            ax.imshow(each, cmap=colours, vmin=low, vmax=most, extent=extent, alpha=0.7 if over else 1.0)
            if not number:
                ax.set_title(short(name), fontsize=7)
    return figure


def _limit(values: np.ndarray) -> float:
    sizes = np.abs(values[np.isfinite(values)])
    if not sizes.size:
        return 1.0
    return float(np.quantile(sizes, 0.99, method="higher")) or float(sizes.max()) or 1.0


def _show(ax: Axes, image: np.ndarray) -> None:
    grey = image.ndim == 2 or image.shape[2] == 1
    ax.imshow(in_range(image).squeeze() if grey else in_range(image), cmap="gray" if grey else None)
