"""Numbers and sizes as arguments: the limits themselves, and what is no number."""

from __future__ import annotations

import math

import numpy as np
import pytest

import fastconv as fc
from fastconv import _validate as validate
from fastconv import nn
from fastconv.errors import ArgumentError, DTypeError, ShapeError

NO_NUMBER = [math.nan, math.inf, -math.inf, np.float32("nan"), "x", "0.5", b"0.5", np.str_("1"), None, [1.0], 1j, True]


@pytest.mark.parametrize("limits", [{}, {"low": 0}, {"low": 0, "open_low": True}, {"low": 0, "high": 1}, {"high": 1}])
@pytest.mark.parametrize(
    "value", [*NO_NUMBER, -1e300, -1e-300, 0, 1e-300, 0.5, math.nextafter(1, 0), 1, 2, np.float32(0.25), np.True_]
)
def test_number(value, limits):
    """What lies within the limits comes back as a float, all else is refused: with no limit at all infinity too."""
    counts = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    wanted = float(value) if counts else math.nan
    low, high = limits.get("low", -math.inf), limits.get("high", math.inf)
    within = math.isfinite(wanted) and wanted < high and (wanted > low if limits.get("open_low") else wanted >= low)
    if within:
        got = validate.number(value, "name", **limits)
        assert type(got) is float
        assert got == wanted
    else:
        with pytest.raises(ArgumentError, match=r"name: got .*; allowed: a finite number"):
            validate.number(value, "name", **limits)


@pytest.mark.parametrize("value", NO_NUMBER)
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (nn.LeakyReLU, "slope"),
        (nn.ELU, "alpha"),
        (nn.Scale, "factor"),
        (nn.Dropout, "p"),
        (lambda eps: nn.BatchNorm2d(eps=eps), "eps"),
        (lambda momentum: nn.BatchNorm2d(momentum=momentum), "momentum"),
    ],
)
def test_settings_of_layers_are_finite(make, name, value):
    with pytest.raises(ArgumentError, match=f"{name}: got"):
        make(value)


@pytest.mark.parametrize("value", [0, -1, 1.0, "3", None, math.inf, np.float64(2), [1], True, np.True_])
def test_at_least_one_refuses(value):
    with pytest.raises(ArgumentError, match=r"name: got .*; allowed: an int of at least 1"):
        validate.at_least_one(value, "name")


@pytest.mark.parametrize("value", [1, 7, np.int8(3), np.uint64(5)])
def test_at_least_one_takes(value):
    assert validate.at_least_one(value, "name") == int(value)


@pytest.mark.parametrize("value", [(), (3, 0), (-1,), (2.0,), "32", None, 5, ((1, 2),), (3, True)])
def test_sizes_refuse(value):
    with pytest.raises(ShapeError, match=r"name: got .*; allowed: some, each an int of at least 1"):
        validate.sizes(value, "name", "some")


@pytest.mark.parametrize("value", [True, (1, True), np.True_])
def test_a_truth_is_no_size(value):
    with pytest.raises(ShapeError, match=r"kernel_size: got .*True.*; allowed: an int or a pair"):
        nn.Conv2d(3, value)


def test_sizes_take():
    assert validate.sizes(np.array([3, 1, 2]), "name", "some") == (3, 1, 2)
    assert validate.sizes([np.int64(4)], "name", "some") == (4,)


@pytest.mark.parametrize("value", ["float32", "f4", np.float32, float, ">f8", np.dtype(np.float64)])
def test_floating_dtypes(value):
    dtype = np.dtype(value)
    if dtype.isnative:
        assert validate.floating_dtype(value) == dtype
    else:
        with pytest.raises(DTypeError):
            validate.floating_dtype(value)


def test_labels_at_the_limits():
    with fc.use_backend("numpy") as backend:
        taken = validate.labels(backend, np.array([0, 4], np.uint8), "y", batch=2, classes=5)
        assert taken.dtype == np.int32
        for wrong in ([0, 5], [-1, 4]):
            with pytest.raises(ArgumentError, match=r"y: got (5|-1); allowed: class numbers from 0 to 4"):
                validate.labels(backend, np.array(wrong), "y", batch=2, classes=5)
        with pytest.raises(ShapeError, match="y: got shape"):
            validate.labels(backend, np.array([0, 4]), "y", batch=3, classes=5)


def test_another_float_type_is_told_what_to_write():
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Dense(2)).build((3,))
        x = fc.asarray([[1.0, 2.0, 3.0]])
        with pytest.raises(DTypeError, match=r"allowed: float32, that of the model \(use x.astype\('float32'\)\)$"):
            model(x)
        assert model(x.astype("float32")).shape == (1, 2)
