"""Initial values: spread and bounds of what is drawn."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn


@pytest.mark.parametrize(
    ("init", "std", "bias"),
    [
        ("default", (1 / 800) ** 0.5 / 3**0.5, True),
        ("he_normal", (2 / 800) ** 0.5, False),
        ("glorot_uniform", (2 / (800 + 1600)) ** 0.5, False),
        ("lecun_normal", (1 / 800) ** 0.5, False),
        ("zeros", 0.0, False),
    ],
)
def test_initial_values(init, std, bias):
    with fc.use_backend("numpy"):
        layer = nn.Conv2d(64, 5, init=init).build((8, 8, 32), np.float64)
    assert layer.weight.data.std() == pytest.approx(std, rel=0.01)
    assert abs(layer.weight.data.mean()) <= 0.01 * (std or 0.0) + 1e-4 * (std > 0)
    assert layer.bias.data.any() == bias


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        # fan_in 5 * 5 * 8 and fan_out 5 * 5 * 16 of each of four groups
        (lambda init: nn.Conv2d(64, 5, groups=4, init=init), {"default": 1 / 200**0.5, "glorot_uniform": 0.1}),
        (lambda init: nn.Dense(300, init=init), {"default": 1 / 800**0.5, "glorot_uniform": (6 / 1100) ** 0.5}),
    ],
)
@pytest.mark.parametrize("init", ["default", "glorot_uniform"])
def test_bounds_of_uniform_values(make, bound, init):
    layer = make(init)
    with fc.use_backend("numpy"):
        layer.build((8, 8, 32) if isinstance(layer, nn.Conv2d) else (800,), np.float64, seed=1)
    largest = np.abs(layer.weight.data).max()
    assert bound[init] * 0.999 < largest <= bound[init]
    assert bool(np.any(layer.bias.data)) is (init == "default")
    if init == "default":
        assert bound[init] * 0.8 < np.abs(layer.bias.data).max() <= bound[init]
