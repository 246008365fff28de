"""Reference of the changes of images."""

from __future__ import annotations

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.kernels.transforms import COLUMNS

Change = dict[str, float]

_GRAY = np.array([0.2989, 0.587, 0.114])


def moved(image: np.ndarray, change: Change) -> np.ndarray:
    """Return the image shifted, then mirrored."""
    down, right = int(change["shift_y"]), int(change["shift_x"])
    pad = max(abs(down), abs(right))
    margins = ((pad, pad), (pad, pad), (0, 0))
    canvas = np.pad(image, margins, "reflect") if pad and change["reflected"] else np.pad(image, margins)
    height, width = image.shape[:2]
    if change["mirrored"]:  # the shift is that of the image before it is mirrored
        return canvas[pad + down : pad + down + height, pad + right : pad + right + width][:, ::-1]
    return canvas[pad + down : pad + down + height, pad + right : pad + right + width]


def resampled(image: np.ndarray, change: Change) -> np.ndarray:
    """Return bilinear samples; outside of the image is black."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width]
    rows = change["yy"] * y + change["yx"] * x + change["y0"]
    columns = change["xy"] * y + change["xx"] * x + change["x0"]
    # With two black pixels around, whatever lies further outside is black as well.
    rows, columns = rows.clip(-2, height + 1), columns.clip(-2, width + 1)
    canvas = np.pad(image.astype(np.float64), ((2, 3), (2, 3), (0, 0)))
    row, column = np.floor(rows).astype(int), np.floor(columns).astype(int)
    down, right = (rows - row)[..., None], (columns - column)[..., None]
    upper = (1 - right) * canvas[row + 2, column + 2] + right * canvas[row + 2, column + 3]
    lower = (1 - right) * canvas[row + 3, column + 2] + right * canvas[row + 3, column + 3]
    samples: np.ndarray = (1 - down) * upper + down * lower
    return samples


def _gray(image: np.ndarray) -> np.ndarray:
    return (image * _GRAY).sum(-1, keepdims=True) if image.shape[-1] == 3 else image


def _turned(image: np.ndarray, turn: float) -> np.ndarray:
    """Turn the hue, as in the hexagonal model of hue, saturation and value (Smith 1978)."""
    value, least = image.max(-1), image.min(-1)
    spread = np.where(value > least, value - least, 1)
    r, g, b = np.moveaxis(image, -1, 0)
    hue = np.where(value == r, (g - b) / spread, np.where(value == g, 2 + (b - r) / spread, 4 + (r - g) / spread))
    hue = (hue / 6 + turn) % 1
    sector = np.floor(6 * hue).astype(int)
    rest = 6 * hue - sector
    down, up = value - (value - least) * rest, value - (value - least) * (1 - rest)
    channels = (
        (value, up, least),
        (down, value, least),
        (least, value, up),
        (least, down, value),
        (up, least, value),
        (value, least, down),
    )
    chosen = np.stack([np.stack(triple, -1) for triple in channels])
    turned: np.ndarray = np.take_along_axis(chosen, (sector % 6)[None, ..., None], 0)[0]
    return turned


def coloured(image: np.ndarray, change: Change) -> np.ndarray:
    """Return an image of values from 0 to 1 after the four functions of colour."""
    coloured = image.shape[-1] == 3
    for step in range(4):
        function = ("brightness", "contrast", "saturation", "hue")[int(change["order"]) >> 2 * step & 3]
        factor = change[function]
        if function == "brightness" and factor != 1:
            image = (factor * image).clip(0, 1)
        elif function == "contrast" and factor != 1:
            image = (factor * image + (1 - factor) * _gray(image).mean()).clip(0, 1)
        elif function == "saturation" and factor != 1 and coloured:
            image = (factor * image + (1 - factor) * _gray(image)).clip(0, 1)
        elif function == "hue" and factor != 0 and coloured:
            image = _turned(image, factor)
    return image


def _window(change: Change, kind: str) -> tuple[slice, slice]:
    top, bottom, left, right = (int(change[f"{kind}_{side}"]) for side in ("top", "bottom", "left", "right"))
    return slice(top, bottom), slice(left, right)


class NumpyTransforms(Backend):
    """Changes of images."""

    def transform_images(
        self, images: Array, indices: Array, changes: Array, *, mean: Array, std: Array, out: Array
    ) -> None:
        named = [dict(zip(COLUMNS, row.tolist(), strict=True)) for row in changes]
        alone = np.empty_like(out)
        for b, (index, change) in enumerate(zip(indices, named, strict=True)):
            image = moved(images[index], change)
            if change["resampled"]:
                image = resampled(image, change)
            image = image.astype(out.dtype) / 255
            if change["coloured"]:
                image = coloured(image, change)
            alone[b] = (image - mean) / std
            alone[b][_window(change, "erase")] = change["erase_value"]
        for b, change in enumerate(named):
            out[b] = alone[b]
            window, share = _window(change, "mix"), change["mix_share"]
            other = alone[int(change["partner"])][window]
            out[b][window] = share * alone[b][window] + (1 - share) * other if share else other
