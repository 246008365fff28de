"""Cases of the changes of images."""

from __future__ import annotations

import numpy as np

from fastconv.kernels.transforms import AT, BRIGHTNESS, CONTRAST, HUE, SATURATION, UNCHANGED
from tests.backends.op_case import Arrays, Case

Made = dict[str, object]


def order(*functions: int) -> int:
    return sum(function << 2 * step for step, function in enumerate(functions))


def rows(count: int, changed: Made) -> np.ndarray:
    """Return rows of changes: a number for all images, or one for each."""
    changes = np.tile(np.array(UNCHANGED), (count, 1))
    for name, value in changed.items():
        changes[:, getattr(AT, name)] = value
    return changes


def transform(name: str, shape: tuple[int, ...], batch: int, **changed: object) -> Case:
    channels = shape[-1]

    def inputs(rng: np.random.Generator) -> Arrays:
        return {
            "images": rng.integers(0, 256, shape).astype(np.uint8),
            "indices": rng.integers(0, shape[0], batch),
            "changes": rows(batch, changed),
            "mean": rng.uniform(0.4, 0.6, channels),
            "std": rng.uniform(0.2, 0.3, channels),
        }

    def call(backend, i, o, workspace):
        given = (i["images"], i["indices"], i["changes"])
        backend.transform_images(*given, mean=i["mean"], std=i["std"], out=o["batch"])

    def magnitude(i: Arrays, o: Arrays) -> dict:
        value = np.abs(i["changes"][:, AT.erase_value]).max(initial=0)
        factor = np.abs(i["changes"][:, AT.brightness : AT.brightness + 3]).max(initial=1)
        return {"batch": (1 + i["mean"]) / i["std"] * (2 + factor) ** 3 / 27 + value}

    outputs = {"batch": (batch, *shape[1:])}
    return Case("transform_images", name, inputs, outputs, call, fixed=("changes",), magnitude=magnitude)


_TURNED = {"resampled": 1, "yy": 0.8, "yx": 0.55, "y0": -1.3, "xy": -0.6, "xx": 0.7, "x0": 2.6}
_MOVED = {"mirrored": [1, 0, 1, 0, 1], "shift_y": [2, -3, 0, 1, -1], "shift_x": [-1, 3, 0, 2, 2]}
_COLOURS = {"coloured": 1, "brightness": [1.4, 0.7, 1, 1.2, 1], "contrast": [0.6, 1.5, 1.3, 1, 1]}
_COLOURS |= {"saturation": [0.3, 1.8, 1, 1.1, 1], "hue": [0.2, -0.4, 0.1, 0, 0.5]}
_ORDERS = [
    order(BRIGHTNESS, CONTRAST, SATURATION, HUE),
    order(HUE, SATURATION, CONTRAST, BRIGHTNESS),
    order(CONTRAST, HUE, BRIGHTNESS, SATURATION),
    order(SATURATION, BRIGHTNESS, HUE, CONTRAST),
    order(HUE, CONTRAST, SATURATION, BRIGHTNESS),
]
_ERASED = {"erase_top": [0, 1, 2, 0, 3], "erase_bottom": [2, 4, 2, 5, 4], "erase_left": [1, 0, 2, 0, 3]}
_ERASED |= {"erase_right": [3, 2, 5, 4, 4], "erase_value": [0, 1.5, 0, -2, 0]}
_MIXED = {"partner": [4, 0, 1, 2, 3], "mix_top": [0, 1, 0, 2, 0], "mix_bottom": [5, 3, 5, 4, 0]}
_MIXED |= {"mix_left": [0, 2, 1, 0, 0], "mix_right": [4, 4, 3, 4, 0], "mix_share": [0.3, 0, 0.8, 0, 0]}
_REFLECTED = {"reflected": 1}

CASES = [
    transform("plain", (4, 4, 5, 17), 3),
    transform("moved", (6, 8, 6, 3), 5, **_MOVED),
    transform("moved-odd", (3, 5, 7, 1), 5, **_MOVED),
    transform("moved-far", (3, 2, 3, 4), 3, shift_y=[2, -9, 1], shift_x=[0, 1, -3]),
    transform("reflected", (6, 5, 4, 3), 5, **_MOVED, **_REFLECTED),
    transform("reflected-wide", (2, 4, 9, 4), 2, shift_y=[3, -3], shift_x=[8, -8], mirrored=[0, 1], **_REFLECTED),
    transform("one-pixel", (3, 1, 1, 3), 3, mirrored=[0, 1, 1], shift_x=[0, 0, 1]),
    transform("resampled", (6, 9, 7, 3), 5, **_TURNED),
    transform("resampled-moved", (6, 9, 7, 1), 5, **_TURNED, **_MOVED, **_REFLECTED),
    transform("resampled-one-pixel", (3, 1, 1, 2), 2, resampled=1, y0=[0.25, -1], x0=[-0.5, 0]),
    transform("resampled-exactly", (3, 6, 5, 3), 2, resampled=1, yy=0, yx=1, xy=1, xx=0),
    transform("resampled-far", (3, 6, 5, 3), 2, resampled=1, y0=[1e9, 3], x0=[0, -1e300]),
    transform("coloured", (6, 5, 4, 3), 5, **_COLOURS, order=_ORDERS),
    transform("coloured-orders", (6, 5, 4, 3), 5, **_COLOURS, order=_ORDERS[::-1]),
    transform("coloured-one-channel", (6, 7, 3, 1), 5, **_COLOURS, order=_ORDERS),
    transform("coloured-one-pixel", (6, 1, 1, 3), 5, **_COLOURS, order=_ORDERS),
    transform("coloured-many-pixels", (2, 33, 31, 3), 5, **_COLOURS, order=_ORDERS[::-1]),
    transform("erased", (6, 5, 4, 3), 5, **_ERASED),
    transform("mixed", (6, 5, 4, 2), 5, **_MIXED),
    transform("mixed-moved", (6, 5, 4, 1), 5, **_MIXED, **_MOVED, **_ERASED),
    transform("everything", (6, 5, 4, 3), 5, **_MOVED, **_REFLECTED, **_TURNED, **_COLOURS, **_ERASED, **_MIXED),
    transform("empty-batch", (2, 8, 8, 3), 0),
]
