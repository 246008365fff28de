"""Optimizers on their way down a surface of two numbers, still and moving."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import _validate as validate
from fastconv.errors import ArgumentError, ShapeError
from fastconv.nn import Dense, Parameter, Sequential
from fastconv.optim.optimizer import Optimizer
from fastconv.plot.axes import COLOURS, legend_label, line_style, new_axes, plain_names, pyplot

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes

Surface = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Heights above x and y, arrays of one shape."""
_BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}  # of the axes, where no path goes


def descend(
    gradient: Callable[[float, float], tuple[float, float]],
    optimizer: Callable[[Iterable[Parameter]], Optimizer],
    start: tuple[float, float],
    steps: int,
) -> np.ndarray:
    """Let an optimizer of the library go down a surface.

    Parameters
    ----------
    gradient : function of x and y
        Gives the two slopes there.
    optimizer : function of parameters
        Such as ``lambda p: fc.optim.Adam(p, 0.1)``.
    start : (x, y)
        Where it begins.
    steps : int
        How many.

    Returns
    -------
    (steps + 1, 2) array
        Where it was before the first step and after each.

    Examples
    --------
    >>> path = fc.plot.descend(lambda x, y: (2 * x, 2 * y), lambda p: fc.optim.SGD(p, 0.25), (1.0, 2.0), 2)
    >>> path
    array([[1.  , 2.  ],
           [0.5 , 1.  ],
           [0.25, 0.5 ]])
    """
    model = Sequential(Dense(2, bias=False)).build((1,), np.float64)
    (place,) = model.parameters()
    place.data = np.array([start], np.float64)
    chosen, backend = optimizer(model.parameters()), model.backend
    path = np.empty((steps + 1, 2))
    path[0] = start
    for step in range(steps):
        chosen.zero_grad()
        slopes = np.array([gradient(*path[step])], np.float64)
        target = place.grad_target()
        backend.copy(backend.asarray(slopes), out=target)
        place.add_grad(target)
        chosen.step()
        path[step + 1] = backend.to_numpy(place.data)[0]
    return path


@plain_names
def surface(
    function: Surface,
    paths: Mapping[str, np.ndarray],
    *,
    x: tuple[float, float],
    y: tuple[float, float],
    ax: Axes | None = None,
) -> Axes:
    """Draw a surface by its contours, and the paths that were taken on it.

    Parameters
    ----------
    function : function of two arrays
        Gives the height.
    paths : dict of (steps + 1, 2) arrays
        By name, as `descend` gives them.
    x, y : (low, high)
        What part of the surface.
    ax : Axes or None
        Of a new figure if None.

    Returns
    -------
    Axes
        With a line for each path.

    Examples
    --------
    >>> paths = {"straight": np.linspace([1.0, 1.0], [0.0, 0.0], 5)}
    >>> ax = fc.plot.surface(lambda x, y: x**2 + y**2, paths, x=(-2, 2), y=(-2, 2))
    >>> ax.get_xlim()
    (np.float64(-2.0), np.float64(2.0))
    """
    beside = _BESIDE if ax is None else {}
    ax = _contours(function, x, y, ax)
    for number, (name, path) in enumerate(_checked(paths).items()):
        ax.plot(path[:, 0], path[:, 1], label=legend_label(name), marker=".", markersize=2, **line_style(number))
    ax.legend(fontsize="small", **beside)
    return ax


@plain_names
def animate_surface(
    function: Surface,
    paths: Mapping[str, np.ndarray],
    *,
    x: tuple[float, float],
    y: tuple[float, float],
    frames: int = 60,
    ax: Axes | None = None,
) -> FuncAnimation:
    """Return `surface` as an animation of the paths; ``animation.save("paths.gif", writer="pillow")`` writes it.

    Parameters
    ----------
    function : function of two arrays
        Gives the height.
    paths : dict of (steps + 1, 2) arrays
        By name, as `descend` gives them.
    x, y : (low, high)
        What part of the surface.
    frames : int
        How many pictures.
    ax : Axes or None
        Of a new figure if None.

    Returns
    -------
    FuncAnimation
        ``animation.save("paths.gif", writer="pillow")`` writes it.

    Examples
    --------
    >>> paths = {"straight": np.linspace([1.0, 1.0], [0.0, 0.0], 5)}
    >>> animation = fc.plot.animate_surface(lambda x, y: x**2 + y**2, paths, x=(-2, 2), y=(-2, 2), frames=3)
    >>> animation.save("paths.gif", writer="pillow")
    """
    pyplot()  # says what to install
    from matplotlib.animation import FuncAnimation

    frames = validate.at_least_one(frames, "frames")
    beside = _BESIDE if ax is None else {"loc": "upper left"}
    ax, checked = _contours(function, x, y, ax), _checked(paths)
    lines = [ax.plot([], [], label=legend_label(name), **line_style(number))[0] for number, name in enumerate(checked)]
    heads = [ax.plot([], [], "o", color=COLOURS[number % len(COLOURS)])[0] for number in range(len(checked))]
    ax.legend(fontsize="small", **beside)
    last = max(map(len, checked.values())) - 1

    def draw(frame: int) -> list[Any]:
        end = round(frame * last / max(frames - 1, 1)) + 1
        for path, line, head in zip(checked.values(), lines, heads, strict=True):
            line.set_data(path[:end, 0], path[:end, 1])
            head.set_data(path[:end][-1:, 0], path[:end][-1:, 1])
        return [*lines, *heads]

    figure: Any = ax.get_figure(root=True)
    return FuncAnimation(figure, draw, frames=frames, interval=60)


def _contours(function: Surface, x: tuple[float, float], y: tuple[float, float], ax: Axes | None) -> Axes:
    for name, (low, high) in (("x", x), ("y", y)):
        if not low < high:
            raise ArgumentError(f"{name}: got {(low, high)}; allowed: a low end and a higher one")
    ax = new_axes(ax, 5.5, 4.5)
    across, up = np.meshgrid(np.linspace(*x, 200), np.linspace(*y, 200))
    heights = function(across, up)
    # As many lines in the valley as on the slopes: levels at quantiles.
    levels = np.unique(np.quantile(heights, np.linspace(0, 1, 25)))
    ax.contour(across, up, heights, levels=levels, cmap="Greys", linewidths=0.6, zorder=0)
    ax.set(xlim=x, ylim=y, xlabel="first weight", ylabel="second weight")
    return ax


def _checked(paths: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    if not paths:
        raise ArgumentError("paths: got none; allowed: at least one, by name")
    found = {name: np.asarray(path, np.float64) for name, path in paths.items()}
    for name, path in found.items():
        if path.ndim != 2 or path.shape[1] != 2 or not len(path):
            raise ShapeError(f"paths[{name!r}]: got shape {path.shape}; allowed: (steps + 1, 2)")
    return found
