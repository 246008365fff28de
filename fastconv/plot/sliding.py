"""A kernel on its way over an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import _validate as validate
from fastconv.backends.contract.types import Array
from fastconv.errors import ShapeError
from fastconv.functional import conv2d
from fastconv.plot.axes import COLOURS, plain_names, pyplot
from fastconv.plot.checking import in_single, on_host

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation


@plain_names
def animate_kernel(image: Array, kernel: Array, *, frames: int = 60) -> FuncAnimation:
    """Return an animation of a kernel that slides over an image, and of what it writes down at each place.

    ``y[p, q] = sum(kernel * image[p:p+R, q:q+S])``, row by row; Dumoulin and Visin 2016,
    https://arxiv.org/abs/1603.07285, draw it so. ``animation.save("kernel.gif", writer="pillow")`` writes a file.

    Parameters
    ----------
    image : (H, W) array
        One channel, in any range.
    kernel : (R, S) array
        No larger than the image.
    frames : int
        Pictures; where there are fewer than places, places are left out.

    Returns
    -------
    FuncAnimation
        Of `frames` pictures.

    Raises
    ------
    ShapeError
        The kernel is larger than the image.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> import numpy as np
    >>> import fastconv as fc
    >>> animation = fc.plot.animate_kernel(np.eye(8), np.ones((3, 3)), frames=4)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder) / "kernel.gif"
    ...     animation.save(path, writer="pillow")
    ...     path.read_bytes()[:3]
    b'GIF'
    """
    plt = pyplot()
    from matplotlib.animation import FuncAnimation
    from matplotlib.patches import Rectangle

    values = in_single(on_host(image, "image", 2))
    weights = in_single(on_host(kernel, "kernel", 2))
    if any(small > large for small, large in zip(weights.shape, values.shape, strict=True)):
        raise ShapeError(f"kernel: got shape {weights.shape}; allowed: at most that of the image, {values.shape}")
    frames = validate.at_least_one(frames, "frames")
    y = on_host(conv2d(values[None, :, :, None], weights[:, :, None, None]), "image with kernel", 4)[0, :, :, 0]
    finite = y[np.isfinite(y)]
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.5, 3.2), layout="constrained")
    left.imshow(values, cmap="gray")
    left.set_title("image")
    right.set_title("what the kernel makes of it")
    window = Rectangle((-0.5, -0.5), weights.shape[1], weights.shape[0], fill=False, color=COLOURS[1], linewidth=2)
    place = Rectangle((-0.5, -0.5), 1, 1, fill=False, color=COLOURS[1], linewidth=2)
    left.add_patch(window)
    right.add_patch(place)
    shown = right.imshow(np.full(y.shape, np.nan), cmap="gray", vmin=float(finite.min()), vmax=float(finite.max()))
    for ax in (left, right):
        ax.set_axis_off()

    def draw(number: int) -> list[Any]:
        last = round(number * (y.size - 1) / max(frames - 1, 1))
        row, column = divmod(last, y.shape[1])
        for patch in (window, place):
            patch.set_xy((column - 0.5, row - 0.5))
        shown.set_data(np.where(np.arange(y.size).reshape(y.shape) <= last, y, np.nan))
        return [window, place, shown]

    return FuncAnimation(figure, draw, frames=frames, interval=100)
