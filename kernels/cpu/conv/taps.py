"""Convolution tap by tap: for weights or gradients that are not finite.

The direct kernels multiply the zeros of their padded strips, and zero times infinity is NaN; the formula skips those
cells. So where an infinity or a NaN could meet the padding, each tap is a matrix product of its own over the pixels
that it reaches, and nothing else is touched. Slow (a copy and a product for each tap), rare, and visible: the algorithm
is called `conv2d_..._taps`.
"""

import numpy as np

from ..runtime.launch import refuse_recording
from . import dense


def _multiply(a, b, workspace):
    """Return ``a @ b``."""
    weight = dense.prepare_dense_weight(b, direction="forward", batch=len(a), precision="strict", workspace=workspace)
    out = workspace.empty((len(a), b.shape[1]), a.dtype)
    dense.dense(a, weight, None, out=out, workspace=workspace)
    return out


def _taps(x_shape, out_shape, kernel_size, geometry):
    """Yield (r, s, slices of the input, slices of the output) of each tap, over the pixels that it reaches."""
    stride, padding, dilation = geometry.stride, geometry.padding, geometry.dilation
    for r in range(kernel_size[0]):
        for s in range(kernel_size[1]):
            inside, outside = [], []
            for axis, tap in ((0, r), (1, s)):
                start = tap * dilation[axis] - padding[axis][0]
                first = max(0, -(start // stride[axis]))
                last = min(out_shape[1 + axis], (x_shape[1 + axis] - 1 - start) // stride[axis] + 1)
                inside.append(slice(start + first * stride[axis], start + (last - 1) * stride[axis] + 1, stride[axis]))
                outside.append(slice(first, last))
                if first >= last:
                    break
            else:
                yield r, s, (slice(None), *inside), (slice(None), *outside)


def _rows(maps, slices, channels):
    """Return the pixels of `slices`, some channels, as rows of a contiguous matrix, and the shape of their maps."""
    part = maps[(*slices, channels)]
    return np.ascontiguousarray(part).reshape(-1, part.shape[-1]), part.shape[:3]


def _channels(count, groups):
    width = count // groups
    return [slice(g * width, (g + 1) * width) for g in range(groups)]


def convolve(x, weight, bias, geometry, epilogue, out, workspace):
    """Compute a convolution or the gradient of its input; nothing follows it in the same pass. See algorithms.py."""
    refuse_recording("convolution tap by tap")
    if weight.algorithm.transposed:
        _backward_input(x, weight.weight, bias, geometry, out, workspace)
    else:
        _forward(x, weight.weight, bias, geometry, out, workspace)


@np.errstate(invalid="ignore")  # infinity minus infinity is NaN, as the formula says
def _forward(x, weight, bias, geometry, out, workspace):
    """Convolution."""
    groups = geometry.groups
    out[...] = 0 if bias is None else bias
    taps = list(_taps(x.shape, out.shape, weight.shape[:2], geometry))
    for ins, outs in zip(_channels(x.shape[3], groups), _channels(out.shape[3], groups), strict=True):
        for r, s, inside, outside in taps:
            a, maps = _rows(x, inside, ins)
            product = _multiply(a, np.ascontiguousarray(weight[r, s, :, outs]), workspace)
            out[(*outside, outs)] += product.reshape(*maps, -1)


@np.errstate(invalid="ignore")  # infinity minus infinity is NaN, as the formula says
def _backward_input(grad_output, weight, bias, geometry, out, workspace):
    """Gradient of the input, and a bias."""
    groups = geometry.groups
    out[...] = 0 if bias is None else bias
    taps = list(_taps(out.shape, grad_output.shape, weight.shape[:2], geometry))
    for ins, outs in zip(_channels(out.shape[3], groups), _channels(grad_output.shape[3], groups), strict=True):
        for r, s, inside, outside in taps:
            a, maps = _rows(grad_output, outside, outs)
            product = _multiply(a, np.ascontiguousarray(weight[r, s, :, outs].T), workspace)
            out[(*inside, ins)] += product.reshape(*maps, -1)


def backward_weight(grad_output, x, geometry, out, workspace):
    """Gradient of the weight."""
    groups = geometry.groups
    out[...] = 0
    taps = list(_taps(x.shape, grad_output.shape, out.shape[:2], geometry))
    for ins, outs in zip(_channels(x.shape[3], groups), _channels(grad_output.shape[3], groups), strict=True):
        for r, s, inside, outside in taps:
            a, _ = _rows(x, inside, ins)
            g, _ = _rows(grad_output, outside, outs)
            out[r, s, :, outs] = _multiply(np.ascontiguousarray(a.T), g, workspace)
