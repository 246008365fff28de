"""What augmentations draw: how often, how far, and what they refuse."""

import copy
import inspect
import math
import pickle

import numpy as np
import pytest

import fastconv as fc
from fastconv.data import Affine, Augmentation, ColorJitter, Crop, Flip, Translate
from fastconv.data.draws import Draws
from fastconv.errors import ArgumentError, UnknownAttributeError

COUNT = 9000
CLASSES = [getattr(fc.data, name) for name in fc.data.__all__ if inspect.isclass(getattr(fc.data, name))]
CLASSES = [cls for cls in CLASSES if issubclass(cls, Augmentation) and cls is not Augmentation]


def drawn(augmentation, shape=(32, 24, 3), *, epoch=0, seed=1, count=COUNT):
    return augmentation.columns(Draws(seed, epoch, 0, np.arange(count), 1), shape)


def assert_even(values, expected):
    """Values are those expected, each as often, within five deviations."""
    found, counts = np.unique(values, return_counts=True)
    assert found.tolist() == list(expected)
    share = 1 / len(expected)
    assert np.abs(counts - COUNT * share).max() < 5 * math.sqrt(COUNT * share * (1 - share))


@pytest.mark.parametrize("p", [0.5, 0.1])
@pytest.mark.parametrize("mode", ["random", "alternating"])
def test_flips_are_as_frequent_as_told(mode, p):
    share = drawn(Flip(mode, p))["mirrored"].mean()
    assert abs(share - p) < 5 * math.sqrt(p * (1 - p) / COUNT)
    assert not drawn(Flip(mode, 0.0))["mirrored"].any()
    assert drawn(Flip(mode, 1.0))["mirrored"].all()


def test_random_flips_are_drawn_anew_and_alternating_ones_change_sides():
    random, alternating = Flip(), Flip("alternating")
    first, second, third = (drawn(alternating, epoch=epoch)["mirrored"] for epoch in range(3))
    assert (first != second).all()
    assert (first == third).all()
    assert (first != drawn(alternating, seed=2)["mirrored"]).any()
    same = (drawn(random, epoch=0)["mirrored"] == drawn(random, epoch=1)["mirrored"]).mean()
    assert abs(same - 0.5) < 0.03


def test_alternating_flips_go_with_the_image_and_not_with_its_place():
    order = np.random.default_rng(0).permutation(50)
    in_order = Flip("alternating").columns(Draws(3, 0, 0, np.arange(50)), (8, 8, 3))["mirrored"]
    shuffled = Flip("alternating").columns(Draws(3, 0, 100, order), (8, 8, 3))["mirrored"]
    np.testing.assert_array_equal(shuffled, in_order[order])


def test_crops_are_even_and_independent():
    changes = drawn(Crop(2, "reflect"))
    assert changes["reflected"]
    assert not drawn(Crop(2))["reflected"]
    assert_even(changes["shift_y"], range(-2, 3))
    assert_even(changes["shift_x"], range(-2, 3))
    assert_even(5 * changes["shift_y"] + changes["shift_x"], range(-12, 13))


def test_translations_are_shares_of_the_size():
    changes = drawn(Translate(0.1, 0.25))
    assert_even(changes["shift_y"], range(-3, 4))
    assert_even(changes["shift_x"], range(-6, 7))
    assert not drawn(Translate(0, 0.01))["shift_y"].any()


def matrices(changes):
    """Return the linear part of where pixels come from, and the offsets seen from the centre of 32 x 24 pixels."""
    one = np.ones(COUNT)
    linear = np.array([[changes["xx"] * one, changes["xy"] * one], [changes["yx"] * one, changes["yy"] * one]])
    offset = np.array([changes["x0"], changes["y0"]]) + np.einsum("ijb,j->ib", linear, [11.5, 15.5])
    return linear.transpose(2, 0, 1), offset.T - [11.5, 15.5]


def test_rotations_turn_about_the_centre():
    linear, offset = matrices(drawn(Affine(30)))
    np.testing.assert_allclose(
        linear @ linear.transpose(0, 2, 1), np.broadcast_to(np.eye(2), (COUNT, 2, 2)), atol=1e-12
    )
    np.testing.assert_allclose(offset, 0, atol=1e-12)
    angles = np.degrees(np.arctan2(linear[:, 0, 1], linear[:, 0, 0]))
    assert_even(np.floor(angles / 10), range(-3, 3))
    assert not drawn(Affine())["x0"].any()


def test_affine_is_scale_rotation_shear_and_shift():
    linear, offset = matrices(drawn(Affine((10, 40), (0.25, 0.1), (0.5, 2), (5, 15, -20, 20))))
    forward = np.linalg.inv(linear)
    scale = np.sqrt(np.linalg.det(forward))
    assert 0.5 <= scale.min() < 0.51 < 1.99 < scale.max() <= 2
    shift = np.einsum("bij,bj->bi", -forward, offset)
    np.testing.assert_allclose(shift, np.round(shift), atol=1e-9)
    assert np.abs(np.round(shift)).max(0).tolist() == [6, 3]
    # Of A = scale * R(angle) * [[1, 0], [-tan y, 1]] * [[1, -tan x], [0, 1]], where the second column of R(angle) S_y
    # is (-sin, cos) of the angle, whatever the shears are.
    unit = forward / scale[:, None, None]
    angle_minus_y = np.degrees(np.arctan2(unit[:, 1, 0], unit[:, 0, 0]))
    assert -10.1 < angle_minus_y.min() < -5
    assert 55 < angle_minus_y.max() < 60.1


def test_one_draw_of_affine_is_that_of_its_formula():
    """All ranges are single numbers, so that nothing is left to chance."""
    angle, x, y = np.radians([25, 10, -5])
    changes = drawn(Affine((25, 25), (0, 0), (1.5, 1.5), (10, 10, -5, -5)), count=1)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    shear_y, shear_x = np.array([[1, 0], [-np.tan(y), 1]]), np.array([[1, -np.tan(x)], [0, 1]])
    want = np.linalg.inv(1.5 * rotation @ shear_y @ shear_x)
    got = [[changes[name][0] for name in names] for names in (("xx", "xy"), ("yx", "yy"))]
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_colours_are_drawn_from_their_ranges_in_any_order():
    changes = drawn(ColorJitter(0.2, (0.5, 0.7), 1.5, 0.1))
    ranges = {"brightness": (0.8, 1.2), "contrast": (0.5, 0.7), "saturation": (0, 2.5), "hue": (-0.1, 0.1)}
    for name, (low, high) in ranges.items():
        assert_even(np.floor((changes[name] - low) / (high - low) * 10), range(10))
    orders = np.array([changes["order"] >> 2 * step & 3 for step in range(4)])
    np.testing.assert_array_equal(np.sort(orders, 0), np.arange(4)[:, None] * np.ones((1, COUNT), int))
    assert_even(changes["order"], sorted(set(changes["order"])))
    assert len(set(changes["order"])) == 24


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Flip("sometimes"), "mode: got 'sometimes'; allowed: 'random', 'alternating'"),
        (lambda: Flip(p=1.5), "p: got 1.5; allowed: a number from 0 to 1"),
        (lambda: Crop(-1), "pad: got -1; allowed: "),
        (lambda: Crop(2, "wrap"), "mode: got 'wrap'; allowed: 'zero', 'reflect'"),
        (lambda: Translate(1.0), "height: got 1.0; allowed: "),
        (lambda: Translate(width="far"), "width: got 'far'; allowed: "),
        (lambda: Affine(-5), "degrees: got -5; allowed: numbers, one or a pair, the lower first"),
        (lambda: Affine((5, 1)), r"degrees: got \(5, 1\)"),
        (lambda: Affine(math.inf), "degrees: got inf"),
        (lambda: Crop(padding=4), r"padding: got it for Crop, .*; allowed: pad, mode \(nearest: 'pad'\)"),
        (
            lambda: fc.data.FlipCrop(padding=4),
            r"padding: got it for FlipCrop, .*\(nearest: 'pad'\)",
        ),
        (lambda: fc.data.Cutout(size=8), r"size: got it for Cutout, .*\(nearest: 'length'\)"),
        (lambda: Crop(4, "zero", 3), "arguments: got 3 without a name for Crop; allowed: 2, as in Crop"),
        (lambda: Affine("30"), "degrees: got '30'; allowed: numbers, one or a pair"),
        (lambda: Affine((1, 2, 3)), r"degrees: got \(1, 2, 3\)"),
        (lambda: ColorJitter(hue=("0", "0.5")), r"hue: got \('0', '0.5'\)"),
        (lambda: Affine(scale=(0, 1)), r"scale: got \(0, 1\); allowed: numbers above 0"),
        (lambda: Affine(scale=2), "scale: got 2; allowed: "),
        (lambda: Affine(translate=0.1), "translate: got 0.1; allowed: a pair of numbers"),
        (lambda: Affine(translate=(0.1, 2)), "translate: got 2; allowed: a number from 0 to 1"),
        (lambda: Affine(shear=90), "shear: got 90; allowed: numbers from -89 to 89"),
        (lambda: Affine(shear=(1, 2, 3)), r"shear: got \(1, 2, 3\)"),
        (lambda: ColorJitter(-0.1), "brightness: got -0.1; allowed: "),
        (lambda: ColorJitter(contrast=(0.5, 0.2)), r"contrast: got \(0.5, 0.2\); allowed: numbers of at least 0"),
        (lambda: ColorJitter(hue=0.6), "hue: got 0.6; allowed: numbers from -0.5 to 0.5"),
    ],
)
def test_what_cannot_be_drawn_is_refused(make, message):
    with pytest.raises(ArgumentError, match=f"^{message}"):
        make()


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_augmentations_are_values(cls):
    one, two = cls(), cls()
    assert one == two
    assert hash(one) == hash(two)
    assert pickle.loads(pickle.dumps(one)) == copy.deepcopy(one) == one
    settings = inspect.signature(cls).parameters
    assert {name: parameter.default for name, parameter in settings.items()} == vars(one)
    assert repr(one) == f"{cls.__name__}({', '.join(f'{name}={value!r}' for name, value in vars(one).items())})"
    with pytest.raises(UnknownAttributeError, match=r"^p: got a new value"):
        one.p = 0.3
    assert one != Flip(p=0.123)
    assert one.misfit((32, 32, 3)) == ""


def test_there_are_all_kinds():
    assert len(CLASSES) == 9
