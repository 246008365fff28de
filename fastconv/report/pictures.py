"""Pictures within a page: Matplotlib's SVG in the colours of the page, and PNG as data."""

from __future__ import annotations

import base64
import contextlib
import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from fastconv.errors import DependencyError
from fastconv.nn import Conv2d
from fastconv.plot import COLOURS, curves
from fastconv.plot.axes import in_range
from fastconv.training.history import History

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_WIDTH, _HEIGHT = 5.2, 3.0  # inches; a column of the page is about as many points wide
SIGNS = "\u25cf\u25a0\u25b2\u25c6\u25bc\u271a\u2716"
"""The marks of `fastconv.plot` in text: runs can be told apart without colours, too."""
_EVERY = 20  # marks on a curve, about
_SIDE = 48  # pixels of the images that are shown
_FAINT = "#b0b0b0"
# In the page these are variables, which are other colours in the dark and on paper.
_VARIABLES = {
    **{colour.lower(): f"var(--s{number})" for number, colour in enumerate(COLOURS[:-1])},
    COLOURS[-1]: "var(--ink)",
    _FAINT: "var(--faint)",
}
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fastconv",
    "path.simplify": True,
    "path.simplify_threshold": 0.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": COLOURS[-1],
    "axes.labelcolor": COLOURS[-1],
    "text.color": COLOURS[-1],
    "xtick.color": COLOURS[-1],
    "ytick.color": COLOURS[-1],
    "axes.grid": True,
    "grid.color": _FAINT,
    "grid.linewidth": 0.5,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "font.size": 10.0,
    "lines.linewidth": 1.6,
}


def need_packages() -> None:
    """Refuse to begin without what the extra brings."""
    for name in ("jinja2", "matplotlib", "PIL"):
        try:
            __import__(name)
        except ImportError as error:
            raise DependencyError(
                f"report: got no {name} ({error}); allowed: where it is installed (pip install 'fastconv[report]')"
            ) from error


def chosen(curves: Sequence[Sequence[float]], points: int) -> list[int]:
    """Return at most so many places of curves, evenly, with the first, the last, and the least and greatest of each."""
    epochs = max(map(len, curves))
    if epochs <= points:
        return list(range(epochs))
    ends: set[int] = set()
    for values in map(np.asarray, curves):
        (finite,) = np.nonzero(np.isfinite(values))
        if finite.size:
            ends |= {int(finite[find(values[finite])]) for find in (np.argmin, np.argmax)}
    return sorted(ends | {round(place) for place in np.linspace(0, epochs - 1, points - 2 * len(curves)).tolist()})


def chart(runs: Mapping[str, History], quantity: str, points: int, key: str) -> dict[str, Any]:
    """Draw a quantity of runs by epoch.

    Parameters
    ----------
    runs : dict
        In the order of their colours; those without the quantity too.
    points : int
        How many of each curve at most, and at least 6.
    key : str
        What makes the picture's names unique on the page.

    Returns
    -------
    dict
        "svg"; "about", what it shows in words; and "data" for who points at it: the epochs, the place of the axes in
        the picture, and the values of each curve.
    """
    series: list[dict[str, Any]] = []
    with _figure(_WIDTH, _HEIGHT) as figure:
        ax = figure.subplots()
        curves({str(number): run for number, run in enumerate(runs.values())}, quantity, ax=ax)  # names are no markup
        ax.legend().remove()  # the page has one, and the name above the picture
        ax.set_ylabel("")
        drawn = iter(list(ax.lines))
        for number, (name, run) in enumerate(runs.items()):
            found = {"training": run.history.get(quantity), "validation": run.history.get(f"val_{quantity}")}
            shown = {part: values for part, values in found.items() if values}
            at = chosen(list(shown.values()), points) if shown else []
            for part, values in shown.items():
                line, places = next(drawn), [place for place in at if place < len(values)]
                line.set_data([place + 1 for place in places], [values[place] for place in places])
                line.set_markevery(max(len(places) // _EVERY, 1))
                texts = [_figures(values[place]) for place in places]
                series.append({"run": name, "colour": number, "part": part, "at": places, "values": texts})
        svg = _svg(figure, key, quantity.replace("_", " "), about := _in_words(quantity, series))
        (left, bottom), (right, top) = ax.transAxes.transform([(0, 0), (1, 1)]) * 72 / figure.dpi
        height = 72 * _HEIGHT
        axes = {"x": [left, right, *ax.get_xlim()], "y": [height - bottom, height - top, *ax.get_ylim()]}
    data = {"axes": axes, "series": series, "epochs": sorted({place for each in series for place in each["at"]})}
    return {"quantity": quantity.replace("_", " "), "svg": svg, "about": about, "data": data}


def filters(layer: Conv2d, most: int) -> str:
    """Return the filters of a convolution that sees images, side by side in one PNG, each stretched to its range."""
    weights = layer.backend.to_numpy(layer.weight.data)[..., :most]
    rows, columns, channels, count = weights.shape
    across = min(count, 8)
    page = np.full((math.ceil(count / across) * (rows + 1) - 1, across * (columns + 1) - 1, channels + 1), 0, np.uint8)
    for number in range(count):
        top, left = number // across * (rows + 1), number % across * (columns + 1)
        page[top : top + rows, left : left + columns, :-1] = np.rint(255 * in_range(weights[..., number]))
        page[top : top + rows, left : left + columns, -1] = 255
    return png(page)


def heat(shares: np.ndarray) -> str:
    """Return a matrix of shares, 0 to 1, as a PNG of a pixel each."""
    alpha = np.rint(255 * np.sqrt(shares))  # small ones are what one looks for
    colour = [int(COLOURS[0][place : place + 2], 16) for place in (1, 3, 5)]
    return png(np.dstack([np.full(shares.shape, part) for part in colour] + [alpha]).astype(np.uint8))


def small(image: np.ndarray) -> str:
    """Return an image as PNG, at most 48 pixels high and wide."""
    from PIL import Image

    if max(image.shape[:2]) > _SIDE:
        scale = _SIDE / max(image.shape[:2])
        size = [max(round(scale * side), 1) for side in image.shape[1::-1]]
        image = np.asarray(Image.fromarray(image.squeeze()).resize(size, Image.Resampling.BOX))
    return png(image)


def png(pixels: np.ndarray) -> str:
    """Return uint8 pixels of 1 (grey), 2 (grey, opacity), 3 or 4 channels as a data URL."""
    from PIL import Image

    file = io.BytesIO()
    shown = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    Image.fromarray(np.ascontiguousarray(shown)).save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@contextlib.contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """Make a figure that no notebook shows by itself, in the page's style."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has other fonts
        yield Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, key: str, title: str, about: str) -> str:
    """Return a figure as an element of the page, whose names begin with `key`."""
    file = io.StringIO()
    figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", text, flags=re.S)
    head, rest = re.sub(r"<[^>]*>", lambda tag: _in_page(tag[0], key), text).split(">", 1)
    head = re.sub(r' (width|height|version|xmlns:xlink)="[^"]*"', "", head)
    named = f'<title id="{key}-title">{escape(title)}</title><desc id="{key}-about">{escape(about)}</desc>'
    head += f' role="img" aria-labelledby="{key}-title {key}-about"'
    return re.sub(r">\s+<", "><", f"{head}>{named}{rest}").strip()


def _in_page(tag: str, key: str) -> str:
    """Return a tag with names of its own, the page's colours and fonts, and fewer decimals."""
    tag = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{key}-", tag)
    tag = re.sub(r"#[0-9a-f]{6}\b", lambda colour: _VARIABLES.get(colour[0], colour[0]), tag)
    tag = re.sub(r"font: ([0-9.]+px) [^;\"]*", r"font-size: \1", tag)
    tag = re.sub(r"\s+", " ", tag).replace("xlink:href", "href")
    return re.sub(r"\d+\.\d{2,}", lambda number: f"{float(number[0]):.1f}".removesuffix(".0"), tag)


def _figures(value: float) -> float | None:
    """Return six significant digits, which is what is shown; None if it is no number."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def _in_words(quantity: str, series: list[dict[str, Any]]) -> str:
    told = []
    for each in series:
        first, last = each["values"][0], each["values"][-1]
        told.append(f"{each['run']}, {each['part']}: {first} in epoch 1, {last} in epoch {each['at'][-1] + 1}")
    return f"{quantity.replace('_', ' ')} by epoch. {'; '.join(told)}."
