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
        ("unit_std", 1.0, False),
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


@pytest.mark.parametrize(("channels", "groups"), [(7, 1), (3, 1), (12, 2)])
def test_dirac_hands_channels_on(channels, groups):
    """The first filters of each group; what others are, "default" draws."""
    inputs = 4 // groups
    with fc.use_backend("numpy"):
        settings = {"padding": "same", "groups": groups, "bias": False}
        made, plain = (
            nn.Conv2d(channels, (3, 4), init=init, **settings).build((5, 6, 4), np.float64, seed=2)
            for init in ("dirac", "default")
        )
        x = np.random.default_rng(0).standard_normal((2, 5, 6, 4))
        y = made(x)
    for group in range(groups):
        first, count = group * channels // groups, min(inputs, channels // groups)
        # an even size has its centre behind the middle, and "same" puts the odd cell at the end
        want = np.roll(x, -1, 2)[:, :, :-1, group * inputs : group * inputs + count]
        np.testing.assert_array_equal(y[:, :, :-1, first : first + count], want)
        others = slice(first + count, (group + 1) * channels // groups)
        np.testing.assert_array_equal(made.weight.data[..., others], plain.weight.data[..., others])


def test_dirac_of_other_layers():
    with fc.use_backend("numpy"):
        dense = nn.Dense(3, init="dirac").build((5,), np.float64)
        np.testing.assert_array_equal(dense.weight.data[:, :3], np.eye(5, 3))
        depthwise = nn.DepthwiseConv2d(3, 1, init="dirac").build((4, 4, 2), np.float64)
        np.testing.assert_array_equal(depthwise.weight.data[1, 1], [[1, 1]])
        assert depthwise.weight.data.sum() == 2
        transposed = nn.ConvTranspose2d(4, 3, padding=1, init="dirac").build((5, 5, 4), np.float64)
        x = np.arange(100.0).reshape(1, 5, 5, 4)
        np.testing.assert_array_equal(transposed(x), x)


@pytest.mark.peer
@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(4, 4, 1), (6, 3, 1), (8, 8, 4)])
def test_dirac_is_that_of_pytorch(inputs, outputs, groups):
    """Where there are no more filters than inputs; beyond, PyTorch's are zero."""
    torch = pytest.importorskip("torch")
    with fc.use_backend("numpy"):
        layer = nn.Conv2d(outputs, (5, 2), groups=groups, init="dirac").build((6, 6, inputs), np.float64)
    want = torch.nn.init.dirac_(torch.empty(outputs, inputs // groups, 5, 2), groups)
    np.testing.assert_array_equal(layer.weight.data, want.numpy().transpose(2, 3, 1, 0))


def test_one_weight_is_not_divided_by_zero():
    with fc.use_backend("numpy"):
        assert np.isfinite(nn.Dense(1, init="unit_std").build((1,)).weight.data).all()
        with pytest.raises(fc.errors.ArgumentError, match=r"init: got 'ones'; allowed: default, .*dirac, unit_std"):
            nn.Dense(1, init="ones")
