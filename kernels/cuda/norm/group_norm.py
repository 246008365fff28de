"""Group normalisation and its gradient: a block for each group of each image."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import THREADS, typed


def group_norm(device, x, gamma, beta, *, eps, out, mean, rstd, workspace):
    """Normalise each group of channels of each image."""
    arrays = (x, gamma, beta, out, mean[0], mean[1], rstd)
    _launch(device, "group_norm_images", x, rstd, arrays, np.float64(eps))


def group_norm_backward(
    device, grad_output, x, gamma, mean, rstd, *, grad_input, grad_gamma=None, grad_beta=None, workspace
):
    """Gradients of `group_norm`."""
    images, channels = len(rstd), x.shape[-1]
    sums, products = (workspace.empty((images, channels), np.float64) for _ in range(2))
    arrays = (grad_output, x, gamma, mean[0], mean[1], rstd, sums, products, grad_input)
    _launch(device, "group_norm_gradient", x, rstd, arrays)
    if grad_gamma is not None:
        arguments = (sums, products, grad_gamma, grad_beta, np.int32(images), np.int32(channels))
        grid = (-(-channels // THREADS), 1, 1)
        device.launch(typed("group_norm.cu", "sum_images", x.dtype), grid, (THREADS, 1, 1), arguments)


def _launch(device, name, x, rstd, arrays, *more):
    if not x.size:
        return
    (images, groups), channels = rstd.shape, x.shape[-1]
    pixels = x.size // (images * channels)
    columns = min(THREADS, 1 << (channels // groups - 1).bit_length())
    sizes = map(np.int32, (groups, pixels, channels))
    grid, block = (images * groups, 1, 1), (columns, THREADS // columns, 1)
    device.launch(typed("group_norm.cu", name, x.dtype), grid, block, (*arrays, *sizes, *more))
