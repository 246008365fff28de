"""Batches from images in memory, each changed by numbers of its own (`kernels/transforms.py`); one task an image.

Shift, mirror, bilinear resampling, colour, normalisation, an erased window, and a window of another image of the batch
mixed in, in that order. The steps are walks over one image, which stays in the cache; what is mixed in is drawn beside,
in scratch of the thread. Bytes that are only moved come out of a table of their 256 normalised values, so that they
cost a load. Bound by the arithmetic of scalar loops.

images are (examples, height, width, channels), indices (batch,), changes (batch, columns), out (batch, height, width,
channels), table (512, channels): normalised values, then those from 0 to 1.
"""

import math

import numpy as np

from ...transforms import AT, CONTRAST, GRAY, HUE, SATURATION
from ..runtime.compiler import part
from ..runtime.launch import device, kernel, launch, thread_rows

_RED, _GREEN, _BLUE = GRAY


@device
def _moved(place, shift, size, reflected):
    """Return where in the image the row or column lies that is at `place` after the shift, -1 where there is none."""
    place += shift
    if 0 <= place < size:
        return place
    if not reflected:
        return -1
    return -place if place < 0 else 2 * size - 2 - place


@device
def _movement(change):
    """Return the shift, and whether the image is mirrored and reflected."""
    down, right = np.int64(change[AT.shift_y]), np.int64(change[AT.shift_x])
    return down, right, change[AT.mirrored] != 0, change[AT.reflected] != 0


@device
def _move(image, change, table, target):
    """Write the shifted and mirrored image, normalised."""
    height, width, channels = image.shape
    down, right, mirrored, reflected = _movement(change)
    for y in range(height):
        row = _moved(y, down, height, reflected)
        for x in range(width):
            column = _moved(width - 1 - x if mirrored else x, right, width, reflected)
            inside = row >= 0 and column >= 0
            for c in range(channels):
                target[y, x, c] = table[image[row, column, c] if inside else np.uint8(0), c]


@device
def _tap(place, shift, size, mirrored, reflected):
    """Return where in the image the row or column of a sample lies, -1 where it is black."""
    if place < 0 or place >= size:
        return -1
    return _moved(size - 1 - place if mirrored else place, shift, size, reflected)


@device
def _resample(image, change, target):
    """Write bilinear samples of the shifted and mirrored image, from 0 to 1."""
    height, width, channels = image.shape
    down, right, mirrored, reflected = _movement(change)
    yy, yx, y0, xy, xx, x0 = change[AT.yy], change[AT.yx], change[AT.y0], change[AT.xy], change[AT.xx], change[AT.x0]
    for y in range(height):
        for x in range(width):
            at_y, at_x = yy * y + yx * x + y0, xy * y + xx * x + x0
            if not (-1 < at_y < height and -1 < at_x < width):
                for c in range(channels):
                    target[y, x, c] = 0
                continue
            row, column = np.int64(math.floor(at_y)), np.int64(math.floor(at_x))
            below, beyond = (at_y - row) / 255, at_x - column
            above = 1 / 255 - below
            upper = _tap(row, down, height, False, reflected)
            lower = _tap(row + 1, down, height, False, reflected)
            first = _tap(column, right, width, mirrored, reflected)
            last = _tap(column + 1, right, width, mirrored, reflected)
            upper_share, lower_share = above if upper >= 0 else 0.0, below if lower >= 0 else 0.0
            first_share, last_share = 1 - beyond if first >= 0 else 0.0, beyond if last >= 0 else 0.0
            upper, lower, first, last = max(upper, 0), max(lower, 0), max(first, 0), max(last, 0)
            for c in range(channels):
                target[y, x, c] = upper_share * (
                    first_share * image[upper, first, c] + last_share * image[upper, last, c]
                ) + lower_share * (first_share * image[lower, first, c] + last_share * image[lower, last, c])


@device
def _gray(target, y, x):
    if target.shape[2] == 1:
        return np.float64(target[y, x, 0])
    return _RED * target[y, x, 0] + _GREEN * target[y, x, 1] + _BLUE * target[y, x, 2]


@device
def _mean_gray(target):
    height, width, _ = target.shape
    total = 0.0
    for y in range(height):
        for x in range(width):
            total += _gray(target, y, x)
    return total / (height * width)


@device
def _blend(target, factor, gray, each):
    """Move colours away from `gray`, or from the gray of `each` pixel, by the factor."""
    height, width, channels = target.shape
    for y in range(height):
        for x in range(width):
            other = (1 - factor) * (_gray(target, y, x) if each else gray)
            for c in range(channels):
                target[y, x, c] = min(max(factor * target[y, x, c] + other, 0.0), 1.0)


@device
def _turn(target, turn):
    """Turn the hue, by way of hue, saturation and value."""
    height, width, _ = target.shape
    for y in range(height):
        for x in range(width):
            r, g, b = np.float64(target[y, x, 0]), np.float64(target[y, x, 1]), np.float64(target[y, x, 2])
            value = max(r, g, b)
            spread = value - min(r, g, b)
            if spread == 0:
                continue
            if value == r:
                hue = (g - b) / spread
            elif value == g:
                hue = 2 + (b - r) / spread
            else:
                hue = 4 + (r - g) / spread
            hue += 6 * turn
            for c in range(3):
                place = hue + 5 - 2 * c
                place -= 6 * math.floor(place / 6)
                target[y, x, c] = value - spread * max(0.0, min(place, 4 - place, 1.0))


@device
def _recolour(change, target):
    """Do the functions of colour in their order."""
    order = np.int64(change[AT.order])
    for step in range(4):
        function = (order >> (2 * step)) & 3
        factor = change[AT.brightness + function]
        if function == HUE:
            if factor != 0 and target.shape[2] == 3:
                _turn(target, factor)
        elif factor != 1 and (function != SATURATION or target.shape[2] == 3):
            gray = _mean_gray(target) if function == CONTRAST else 0.0
            _blend(target, factor, gray, function == SATURATION)


@device
def _scale(target, shift, divisor):
    height, width, channels = target.shape
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                target[y, x, c] = (target[y, x, c] - shift[c]) / divisor[c]


@part
def _draw(image, change, mean, std, table, target):
    """Write an image as it is before others are mixed in."""
    coloured = change[AT.coloured] != 0
    if change[AT.resampled] != 0:
        _resample(image, change, target)
    else:
        _move(image, change, table[256:] if coloured else table[:256], target)
    if coloured:
        _recolour(change, target)
    if coloured or change[AT.resampled] != 0:
        _scale(target, mean, std)
    for y in range(np.int64(change[AT.erase_top]), np.int64(change[AT.erase_bottom])):
        for x in range(np.int64(change[AT.erase_left]), np.int64(change[AT.erase_right])):
            for c in range(target.shape[2]):
                target[y, x, c] = change[AT.erase_value]


@device
def _mix(change, other, target):
    """Mix a window of another image in."""
    share = change[AT.mix_share]
    for y in range(np.int64(change[AT.mix_top]), np.int64(change[AT.mix_bottom])):
        for x in range(np.int64(change[AT.mix_left]), np.int64(change[AT.mix_right])):
            for c in range(target.shape[2]):
                value = other[y, x, c]
                target[y, x, c] = value if share == 0 else share * target[y, x, c] + (1 - share) * value


@kernel
def transform_each(begin, end, scratch, images, indices, changes, mean, std, table, out):
    """One image a task."""
    height, width, channels = out.shape[1:]
    other = scratch[: height * width * channels].reshape(height, width, channels)
    for b in range(begin, end):
        _draw(images[indices[b]], changes[b], mean, std, table, out[b])
        if changes[b, AT.mix_bottom] > changes[b, AT.mix_top]:
            partner = np.int64(changes[b, AT.partner])
            _draw(images[indices[partner]], changes[partner], mean, std, table, other)
            _mix(changes[b], other, out[b])


def transform_images(images, indices, changes, *, mean, std, out):
    """Normalised batch of changed images."""
    levels = np.arange(256, dtype=out.dtype)[:, None] / 255
    table = np.concatenate([(levels - mean) / std, np.broadcast_to(levels, (256, len(mean)))])
    image = math.prod(out.shape[1:])
    scratch = thread_rows(image * out.itemsize, out.dtype)
    launch(transform_each, len(indices), images, indices, changes, mean, std, table, out, scratch=scratch)
