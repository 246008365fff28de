"""Copies between activations: joining and cutting channels, the shortcut of ResNets."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import rows_of_channels, typed


def concatenate(device, arrays, *, out):
    """Join along the last axis."""
    first = 0
    for array in arrays:
        _copy_channels(device, array, 0, out, first, array.shape[-1])
        first += array.shape[-1]


def split(device, x, *, outs):
    """Cut the last axis."""
    first = 0
    for out in outs:
        _copy_channels(device, x, first, out, 0, out.shape[-1])
        first += out.shape[-1]


def subsample_pad(device, x, *, stride, before, out):
    """Every stride-th pixel, channels of zeros around."""
    _shortcut(device, "subsample", (x, out), x.shape, out.shape, out.shape, stride, before)


def subsample_pad_backward(device, grad_output, *, stride, before, out):
    """Gradient of `subsample_pad`."""
    _shortcut(device, "spread", (grad_output, out), out.shape, grad_output.shape, out.shape, stride, before)


def _copy_channels(device, x, first_x, out, first_out, channels):
    rows = out.size // out.shape[-1]
    if rows:
        grid, block = rows_of_channels(device, rows, channels, x.dtype)
        places = (channels, x.shape[-1], first_x, out.shape[-1], first_out)
        arguments = (x, out, np.int64(rows), *map(np.int32, places))
        device.launch(typed("move.cu", "copy_channels", x.dtype), grid, block, arguments)


def _shortcut(device, name, arrays, in_shape, out_shape, walked, stride, before):
    pixels = walked[0] * walked[1] * walked[2]
    if pixels:
        dtype = arrays[0].dtype
        grid, block = rows_of_channels(device, pixels, walked[3], dtype)
        sizes = map(np.int32, (*in_shape[1:], *out_shape[1:], *stride, before))
        device.launch(typed("move.cu", name, dtype), grid, block, (*arrays, np.int64(pixels), *sizes))
