"""Group normalisation and its gradient (Wu and He 2018, https://arxiv.org/abs/1803.08494).

x is (pixels of all images, channels), mean (2, images, groups), rstd (images, groups). A task is an image: statistics
of each channel first, as batch_norm.py takes them, so blocks of pixels are read in order and vectors run along the
channels; those of a group are combined in float64 by the same formula, and the image, which the caches still hold, is
walked a second time. Mean and ``1 / sqrt(var + eps)`` are those of the contract: the mean's second row is what its
rounding left. The sums of the gradient are in the array's type over blocks of 256 pixels, and in float64 beyond.

Bound by memory where an image fits into the L2 cache: a read (backward two) and a write.
"""

import math

import numpy as np

from ..elementwise.maps import fill
from ..runtime.launch import device, kernel, launch, thread_rows
from ..vector.memory import load, store, store_ahead
from ..vector.simd import address, itemsize, lanes, vfma, vsplat
from ..vector.sums import add_in_float64
from .batch_norm import channel_statistics

_BLOCK_ROWS = 256


@device
def _combine_group(x, first, channels, means, squares, pixels):
    """Mean of a group, as distance from its first element, and its variance; `channels` is the group's (first, end)."""
    begin, end = channels
    origin = np.float64(x[first, begin])
    centre, total, before = 0.0, 0.0, 0
    for c in range(begin, end):
        away = (np.float64(x[first, c]) - origin + means[c]) - centre
        centre += away * (pixels / (before + pixels))
        total += squares[c] + away * away * (before * (pixels / (before + pixels)))
        before += pixels
    return centre, total / before


@kernel
def group_norm_images(begin, end, scratch, x, affine, eps, parts, out, mean, rstd):
    """One image a task; `affine` is (gamma, beta), `parts` the (means, squares) of the channels of each image."""
    dt = x.dtype
    size = itemsize(dt)
    images, groups = rstd.shape
    channels, (gamma, beta), (means, squares) = x.shape[1], affine, parts
    pixels, wide = x.shape[0] // images, channels // groups
    rounded, factors = scratch[:channels], scratch[channels : 2 * channels]
    shifts = scratch[2 * channels : 3 * channels]
    for image in range(begin, end):
        first = image * pixels
        channel_statistics(x, first, (first, first + pixels), scratch, means[image], squares[image])
        for group in range(groups):
            part = group * wide, (group + 1) * wide
            distance, variance = _combine_group(x, first, part, means[image], squares[image], pixels)
            origin = np.float64(x[first, part[0]])
            mean[0, image, group] = origin + distance
            mean[1, image, group] = (origin - np.float64(mean[0, image, group])) + distance
            rstd[image, group] = 1.0 / math.sqrt(variance + eps)
            for c in range(part[0], part[1]):
                rounded[c], factors[c] = mean[0, image, group], rstd[image, group]
                shifts[c] = beta[c] - mean[1, image, group] * rstd[image, group] * gamma[c]
        for row in range(first, first + pixels):
            for c in range(0, channels, lanes(dt)):
                count, at, place = min(lanes(dt), channels - c), c * size, (row * channels + c) * size
                away = load(address(x) + place, count, dt) - load(address(rounded) + at, count, dt)
                z = away * load(address(factors) + at, count, dt)
                scale, shift = load(address(gamma) + at, count, dt), load(address(shifts) + at, count, dt)
                store_ahead(address(out) + place, vfma(z, scale, shift), count, dt)


@device
def _normalised(x, place, constants, at, count, dt):
    """``(x - mean) / sqrt(var + eps)``; `constants` are addresses of the mean's rows and of the factors."""
    rounded, rest, factors = constants
    away = load(address(x) + place, count, dt) - load(rounded + at, count, dt) - load(rest + at, count, dt)
    return away * load(factors + at, count, dt)


@device
def _sum_block(arrays, rows, constants, sums, dt):
    """Write the sums of ``grad`` and ``grad * z`` over a few pixels, each channel's; `sums` are two addresses."""
    (grad, x), (first, stop), size = arrays, rows, itemsize(dt)
    channels = x.shape[1]
    for c in range(0, channels, lanes(dt)):
        count, at = min(lanes(dt), channels - c), c * size
        total, product = vsplat(0, dt), vsplat(0, dt)
        for row in range(first, stop):
            place = (row * channels + c) * size
            g = load(address(grad) + place, count, dt)
            total = total + g
            product = vfma(g, _normalised(x, place, constants, at, count, dt), product)
        store(sums[0] + at, total, count, dt)
        store(sums[1] + at, product, count, dt)


@kernel
def group_norm_gradient(begin, end, scratch, grad, x, gamma, mean, rstd, sums, products, out):
    """One image a task; `sums` and `products` are (images, channels), of ``grad`` and ``grad * z``."""
    dt = x.dtype
    size = itemsize(dt)
    images, groups = rstd.shape
    channels = x.shape[1]
    pixels, wide = x.shape[0] // images, channels // groups
    rounded, rest, factors = scratch[:channels], scratch[channels : 2 * channels], scratch[2 * channels : 3 * channels]
    # First sums of a block, then what is taken off each element, and that in proportion to z.
    offsets, slopes = scratch[3 * channels : 4 * channels], scratch[4 * channels : 5 * channels]
    constants = address(rounded), address(rest), address(factors)
    for image in range(begin, end):
        first = image * pixels
        for c in range(channels):
            rounded[c], rest[c] = mean[0, image, c // wide], mean[1, image, c // wide]
            factors[c] = rstd[image, c // wide]
            sums[image, c] = products[image, c] = 0.0
        for row in range(first, first + pixels, _BLOCK_ROWS):
            stop = min(row + _BLOCK_ROWS, first + pixels)
            _sum_block((grad, x), (row, stop), constants, (address(offsets), address(slopes)), dt)
            for c in range(channels):
                sums[image, c] += np.float64(offsets[c])
                products[image, c] += np.float64(slopes[c])
        for group in range(groups):
            total, product, scale = 0.0, 0.0, np.float64(rstd[image, group]) / (pixels * wide)
            for c in range(group * wide, (group + 1) * wide):
                total += np.float64(gamma[c]) * sums[image, c]
                product += np.float64(gamma[c]) * products[image, c]
            for c in range(group * wide, (group + 1) * wide):
                offsets[c], slopes[c] = total * scale, product * scale
        for row in range(first, first + pixels):
            for c in range(0, channels, lanes(dt)):
                count, at, place = min(lanes(dt), channels - c), c * size, (row * channels + c) * size
                z = _normalised(x, place, constants, at, count, dt)
                taken = vfma(z, load(address(slopes) + at, count, dt), load(address(offsets) + at, count, dt))
                factor = load(address(factors) + at, count, dt) * load(address(gamma) + at, count, dt)
                value = load(address(grad) + place, count, dt) * factor - taken
                store_ahead(address(out) + place, value, count, dt)


def _constant(values, value, channels, dtype, workspace):
    """Return numbers of the channels, `value` for all where there are none."""
    if values is None:
        values = workspace.empty((channels,), dtype)
        fill(value, out=values)
    return values


def _sums(images, channels, workspace):
    return tuple(workspace.empty((images, channels), np.float64) for _ in range(2))


def group_norm(x, gamma, beta, *, eps, out, mean, rstd, workspace):
    """Normalise each group of channels of each image."""
    images, channels = len(rstd), x.shape[-1]
    gamma = _constant(gamma, 1.0, channels, x.dtype, workspace)
    beta = _constant(beta, 0.0, channels, x.dtype, workspace)
    rows, parts = x.reshape(-1, channels), _sums(images, channels, workspace)
    arguments = (rows, (gamma, beta), float(eps), parts, out.reshape(rows.shape), mean, rstd)
    launch(group_norm_images, images, *arguments, scratch=thread_rows(4 * channels * x.itemsize, x.dtype))


def group_norm_backward(grad_output, x, gamma, mean, rstd, *, grad_input, grad_gamma=None, grad_beta=None, workspace):
    """Gradients of `group_norm`."""
    images, channels = len(rstd), x.shape[-1]
    rows, (sums, products) = x.reshape(-1, channels), _sums(images, channels, workspace)
    gamma = _constant(gamma, 1.0, channels, x.dtype, workspace)
    arguments = (grad_output.reshape(rows.shape), rows, gamma, mean, rstd, sums, products)
    scratch = thread_rows(5 * channels * x.itemsize, x.dtype)
    launch(group_norm_gradient, images, *arguments, grad_input.reshape(rows.shape), scratch=scratch)
    if grad_gamma is not None:
        add_in_float64(products, grad_gamma, workspace)
        add_in_float64(sums, grad_beta, workspace)
