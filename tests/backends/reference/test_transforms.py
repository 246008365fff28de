"""The reference's changes of images against values computed by hand, and against PyTorch's bilinear samples."""

import colorsys
import itertools

import numpy as np
import pytest

from fastconv.backends import get_backend, use_backend
from fastconv.kernels.transforms import BRIGHTNESS, CONTRAST, HUE, SATURATION
from tests.backends.cases.transforms import order, rows

ROW = np.array([[[[10], [20], [30], [40]]]], np.uint8)  # one row of four pixels


def changed(images, count=1, **changes):
    """Return what comes of the first image, as bytes where they are whole."""
    images = np.asarray(images)
    out = np.empty((count, *images.shape[1:]))
    given = (images, np.arange(count), rows(count, changes))
    mean, std = np.zeros(images.shape[3]), np.full(images.shape[3], 1 / 255)
    with use_backend("numpy"):
        get_backend().transform_images(*given, mean=mean, std=std, out=out)
    return np.round(out, 9)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [10, 20, 30, 40]),
        ({"mirrored": 1}, [40, 30, 20, 10]),
        ({"shift_x": 1}, [20, 30, 40, 0]),
        ({"shift_x": -2}, [0, 0, 10, 20]),
        ({"shift_x": 1, "mirrored": 1}, [0, 40, 30, 20]),
        ({"shift_x": 2, "reflected": 1}, [30, 40, 30, 20]),
        ({"shift_x": -3, "reflected": 1}, [40, 30, 20, 10]),
        ({"shift_x": 9}, [0, 0, 0, 0]),
        ({"resampled": 1}, [10, 20, 30, 40]),
        ({"resampled": 1, "x0": 0.5}, [15, 25, 35, 20]),
        ({"resampled": 1, "x0": -0.25}, [7.5, 17.5, 27.5, 37.5]),
        ({"resampled": 1, "xx": 2, "x0": -1.5}, [0, 15, 35, 0]),
        ({"resampled": 1, "y0": 0.25}, [7.5, 15, 22.5, 30]),
        ({"resampled": 1, "x0": 0.5, "shift_x": 1}, [25, 35, 20, 0]),
        ({"resampled": 1, "x0": 0.5, "mirrored": 1}, [35, 25, 15, 5]),
        ({"erase_bottom": 1, "erase_left": 1, "erase_right": 3, "erase_value": 7}, [10, 7, 7, 40]),
        ({"coloured": 1, "brightness": 2}, [20, 40, 60, 80]),
        ({"coloured": 1, "brightness": 10}, [100, 200, 255, 255]),
        ({"coloured": 1, "contrast": 0}, [25, 25, 25, 25]),
        ({"coloured": 1, "contrast": 2}, [0, 15, 35, 55]),
        ({"coloured": 1, "contrast": 0, "brightness": 10, "order": order(0, 1, 2, 3)}, [202.5] * 4),
        ({"coloured": 1, "contrast": 0, "brightness": 10, "order": order(1, 0, 2, 3)}, [250] * 4),
        ({"coloured": 1, "contrast": 0, "erase_bottom": 1, "erase_right": 1}, [0, 25, 25, 25]),
        ({"coloured": 1, "saturation": 0, "hue": 0.3}, [10, 20, 30, 40]),
    ],
)
def test_a_row_of_pixels_becomes_what_it_must(changes, expected):
    np.testing.assert_allclose(changed(ROW, **changes)[0, 0, :, 0], expected, atol=1e-9)


def test_rows_move_as_columns_do():
    column = ROW.transpose(0, 2, 1, 3)
    assert changed(column, shift_y=1)[0, :, 0, 0].tolist() == [20, 30, 40, 0]
    assert changed(column, shift_y=-2, reflected=1)[0, :, 0, 0].tolist() == [30, 20, 10, 20]
    assert changed(column, resampled=1, y0=0.5)[0, :, 0, 0].tolist() == [15, 25, 35, 20]


def test_a_quarter_turn_turns():
    image = np.arange(9, dtype=np.uint8).reshape(1, 3, 3, 1)
    turned = changed(image, resampled=1, yy=0, yx=-1, y0=2, xy=1, xx=0, x0=0)[0, :, :, 0]
    np.testing.assert_array_equal(turned, np.rot90(image[0, :, :, 0], -1))  # clockwise


def test_colours_are_those_of_the_formulas(rng):
    image = rng.integers(0, 256, (1, 5, 4, 3)).astype(np.uint8)
    gray = image @ [0.2989, 0.587, 0.114]
    np.testing.assert_allclose(changed(image, coloured=1, saturation=0)[0], gray[0, ..., None] * np.ones(3))
    mixed = 0.3 * image + 0.7 * gray[..., None]
    np.testing.assert_allclose(changed(image, coloured=1, saturation=0.3), mixed, atol=1e-6)
    np.testing.assert_allclose(changed(image, coloured=1, contrast=0.3), 0.3 * image + 0.7 * gray.mean(), atol=1e-6)


@pytest.mark.parametrize("turn", [-0.5, -0.2, 0.1, 0.5])
def test_hues_turn_as_in_the_standard_library(rng, turn):
    image = rng.integers(0, 256, (1, 6, 6, 3)).astype(np.uint8)
    image[0, 0] = [[0, 0, 0], [9, 9, 9], [255, 0, 0], [0, 255, 0], [0, 0, 255], [7, 7, 200]]
    got = changed(image, coloured=1, hue=turn, order=order(HUE, BRIGHTNESS, CONTRAST, SATURATION))[0] / 255
    for y, x in itertools.product(range(6), range(6)):
        h, s, v = colorsys.rgb_to_hsv(*(image[0, y, x] / 255))
        np.testing.assert_allclose(got[y, x], colorsys.hsv_to_rgb((h + turn) % 1, s, v), atol=1e-9)


def test_a_window_of_the_partner_comes_in_as_it_was_changed():
    images = np.array([[[[10], [20]]], [[[100], [200]]]], np.uint8)
    window = {"partner": [1, 0], "mix_bottom": 1, "mix_left": [1, 0], "mix_right": 2}
    cut = changed(images, 2, mirrored=[0, 1], mix_share=0, **window)
    assert cut[:, 0, :, 0].tolist() == [[10, 100], [10, 20]]
    mixed = changed(images, 2, mirrored=[0, 1], mix_share=0.75, **window)
    assert mixed[:, 0, :, 0].tolist() == [[10, 40], [152.5, 80]]


@pytest.mark.parametrize("name", ["numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def test_bytes_that_are_moved_have_the_same_bits_everywhere(rng, name):
    try:
        other = get_backend(name)
    except Exception as error:
        pytest.skip(str(error))
    images = rng.integers(0, 256, (6, 7, 5, 3)).astype(np.uint8)
    mean, std = rng.uniform(0.3, 0.6, 3).astype(np.float32), rng.uniform(0.1, 0.3, 3).astype(np.float32)
    changes = rows(6, {"mirrored": [0, 1] * 3, "shift_y": np.arange(6) - 3, "shift_x": 2, "reflected": 1})
    changes[:, -6:-1] = [1, 0, 5, 2, 4]  # cutmix
    found = []
    for backend in (get_backend("numpy"), other):
        out = backend.empty((6, 7, 5, 3), np.float32)
        given = [backend.asarray(a) for a in (images, np.arange(6)[::-1].copy(), changes, mean, std)]
        backend.transform_images(*given[:3], mean=given[3], std=given[4], out=out)
        found.append(backend.to_numpy(out).tobytes())
    assert found[0] == found[1]


@pytest.mark.peer
def test_samples_are_those_of_torch(rng):
    torch = pytest.importorskip("torch")
    for _ in range(200):
        height, width, channels = rng.integers(1, 12), rng.integers(1, 12), rng.choice([1, 3, 4])
        image = rng.integers(0, 256, (1, height, width, channels)).astype(np.uint8)
        theta = rng.normal(0, 1, (1, 2, 3))
        x = torch.from_numpy(image.astype(float)).permute(0, 3, 1, 2)
        grid = torch.nn.functional.affine_grid(torch.from_numpy(theta), list(x.shape), align_corners=False)
        want = torch.nn.functional.grid_sample(x, grid, align_corners=False).permute(0, 2, 3, 1).numpy()
        (a, b, c), (d, e, f) = theta[0]  # of coordinates from -1 to 1, the edges of the image
        middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
        matrix = {"xx": a, "xy": b * width / height, "yx": d * height / width, "yy": e}
        x0 = middle_x + c * width / 2 - matrix["xx"] * middle_x - matrix["xy"] * middle_y
        y0 = middle_y + f * height / 2 - matrix["yx"] * middle_x - matrix["yy"] * middle_y
        np.testing.assert_allclose(changed(image, resampled=1, x0=x0, y0=y0, **matrix), want, atol=1e-8)


def test_orders_name_each_function_once():
    assert {BRIGHTNESS, CONTRAST, SATURATION, HUE} == {0, 1, 2, 3}
    assert order(3, 2, 1, 0) == 0b00_01_10_11
