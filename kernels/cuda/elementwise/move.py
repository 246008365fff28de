"""Copies between activations: joining and cutting channels, the shortcut of ResNets."""

from __future__ import annotations

from ..runtime.grids import launch_over_rows, typed


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
    kernel, walked = typed("move.cu", "copy_channels", x.dtype), (*out.shape[:-1], channels)
    launch_over_rows(device, kernel, (x, out), walked, channels, x.shape[-1], first_x, out.shape[-1], first_out)


def _shortcut(device, name, arrays, in_shape, out_shape, walked, stride, before):
    kernel = typed("move.cu", name, arrays[0].dtype)
    launch_over_rows(device, kernel, arrays, walked, *in_shape[1:], *out_shape[1:], *stride, before)
