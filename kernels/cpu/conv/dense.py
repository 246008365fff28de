"""Dense layers: the matrix products of direct.py and weight_gradient.py on a map of one pixel an example.

Cost: 2 * N * C * K flops a pass, and packing the weight once (one read, one write): at a batch of 128 about a tenth of
the time.
"""

import functools

import numpy as np

from ...geometry import DENSE_GEOMETRY
from ...prepared import PreparedWeight
from .algorithms import DENSE_BF16, DENSE_DIRECT
from .bf16 import pack as bf16_pack
from .epilogue import NOTHING_MORE
from .pack import pack_gathers
from .plan import forward_gathers


@functools.lru_cache(maxsize=1024)
def _gathers(batch, channels, outputs, itemsize):
    shapes = (batch, 1, 1, channels), (1, 1, channels, outputs), (batch, 1, 1, outputs)
    return forward_gathers(*shapes, DENSE_GEOMETRY, itemsize)


def _algorithm(direction, dtype, precision):
    rounded = precision == "fast" and dtype == np.float32
    return (DENSE_BF16 if rounded else DENSE_DIRECT)[direction]


def prepare_dense_weight(weight, *, direction, batch, precision, workspace):
    """Return the weight in the form that `dense` or `dense_backward_input` reads."""
    algorithm = _algorithm(direction, weight.dtype, precision)
    channels, outputs = weight.shape
    strides = (0, 0, outputs, 1, 0)
    if algorithm.transposed:
        strides = (0, 0, 1, outputs, 0)
        channels, outputs = outputs, channels
    gathers = _gathers(batch, channels, outputs, weight.itemsize)
    if algorithm.form == "bf16":
        packed = bf16_pack.prepare(weight, gathers, strides, workspace, transposed=algorithm.transposed)
    else:
        packed = pack_gathers(weight, gathers, strides, workspace)
    return PreparedWeight(weight, algorithm, packed)


def _convolve(x, weight, bias, out, workspace):
    gathers = _gathers(*x.shape, out.shape[1], x.itemsize)
    maps = x.reshape(x.shape[0], 1, 1, x.shape[1]), out.reshape(out.shape[0], 1, 1, out.shape[1])
    weight.algorithm.function(maps[0], weight, bias, gathers, NOTHING_MORE, maps[1], workspace)


def dense(x, weight, bias, *, out, workspace):
    """Forward pass with a weight prepared for "forward"."""
    _convolve(x, weight, bias, out, workspace)


def dense_backward_input(grad_output, weight, *, out, workspace):
    """Gradient of the input with a weight prepared for "backward_input"."""
    _convolve(grad_output, weight, None, out, workspace)


def dense_backward_weight(grad_output, x, *, precision, out, workspace):
    """Gradient of the weight."""
    (batch, outputs), channels = grad_output.shape, x.shape[1]
    grad_map, x_map = grad_output.reshape(batch, 1, 1, outputs), x.reshape(batch, 1, 1, channels)
    algorithm = _algorithm("backward_weight", out.dtype, precision)
    algorithm.function(algorithm, grad_map, x_map, DENSE_GEOMETRY, out.reshape(1, 1, channels, outputs), workspace)
