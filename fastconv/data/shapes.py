"""shapes10: ten shapes on coloured ground, drawn on demand.

A data set that needs no file: 32x32 RGB images of one shape each, at a random place, size, angle and colour, among
short strokes of its own colour, with shading and noise. The class is neither in the colours nor in any pixel, so a
linear model fails, while a small convolutional network learns it in a minute.

A shape is the set where a function of the plane is negative; the function is close to the distance to the outline,
which makes smooth edges cheap. All numbers come from raw Philox output and pass only through operations that IEEE 754
rounds correctly, so every machine and every release of NumPy draws the same pixels.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from fastconv import _validate as validate
from fastconv.data.dataset import Dataset
from fastconv.random import checked_seed

CLASS_NAMES = ("circle", "ring", "square", "triangle", "cross", "star", "crescent", "heart", "pill", "stripes")
MEAN = (0.329, 0.329, 0.329)
STD = (0.182, 0.182, 0.182)

Plane = Any
"""A float32 array (images, 32, 32), or one that broadcasts to it."""

_SIZES = {"train": 10_000, "test": 2_000}
_LARGEST = 10**9
_PER_CLASS = 32  # images of one class drawn at once: their planes fit in the L2 cache
_CHUNK = _PER_CLASS * len(CLASS_NAMES)
_SIDE = 32
_STROKES = 3
_NOISE = 40

# Cosines of 512 angles, rounded so far that every library has the same ones.
_COSINE = (np.rint(np.cos(np.arange(512) * (2 * np.pi / 512)) * 2**15) / 2**15).astype(np.float32)


def shapes10(split: Literal["train", "test"] = "train", seed: int = 0, size: int | None = None) -> Dataset:
    """Draw the data set shapes10.

    Parameters
    ----------
    split : "train" or "test"
        Which images.
    seed : int
        Another seed or split gives other images. The first images do not depend on `size`.
    size : int or None
        How many images; by default 10,000 for training and 2,000 for testing.

    Returns
    -------
    Dataset
        Images (size, 32, 32, 3); image i has class i % 10.

    Raises
    ------
    ArgumentError
        There is no such split, or the size is no whole number from 0 to 10**9.

    Examples
    --------
    >>> data = fc.data.shapes10("train", size=20)
    >>> data.images.shape, data.labels[:4]
    ((20, 32, 32, 3), array([0, 1, 2, 3], dtype=int32))
    """
    validate.one_of(split, "split", _SIZES)
    count = _SIZES[split] if size is None else validate.at_least(size, 0, "size", _LARGEST)
    key = np.array([checked_seed(seed), list(_SIZES).index(split)], np.uint64)
    images = np.empty((count, _SIDE, _SIDE, 3), np.uint8)
    for begin in range(0, count, _CHUNK):
        words = np.random.Philox(key=key, counter=(begin // _CHUNK) << 128)
        images[begin : begin + _CHUNK] = _draw_chunk(words)[: count - begin]
    labels = (np.arange(count) % len(CLASS_NAMES)).astype(np.int32)
    return Dataset(f"shapes10/{split}", images, labels, CLASS_NAMES, MEAN, STD)


class _Draw:
    """Random numbers of the images of a chunk, as arrays (images, 1, 1) that broadcast over pixels."""

    def __init__(self, words: np.random.Philox) -> None:
        self._words = words

    def uniform(self, low: float, high: float) -> np.ndarray:
        """Multiples of (high - low) / 2**16 from [low, high)."""
        steps = (self._words.random_raw(_CHUNK) >> np.uint64(48)).astype(np.float32)
        return (np.float32(low) + steps * np.float32((high - low) / 2**16))[:, None, None]

    def direction(self) -> tuple[np.ndarray, np.ndarray]:
        """Cosine and sine of an angle from the full circle."""
        angle = (self._words.random_raw(_CHUNK) >> np.uint64(55)).astype(np.intp)[:, None, None]
        return _COSINE[angle], _COSINE[(angle + 384) % 512]

    def noise(self) -> np.ndarray:
        """Integers with a triangular distribution over about -_NOISE to _NOISE, for every pixel and channel."""
        cells = _CHUNK * _SIDE * _SIDE * 3
        low, high = self._words.random_raw(cells // 4).view(np.uint8).reshape(2, cells).astype(np.int16)
        noise: np.ndarray = ((low + high - 255) * np.int16(_NOISE) + np.int16(128)) >> 8
        return noise.reshape(_CHUNK, _SIDE, _SIDE, 3)


def _draw_chunk(words: np.random.Philox) -> np.ndarray:
    """Return images (_CHUNK, 32, 32, 3), image i of class i % 10."""
    draw = _Draw(words)
    x = np.arange(_SIDE, dtype=np.float32)[None, None, :] - np.float32(_SIDE / 2 - 0.5)
    y = x.reshape(1, -1, 1)
    ground, ink = _colours(draw)
    cover = np.zeros((_CHUNK, _SIDE, _SIDE), np.float32)
    for _ in range(_STROKES):
        np.maximum(cover, _stroke(draw, x, y), out=cover)
    radius = draw.uniform(6, 11)
    cosine, sine = draw.direction()
    dx, dy = x - draw.uniform(-4, 4), y - draw.uniform(-4, 4)
    u = (dx * cosine + dy * sine) / radius
    v = (dy * cosine - dx * sine) / radius
    for label, outline in enumerate(_OUTLINES):
        own = slice(label, None, len(CLASS_NAMES))
        np.maximum(cover[own], _edge(outline(u[own], v[own]) * radius[own]), out=cover[own])
    cosine, sine = draw.direction()
    shade = (x * cosine + y * sine) * draw.uniform(0, 1.5)
    pixels = np.empty((_CHUNK, _SIDE, _SIDE, 3), np.int16)
    for channel in range(3):
        value = ground[channel] + cover * (ink[channel] - ground[channel]) + shade
        pixels[..., channel] = np.rint(value)
    pixels += draw.noise()
    return np.clip(pixels, 0, 255).astype(np.uint8)


def _colours(draw: _Draw) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Return ground and ink, which is the lighter one, by 15 to 100 in each channel."""
    ground = [draw.uniform(10, 140) for _ in range(3)]
    return ground, [level + draw.uniform(15, 100) for level in ground]


def _edge(distance: np.ndarray) -> np.ndarray:
    """Share of a pixel that is covered, for a distance to the outline in pixels, negative inside."""
    return np.clip(np.float32(0.5) - distance, np.float32(0), np.float32(1))


def _stroke(draw: _Draw, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    cosine, sine = draw.direction()
    dx, dy = x - draw.uniform(-16, 16), y - draw.uniform(-16, 16)
    along = np.maximum(np.abs(dx * cosine + dy * sine) - draw.uniform(0.5, 4), np.float32(0))
    across = dy * cosine - dx * sine
    return _edge(np.sqrt(along * along + across * across) - np.float32(0.6))


# The outlines: u to the right, v down, in units of the radius. A Python number does not widen these float32 arrays.


def _length(u: Plane, v: Plane) -> Plane:
    return np.sqrt(u * u + v * v)


def _box(u: Plane, v: Plane, half_u: float, half_v: float) -> Plane:
    return np.maximum(np.abs(u) - half_u, np.abs(v) - half_v)


def _circle(u: Plane, v: Plane) -> Plane:
    return _length(u, v) - 0.85


def _ring(u: Plane, v: Plane) -> Plane:
    return np.abs(_length(u, v) - 0.72) - 0.2


def _square(u: Plane, v: Plane) -> Plane:
    return _box(u, v, 0.75, 0.75)


def _triangle(u: Plane, v: Plane) -> Plane:
    return np.maximum(np.abs(u) * 0.8660254 - v * 0.5, v) - 0.55


def _cross(u: Plane, v: Plane) -> Plane:
    return np.minimum(_box(u, v, 0.95, 0.3), _box(u, v, 0.3, 0.95))


def _star(u: Plane, v: Plane) -> Plane:
    """Fold the plane along the mirror lines of five points until one half of one point is left."""
    u = np.abs(u)
    for normal_u, normal_v in ((0.80901699, 0.58778525), (-0.80901699, 0.58778525)):
        beyond = np.maximum(u * normal_u + v * normal_v, 0) * 2
        u, v = u - beyond * normal_u, v - beyond * normal_v
    # One side of the point, from its tip at (0, -1.05) to the notch at 0.45 of it, 36 degrees away.
    return np.abs(u) * 0.92388 + (v + 1.05) * -0.38268


def _crescent(u: Plane, v: Plane) -> Plane:
    return np.maximum(_length(u, v) - 0.95, 0.75 - _length(u - 0.45, v))


def _heart(u: Plane, v: Plane) -> Plane:
    """Join a square with a circle on each of two neighbouring sides."""
    u, v = u + 0.2, v + 0.2
    lobes = np.minimum(_length(u - 0.5, v), _length(u, v - 0.5)) - 0.5
    return np.minimum(_box(u, v, 0.5, 0.5), lobes)


def _pill(u: Plane, v: Plane) -> Plane:
    return _length(np.maximum(np.abs(u) - 0.65, 0), v) - 0.33


def _stripes(u: Plane, v: Plane) -> Plane:
    v = np.abs(v)
    return np.maximum(np.abs(u) - 0.85, np.minimum(v, np.abs(v - 0.66)) - 0.18)


_OUTLINES = (_circle, _ring, _square, _triangle, _cross, _star, _crescent, _heart, _pill, _stripes)
