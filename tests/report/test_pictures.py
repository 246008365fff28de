"""Pictures of a page: the numbers behind them, and names and colours that are the page's own."""

import base64
import html
import io
import re

import numpy as np
import pytest

from fastconv.nn import Conv2d
from fastconv.plot.axes import MARKERS
from fastconv.report import pictures
from fastconv.report.runs import MOST
from fastconv.training.history import History

from .made import HISTORY, long_history


def pixels(url):
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))))


def test_a_chart_holds_what_the_history_holds():
    data = pictures.chart({"a": HISTORY}, "loss", 100, "k")["data"]
    assert [(each["run"], each["part"], each["colour"]) for each in data["series"]] == [
        ("a", "training", 0),
        ("a", "validation", 0),
    ]
    assert data["series"][0]["values"] == [2.25, 1.5, 0.751235]
    assert data["epochs"] == [0, 1, 2]


def test_the_numbers_lead_to_the_points_that_are_drawn():
    chart = pictures.chart({"a": HISTORY}, "loss", 100, "k")
    left, right, low, high = chart["data"]["axes"]["x"]
    bottom, top, least, most = chart["data"]["axes"]["y"]
    drawn = re.findall(r'd="M ([\d.]+) ([\d.]+) L ([\d.]+) ([\d.]+) L ([\d.]+) ([\d.]+)', chart["svg"])
    expected = [
        number
        for epoch, value in enumerate(HISTORY.history["loss"], 1)
        for number in (
            left + (epoch - low) / (high - low) * (right - left),
            bottom + (value - least) / (most - least) * (top - bottom),
        )
    ]
    assert any(np.allclose([float(part) for part in path], expected, atol=0.11) for path in drawn)


def test_long_curves_are_thinned_and_keep_their_ends():
    history = long_history(1000)
    series = pictures.chart({"a": history}, "loss", 50, "k")["data"]["series"][0]
    assert 46 <= len(series["at"]) <= 50
    assert (series["at"][0], series["at"][-1]) == (0, 999)
    assert series["values"] == [float(f"{history.history['loss'][place]:.6g}") for place in series["at"]]


def test_runs_can_be_told_apart_without_colours():
    svg = pictures.chart({"a": HISTORY, "b": HISTORY}, "loss", 100, "k")["svg"]
    signs = re.findall(r'<defs><path id="[^"]+" d="([^"]+)" style="stroke: var\(--s([01])\)', svg)
    shapes = {colour: {shape for shape, other in signs if other == colour} for colour in "01"}
    assert shapes["0"]
    assert shapes["1"]
    assert not shapes["0"] & shapes["1"]
    assert len(pictures.SIGNS) == MOST <= len(MARKERS)


def test_what_is_not_finite_and_what_a_run_lacks_are_left_out():
    runs = {"a": History({"loss": [1.0, float("nan"), 2.0]}), "b": History({"error": [1.0]})}
    (series,) = pictures.chart(runs, "loss", 100, "k")["data"]["series"]
    assert series["values"] == [1.0, None, 2.0]
    (series,) = pictures.chart(runs, "error", 100, "k")["data"]["series"]
    assert (series["run"], series["colour"]) == ("b", 1)


@pytest.mark.parametrize("name", ["$x^{$", "_hidden", "<b>", "日本", "a\\frac"])
def test_a_name_is_no_markup(name):
    chart = pictures.chart({name: HISTORY}, "loss", 100, "k")
    assert "<b>" not in chart["svg"]
    (about,) = re.findall(r"<desc[^>]*>([^<]*)</desc>", chart["svg"])
    assert html.unescape(about).startswith(f"loss by epoch. {name}, training: 2.25 in epoch 1, 0.751235 in epoch 3")


def test_names_and_colours_are_those_of_the_page():
    one, two = (pictures.chart({"a": HISTORY, "b": HISTORY}, "loss", 100, key)["svg"] for key in ("k1", "k2"))
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, two)]
    assert not ids[0] & ids[1]
    used = set(re.findall(r'(?:href="|url\()#([^")]+)', one))
    assert used
    assert used <= ids[0]
    assert {"var(--s0)", "var(--s1)", "var(--ink)", "var(--faint)"} <= set(re.findall(r"var\(--\w+\)", one))
    assert not re.findall(r":\s*#[0-9a-f]{6}", one)
    assert "http" not in one.replace("http://www.w3.org/2000/svg", "")


def test_filters_are_side_by_side(run):
    layer = Conv2d(10, 3).build((8, 8, 3))
    shown = pixels(pictures.filters(layer, 9))
    assert shown.shape == (7, 31, 4)
    weights = np.asarray(layer.weight.data)[..., 8]
    scaled = np.rint(255 * (weights - weights.min()) / (weights.max() - weights.min()))
    np.testing.assert_array_equal(shown[4:7, :3, :3], scaled)
    assert shown[3].max() == 0  # between them nothing
    assert pixels(pictures.filters(Conv2d(2, 3).build((8, 8, 1)), 9)).shape == (3, 7, 2)


@pytest.mark.parametrize(
    ("shape", "shown"), [((32, 20, 3), (32, 20, 3)), ((28, 28, 1), (28, 28)), ((96, 192, 3), (24, 48, 3))]
)
def test_images_are_small(shape, shown):
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    got = pixels(pictures.small(image))
    assert got.shape == shown
    if max(shape) <= 48:
        np.testing.assert_array_equal(got, image.squeeze())
    else:
        np.testing.assert_allclose(got, image.reshape(24, 4, 48, 4, 3).mean((1, 3)), atol=1)


def test_the_heat_of_a_share_is_its_opacity():
    shown = pixels(pictures.heat(np.array([[1.0, 0.0], [0.25, 0.75]])))
    assert shown.shape == (2, 2, 4)
    assert shown[..., 3].tolist() == [[255, 0], [128, 221]]


def test_chosen_places_are_the_ends_the_extremes_and_some_between():
    assert pictures.chosen([range(5)], 10) == [0, 1, 2, 3, 4]
    assert pictures.chosen([[1.0]], 6) == [0]
    assert pictures.chosen([[1.0] * 21], 5) == [0, 10, 20]
    losses, validation = np.ones(1001), np.full(901, np.nan)
    losses[[333, 77, 5]] = 9.0, -1.0, np.inf
    assert pictures.chosen([losses], 5) == [0, 77, 333, 500, 1000]
    assert pictures.chosen([losses, validation], 7) == [0, 77, 333, 500, 1000]
    validation[[12, 17]] = 0.5, 0.25
    assert pictures.chosen([losses, validation], 7) == [0, 12, 17, 77, 333, 500, 1000]


def test_the_least_and_the_greatest_value_of_a_long_curve_are_drawn():
    losses = np.linspace(2, 1, 10_000)
    losses[[1234, 4321]] = 50.0, -3.0
    (series,) = pictures.chart({"a": History({"loss": losses.tolist()})}, "loss", 20, "k")["data"]["series"]
    assert {1234: 50.0, 4321: -3.0}.items() <= dict(zip(series["at"], series["values"], strict=True)).items()
    assert len(series["at"]) == 20
