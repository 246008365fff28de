"""Convolution on the CPU: the choice of kernel for each direction, and the launches."""

from . import conv2d_depthwise, conv2d_weight
from .conv2d_direct import NO_BIAS, run_gather
from .gather import backward_input_gathers, forward_gathers
from .pack import pack, packed_size


def _conv_output_shape(input_shape, weight_shape, stride, padding, dilation):
    out = [
        (n + sum(pads) - d * (k - 1) - 1) // s + 1
        for n, pads, d, k, s in zip(input_shape[1:3], padding, dilation, weight_shape[:2], stride, strict=True)
    ]
    return (input_shape[0], *out, weight_shape[3])


def _is_depthwise(weight_shape, groups):
    return weight_shape[2] == 1 and weight_shape[3] == groups > 1


def _gathers(direction, weight_shape, input_shape, geometry, itemsize):
    grad_shape = _conv_output_shape(input_shape, weight_shape, geometry[0], geometry[1], geometry[2])
    if direction == "forward":
        return forward_gathers(input_shape, weight_shape, grad_shape, *geometry, itemsize)
    return backward_input_gathers(grad_shape, weight_shape, input_shape, *geometry, itemsize)


def prepare_conv2d_weight(
    weight, *, direction, input_shape, stride, padding, dilation, groups, precision, workspace
):
    """Return (algorithm, packed weight or None)."""
    if _is_depthwise(weight.shape, groups):
        return f"conv2d_{direction}_depthwise", None
    gathers = _gathers(direction, weight.shape, input_shape, (stride, padding, dilation, groups), weight.itemsize)
    packed = workspace.empty((sum(packed_size(g.plan, weight.itemsize) for g in gathers),), weight.dtype)
    _, s, c, k = weight.shape
    row, tap, channel = s * c * k, c * k, k
    if direction == "forward":
        strides = (row, tap, channel, 1, k // groups)
    else:
        strides = (row, tap, 1, channel, k // groups)
    start = 0
    for gather in gathers:
        stop = start + packed_size(gather.plan, weight.itemsize)
        pack(weight, packed[start:stop], gather, strides)
        start = stop
    return f"conv2d_{direction}_direct", packed


def _run(x, weight, bias, out, gathers, workspace):
    bias = NO_BIAS[x.dtype] if bias is None else bias
    start = 0
    for gather in gathers:
        stop = start + packed_size(gather.plan, x.itemsize)
        run_gather(x, weight.packed[start:stop], bias, out, gather, workspace)
        start = stop


def conv2d(x, weight, bias, *, stride, padding, dilation, groups, out, workspace):
    """Convolution with a weight prepared for "forward"."""
    shape = weight.weight.shape
    if _is_depthwise(shape, groups):
        conv2d_depthwise.forward(x, weight.weight, bias, stride, padding, dilation, out, workspace)
        return
    _run(x, weight, bias, out, _gathers("forward", shape, x.shape, (stride, padding, dilation, groups), x.itemsize), workspace)


def conv2d_backward_input(grad_output, weight, *, stride, padding, dilation, groups, out, workspace):
    """Gradient with respect to the input, with a weight prepared for "backward_input"."""
    shape = weight.weight.shape
    if _is_depthwise(shape, groups):
        conv2d_depthwise.backward_input(grad_output, weight.weight, stride, padding, dilation, out, workspace)
        return
    geometry = (stride, padding, dilation, groups)
    gathers = _gathers("backward_input", shape, out.shape, geometry, out.itemsize)
    _run(grad_output, weight, None, out, gathers, workspace)


def conv2d_backward_weight(
    grad_output, x, *, stride, padding, dilation, groups, precision, out, workspace
):
    """Gradient with respect to the weight."""
    if _is_depthwise(out.shape, groups):
        conv2d_depthwise.backward_weight(grad_output, x, stride, padding, dilation, out, workspace)
        return
    conv2d_weight.backward_weight(grad_output, x, stride, padding, dilation, groups, out, workspace)
