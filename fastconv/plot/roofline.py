"""How near layers come to what the machine can do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from fastconv import _validate as validate
from fastconv.errors import ArgumentError
from fastconv.plot.axes import COLOURS, draw_legend, new_axes, plain_names, short
from fastconv.plot.checking import has, listed, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class _Machine(Protocol):
    """What of a `fastconv.training.diagnostics.Machine` is drawn."""

    @property
    def flops(self) -> float: ...
    @property
    def bytes_per_second(self) -> float: ...


class _Profile(Protocol):
    """What of a `fastconv.training.diagnostics.Profile` is drawn: its rows are `LayerTime`."""

    @property
    def machine(self) -> _Machine: ...
    @property
    def rows(self) -> Sequence[Any]: ...


_PARTS = ("ms", "macs", "bytes")


@plain_names
def roofline(profile: _Profile, ax: Axes | None = None) -> Axes:
    """Draw the layers of a profile under the roof of the machine: ``min(flops, bytes_per_second * intensity)``.

    Across, the intensity: multiplications and additions for each byte that is moved; upwards, how many are done in a
    second. What is left of the roof's corner waits for memory, what is right of it computes. Winograd's algorithm
    multiplies less than is counted, so it can come out above. Layers without multiplications are left out; points of
    forward computations have the number of their first layer.
    Source: Williams, Waterman and Patterson 2009, https://doi.org/10.1145/1498765.1498785.

    Parameters
    ----------
    profile : Profile
        Of `fastconv.training.diagnostics.profile_layers`.
    ax : Axes or None
        Of a new figure if None.

    Returns
    -------
    Axes
        With the roof, the forward and the backward computations.

    Raises
    ------
    ArgumentError
        No layer of it multiplies.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> look = fc.training.diagnostics
    >>> model = fc.nn.Sequential(fc.nn.Dense(8)).build((4,), seed=0)
    >>> x = np.ones((2, 4), np.float32)
    >>> profile = look.profile_layers(model, x, repeats=1, machine=look.Machine(1e11, 1e10))
    >>> fc.plot.roofline(profile).get_ylabel()
    'GFLOP/s'
    """
    points: dict[str, list[tuple[float, float, str]]] = {"forward": [], "backward": []}
    allowed = "what profile_layers returns"
    has(profile, "profile", ("machine", "rows"), allowed)
    machine = has(profile.machine, "machine of profile", ("flops", "bytes_per_second"), "a Machine")
    flops, moves = (
        validate.number(getattr(machine, part), f"{part} of profile", low=0.0, open_low=True)
        for part in ("flops", "bytes_per_second")
    )
    for number, row in enumerate(listed(profile.rows, "rows of profile", allowed)):
        has(row, "rows of profile", ("names", *(f"{a}_{b}" for a in points for b in _PARTS)), allowed)
        for direction, found in points.items():
            figures = [getattr(row, f"{direction}_{part}") for part in _PARTS]
            milliseconds, macs, moved = numbers(figures, "rows of profile").tolist()
            if milliseconds and macs and moved and math.isfinite(milliseconds):
                name = row.names[0] if row.names and row.names[0] else str(number)
                found.append((2 * macs / moved, 2e-6 * macs / milliseconds, name))
    drawn = points["forward"] + points["backward"]
    if not drawn:
        raise ArgumentError("profile: got one without a layer that multiplies; allowed: with at least one")
    ax = new_axes(ax, 6.0, 4.0)
    corner = flops / moves
    intensities = [intensity for intensity, *_ in drawn]
    across = np.array([min(*intensities, corner) / 3, corner, max(*intensities, corner) * 3])
    ax.plot(across, np.minimum(flops, across * moves) / 1e9, color="0.4", label="roof")
    for number, (direction, found) in enumerate(points.items()):
        if found:
            x, y, _ = zip(*found, strict=True)
            ax.plot(x, y, "o^"[number], color=COLOURS[number], label=direction, linestyle="none")
            for at in found if direction == "forward" else ():
                ax.annotate(short(at[2]), at[:2], xytext=(-4, 3), textcoords="offset points", ha="right", fontsize=7)
    ax.set(xscale="log", yscale="log", xlabel="FLOP / byte", ylabel="GFLOP/s")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter("")
    draw_legend(ax, loc="lower right")  # few layers compute much and slowly
    return ax
