"""Dense layers: the matrix products of direct.py and weight_gradient.py on a map of one pixel an example.

Cost: 2 * N * C * K flops a pass, and packing the weight once (one read, one write): at a batch of 128 about a tenth of
the time.
"""

import numpy as np

from ...prepared import PreparedWeight
from . import weight_gradient
from .bf16 import convolve as bf16_convolve
from .bf16 import pack as bf16_pack
from .bf16 import weight_gradient as bf16_weight_gradient
from .direct import run_gather
from .pack import pack, packed_size
from .plan import forward_gathers
from .strip import NO_BIAS

_GEOMETRY = ((1, 1), ((0, 0), (0, 0)), (1, 1), 1)  # stride, padding, dilation, groups


def _gather(batch, channels, outputs, itemsize):
    (gather,) = forward_gathers(
        (batch, 1, 1, channels), (1, 1, channels, outputs), (batch, 1, 1, outputs), *_GEOMETRY, itemsize
    )
    return gather


def prepare_dense_weight(weight, *, direction, batch, precision, workspace):
    """Return the weight in the form that `dense` or `dense_backward_input` reads."""
    channels, outputs = weight.shape
    strides = (0, 0, outputs, 1, 0)
    if direction == "backward_input":
        strides = (0, 0, 1, outputs, 0)
        channels, outputs = outputs, channels
    gather = _gather(batch, channels, outputs, weight.itemsize)
    if precision == "fast" and weight.dtype == np.float32:
        packed = bf16_pack.prepare(weight, [gather], strides, workspace, turned=direction == "backward_input")
        return PreparedWeight(weight, f"dense_{direction}_bf16", packed)
    packed = workspace.empty((packed_size(gather.plan, weight.itemsize),), weight.dtype)
    pack(weight, packed, gather, strides)
    return PreparedWeight(weight, "conv2d_direct", packed)


def _run(x, weight, bias, out, workspace):
    gather = _gather(*x.shape, out.shape[1], x.itemsize)
    maps = x.reshape(x.shape[0], 1, 1, x.shape[1]), out.reshape(out.shape[0], 1, 1, out.shape[1])
    bias = NO_BIAS[x.dtype] if bias is None else bias
    if weight.algorithm.endswith("_bf16"):
        turned = weight.algorithm == "dense_backward_input_bf16"
        bf16_convolve.run(maps[0], weight.packed, bias, maps[1], [gather], workspace, turned=turned)
    else:
        run_gather(maps[0], weight.packed, bias, maps[1], gather, workspace)


def dense(x, weight, bias, *, out, workspace):
    """Forward pass with a weight prepared for "forward"."""
    _run(x, weight, bias, out, workspace)


def dense_backward_input(grad_output, weight, *, out, workspace):
    """Gradient of the input with a weight prepared for "backward_input"."""
    _run(grad_output, weight, None, out, workspace)


def dense_backward_weight(grad_output, x, *, precision, out, workspace):
    """Gradient of the weight."""
    (batch, outputs), channels = grad_output.shape, x.shape[1]
    grad_map, x_map = grad_output.reshape(batch, 1, 1, outputs), x.reshape(batch, 1, 1, channels)
    stride, padding, dilation, groups = _GEOMETRY
    out_map = out.reshape(1, 1, channels, outputs)
    chosen = bf16_weight_gradient if precision == "fast" and out.dtype == np.float32 else weight_gradient
    chosen.backward_weight(grad_map, x_map, stride, padding, dilation, groups, out_map, workspace)
