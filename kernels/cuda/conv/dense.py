"""Dense layers on the GPU: 1x1 convolutions of maps of one pixel."""

from __future__ import annotations

from dataclasses import replace

from . import conv2d

_GEOMETRY = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}


def as_map(array):
    """Return a batch of features as maps of one pixel, and a weight as that of a 1x1 convolution."""
    return array.reshape((array.shape[0], 1, 1, array.shape[1]))


def as_kernel(weight):
    """Return a dense weight as that of a 1x1 convolution."""
    return weight.reshape((1, 1, *weight.shape))


def as_prepared(prepared):
    """Return a prepared dense weight as that of the convolution."""
    return replace(prepared, weight=as_kernel(prepared.weight))


def geometry_of(weight, *, backward=False):
    """Return the geometry of that convolution."""
    return conv2d.geometry_of(as_kernel(weight), **_GEOMETRY, backward=backward)


def backward_weight(device, grad_output, x, *, precision, out, workspace):
    """Gradient of the weight."""
    conv2d.backward_weight(
        device,
        as_map(grad_output),
        as_map(x),
        geometry_of(out),
        precision=precision,
        out=as_kernel(out),
        workspace=workspace,
    )
