"""Optimizers on their way down a surface of two numbers, still and moving."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv import _validate as validate
from fastconv.errors import ArgumentError, ShapeError
from fastconv.nn import Dense, Parameter, Sequential
from fastconv.optim.optimizer import Optimizer
from fastconv.plot.axes import draw_legend, legend_label, line_style, new_axes, plain_names, pyplot
from fastconv.plot.checking import by_name, interval, listed, numbers, on_host
from fastconv.plot.checking import function as checked_function

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes

Surface = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Heights above x and y, arrays of one shape."""
_BESIDE: dict[str, Any] = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}  # of the axes, where no path goes
_BETWEEN_MARKS = 0.12  # of the diagonal; counted in steps, they would all lie where a path ends, or outside


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
    steps = validate.at_least(steps, 0, "steps")
    checked_function(gradient, "gradient", "a function of x and y")
    checked_function(optimizer, "optimizer", "a function of parameters, such as lambda p: fc.optim.Adam(p, 0.1)")
    begin = numbers(listed(start, "start", "a pair (x, y)"), "start")
    if len(begin) != 2 or not np.isfinite(begin).all():
        raise ArgumentError(f"start: got {validate.shown(start)}; allowed: a pair (x, y)")
    model = Sequential(Dense(2, bias=False)).build((1,), np.float64)
    (place,) = model.parameters()
    place.data = begin[None]
    chosen, backend = optimizer(model.parameters()), model.backend
    if not isinstance(chosen, Optimizer):
        raise ArgumentError(f"optimizer: got a function that gives {validate.kind_of(chosen)}; allowed: an Optimizer")
    path = np.empty((steps + 1, 2))
    path[0] = begin
    for step in range(steps):
        chosen.zero_grad()
        slopes = numbers(gradient(*path[step]), "slopes of gradient")[None]
        validate.has_shape(slopes, "slopes of gradient", (1, 2), "the two slopes")
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
    checked = _checked(paths)
    ax = _contours(function, x, y, ax)
    for number, (name, path) in enumerate(checked.items()):
        ax.plot(path[:, 0], path[:, 1], label=legend_label(name), **_style(number, len(path)))
    draw_legend(ax, **beside)
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
    # From the first finite place on: marks are measured from there.
    checked = {name: path[np.isfinite(path).all(1).argmax() :] for name, path in _checked(paths).items()}
    ax = _contours(function, x, y, ax)
    lines = [
        ax.plot(*path[:1].T, label=legend_label(name), **_style(number, len(path)))[0]
        for number, (name, path) in enumerate(checked.items())
    ]
    heads = [ax.plot([], [], linestyle="none", color=line.get_color(), marker=line.get_marker())[0] for line in lines]
    draw_legend(ax, **beside)
    last = max(map(len, checked.values())) - 1

    def draw(frame: int) -> list[Any]:
        end = round(frame * last / max(frames - 1, 1)) + 1
        for path, line, head in zip(checked.values(), lines, heads, strict=True):
            line.set_data(path[:end, 0], path[:end, 1])
            head.set_data(path[:end][-1:, 0], path[:end][-1:, 1])
        return [*lines, *heads]

    figure: Any = ax.get_figure(root=True)
    return FuncAnimation(figure, draw, frames=frames, interval=60)


def _style(number: int, points: int) -> dict[str, Any]:
    """Return the style of a path, with marks at equal distances in the picture."""
    return line_style(number, points) | {"markevery": (number % 6 / 6 * _BETWEEN_MARKS, _BETWEEN_MARKS)}


def _contours(function: Surface, x: tuple[float, float], y: tuple[float, float], ax: Axes | None) -> Axes:
    checked_function(function, "function", "a function of two arrays")
    x, y = interval(x, "x"), interval(y, "y")
    across, up = np.meshgrid(np.linspace(*x, 200), np.linspace(*y, 200))
    heights = on_host(function(across, up), "heights of function", 2).astype(np.float64)
    validate.has_shape(heights, "heights of function", across.shape, "one for each place")
    ax = new_axes(ax, 5.5, 4.5)
    # As many lines in the valley as on the slopes: levels at quantiles.
    levels = np.unique(np.quantile(heights[np.isfinite(heights)], np.linspace(0, 1, 25)))
    ax.contour(across, up, heights, levels=levels, cmap="Greys", linewidths=0.6, zorder=0)
    ax.set(xlim=x, ylim=y, xlabel="first weight", ylabel="second weight")
    return ax


def _checked(paths: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    given = by_name(paths, "paths")
    found = {name: on_host(path, f"paths[{name!r}]", 2).astype(np.float64) for name, path in given.items()}
    for name, path in found.items():
        if path.shape[1] != 2:
            raise ShapeError(f"paths[{name!r}]: got shape {path.shape}; allowed: (steps + 1, 2)")
        if not np.isfinite(path).all(1).any():
            raise ArgumentError(f"paths[{name!r}]: got no place whose two numbers are finite; allowed: at least one")
    return found
