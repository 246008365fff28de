"""What a model looks like inside while it learns: values and gradients of its layers, dead units, sizes of updates."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import numpy as np

from fastconv import _validate as validate
from fastconv.errors import ArgumentError
from fastconv.plot.axes import COLOURS, draw_legend, legend_label, line_style, new_axes, new_grid, plain_names, short
from fastconv.plot.checking import by_name, has, listed, numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_Of = Literal["output", "gradient"]


class _Histogram(Protocol):
    """What of `fastconv.training.diagnostics.Statistics` is drawn."""

    @property
    def counts(self) -> Sequence[int]: ...
    @property
    def edges(self) -> Sequence[float]: ...


class _Layer(Protocol):
    """What of a `fastconv.training.diagnostics.LayerStatistics` is drawn."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def output(self) -> _Histogram: ...
    @property
    def gradient(self) -> _Histogram | None: ...


class _Statistics(Protocol):
    """What of `fastconv.training.diagnostics.ModelStatistics` is drawn."""

    @property
    def rows(self) -> Sequence[_Layer]: ...


class _Units(Protocol):
    """What of `fastconv.training.diagnostics.DeadUnits` is drawn."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def fraction(self) -> float: ...


class _Report(Protocol):
    """What of a `fastconv.training.diagnostics.DeadUnitReport` is drawn."""

    @property
    def rows(self) -> Sequence[_Units]: ...


class _Ratios(Protocol):
    """What of `fastconv.training.diagnostics.UpdateRatios` is drawn."""

    @property
    def step(self) -> int: ...
    @property
    def ratios(self) -> Mapping[str, float]: ...


@plain_names
def histograms(statistics: _Statistics, of: _Of = "output", columns: int = 4) -> Figure:
    """Draw how the values that layers put out are spread, or the gradients of the loss with respect to these.

    In each bin the share of the finite values, ``counts / sum(counts)``, on a logarithmic axis. Layers whose values
    shrink from one to the next, or whose gradients do on the way back, learn slowly: Glorot and Bengio 2010,
    https://proceedings.mlr.press/v9/glorot10a.html.

    Parameters
    ----------
    statistics : ModelStatistics
        Of `fastconv.training.diagnostics.layer_statistics`; with a loss, if gradients are asked for.
    of : "output" or "gradient"
        What of each layer.
    columns : int
        Layers in a row.

    Returns
    -------
    Figure
        With axes for each layer.

    Raises
    ------
    ArgumentError
        There is no layer, or none with gradients.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> model = fc.nn.Sequential(fc.nn.Dense(8), fc.nn.ReLU()).build((4,), seed=0)
    >>> found = fc.training.diagnostics.layer_statistics(model, np.ones((2, 4), np.float32))
    >>> [ax.get_title() for ax in fc.plot.histograms(found).axes]
    ['0 Dense', '1 ReLU']
    """
    if not isinstance(of, str) or of not in get_args(_Of):
        raise ArgumentError(f"of: got {validate.shown(of)}; allowed: {', '.join(get_args(_Of))}")
    columns = validate.at_least_one(columns, "columns")
    rows = _rows(statistics, "statistics", ("name", "kind", "output", "gradient"), "what layer_statistics returns")
    found = [(row, row.output if of == "output" else row.gradient) for row in rows]
    drawn = [(row, each) for row, each in found if each is not None and any(each.counts)]
    if not drawn:
        raise ArgumentError(f"statistics: got none of a layer's {of}; allowed: of at least one with finite values")
    columns = min(columns, len(drawn))
    figure, axes = new_grid(math.ceil(len(drawn) / columns), columns, 1.9)
    for ax, (row, each) in zip(axes, drawn, strict=False):
        ax.set_axis_on()
        share = np.array(each.counts) / sum(each.counts)
        ax.stairs(share, each.edges, fill=True, color=COLOURS[of == "gradient"])
        ax.set_yscale("log")
        ax.set_ylim(min(1e-4, share[share > 0].min() / 2), 1.5)
        ax.set_title(short(f"{row.name} {row.kind}"), fontsize=8)
        ax.locator_params(axis="x", nbins=3)
        ax.tick_params(labelsize=6)
        ax.xaxis.get_offset_text().set_fontsize(6)
    for ax in axes[len(drawn) :]:
        ax.remove()
    return figure


@plain_names
def dead_units(reports: Mapping[int, _Report], ax: Axes | None = None) -> Axes:
    """Draw the share of units that never fire over the steps of a training, a line for each activation layer.

    A unit is dead if its output is above 0 for no image and place. A ReLU's gradient is then 0 as well, so the weights
    that lead to it get none: only changes of the layers before may open it again
    (https://cs231n.github.io/neural-networks-1/#actfun).

    Parameters
    ----------
    reports : dict of DeadUnitReport
        By step, as `fastconv.training.diagnostics.DeadUnitMonitor` records them.
    ax : Axes or None
        Of a new figure if None.

    Returns
    -------
    Axes
        With a line for each activation layer.

    Raises
    ------
    ArgumentError
        There is no report, or none of a layer.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> model = fc.nn.Sequential(fc.nn.Dense(8), fc.nn.ReLU()).build((4,), seed=0)
    >>> report = fc.training.diagnostics.dead_units(model, np.ones((2, 4), np.float32))
    >>> fc.plot.dead_units({0: report, 10: report}).get_ylabel()
    'units that never fire (%)'
    """
    lines: dict[str, list[tuple[int, float]]] = {}
    given = by_name(reports, "reports", "at least one, by step")
    steps = {validate.at_least(step, 0, "step of reports"): report for step, report in given.items()}
    for step, report in sorted(steps.items()):
        allowed = "what dead_units returns"
        for row in _rows(report, f"reports[{step}]", ("name", "kind", "fraction"), allowed):
            if math.isfinite(row.fraction):
                lines.setdefault(f"{row.name} {row.kind}", []).append((step, 100 * row.fraction))
    if not lines:
        raise ArgumentError("reports: got none of a layer; allowed: of at least one activation layer")
    ax = new_axes(ax)
    _draw_lines(ax, lines)
    ax.set(xlabel="step", ylabel="units that never fire (%)", ylim=(-2, 102))
    ax.locator_params(axis="x", integer=True)
    draw_legend(ax)
    return ax


@plain_names
def update_ratios(records: Sequence[_Ratios], ax: Axes | None = None) -> Axes:
    """Draw how much updates change each parameter: ``norm(change) / norm(values before)``, over the steps.

    The grey line is the usual 1e-3; far above it the learning rate is too high, far below hardly anything is learned
    (https://cs231n.github.io/neural-networks-3/#ratio). Ratios of parameters that were zero are left out.

    Parameters
    ----------
    records : sequence of UpdateRatios
        As `fastconv.training.diagnostics.UpdateRatio` records them.
    ax : Axes or None
        Of a new figure if None.

    Returns
    -------
    Axes
        With the grey line, then one for each parameter.

    Raises
    ------
    ArgumentError
        There is no record, or no finite ratio.

    Examples
    --------
    >>> import fastconv as fc
    >>> records = [fc.training.diagnostics.UpdateRatios(step, {"0.weight": 1e-3}) for step in (1, 2)]
    >>> fc.plot.update_ratios(records).get_yscale()
    'log'
    """
    lines: dict[str, list[tuple[int, float]]] = {}
    for record in listed(records, "records", "a sequence of UpdateRatios"):
        has(record, "records", ("step", "ratios"), "UpdateRatios in a sequence")
        ratios = by_name(record.ratios, "ratios of records") if record.ratios != {} else {}
        step, *found = numbers([record.step, *ratios.values()], "records").tolist()
        for name, ratio in zip(ratios, found, strict=True):
            if math.isfinite(step) and math.isfinite(ratio) and ratio > 0:
                lines.setdefault(name, []).append((step, ratio))
    if not lines:
        raise ArgumentError("records: got no ratio; allowed: at least one record with a parameter that changed")
    ax = new_axes(ax)
    ax.axhline(1e-3, color="0.8", linewidth=3, zorder=0)
    _draw_lines(ax, lines)
    ax.set(xlabel="step", ylabel="update / weight", yscale="log")
    ax.locator_params(axis="x", integer=True)
    draw_legend(ax, "x-small")
    return ax


def _rows(given: Any, name: str, attributes: Sequence[str], allowed: str) -> list[Any]:
    rows = listed(has(given, name, ("rows",), allowed).rows, f"rows of {name}", allowed)
    return [has(row, f"rows of {name}", attributes, allowed) for row in rows]


def _draw_lines(ax: Axes, lines: Mapping[str, Sequence[tuple[int, float]]]) -> None:
    for number, (name, points) in enumerate(lines.items()):
        ax.plot(*zip(*points, strict=True), label=legend_label(name), **line_style(number, len(points)))
