"""Convolution on the CPU: the choice of kernel for each direction, and the launches."""

import math

import numpy as np

from . import batch_norm, conv2d_depthwise, conv2d_taps, conv2d_weight, winograd, winograd_prepare, winograd_weight
from .conv2d_direct import NO_BIAS, run_gather
from .elementwise import copy
from .gather import backward_input_gathers, forward_gathers
from .launch import is_recording
from .pack import pack, packed_size

_WINOGRAD_CHANNELS = 16  # a vector; with fewer the transforms compute lanes that nobody needs


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


_WEIGHT_SIZES = ((3, 3),)
_TILES = {(3, 3): winograd.TILE, (5, 5): winograd.SMALL_TILE}


def _no_winograd(weight, out_shape, geometry, precision, kernel_sizes=tuple(_TILES)):
    """Return why Winograd does not pay; None if it does: stride 1, enough channels, maps that fill its tiles."""
    stride, _, dilation, groups = geometry
    if weight.dtype != np.float32:
        return f"{weight.dtype} is always direct"
    if precision == "strict":
        return "strict precision is always direct"
    if weight.shape[:2] not in kernel_sizes:
        return f"the kernel is {weight.shape[0]}x{weight.shape[1]}"
    for name, value in (("stride", stride), ("dilation", dilation)):
        if value != (1, 1):
            return f"the {name} is {value}"
    if groups != 1:
        return f"there are {groups} groups"
    if min(weight.shape[2:]) < _WINOGRAD_CHANNELS:
        return f"{min(weight.shape[2:])} channels are fewer than {_WINOGRAD_CHANNELS}"
    tile = _TILES[weight.shape[:2]]
    share = out_shape[1] * out_shape[2] / max(1, math.prod(-(-n // tile) * tile for n in out_shape[1:3]))
    if share < 0.5:
        return f"a map of {out_shape[1]}x{out_shape[2]} fills {share:.0%} of its {tile}x{tile} tiles"
    return None


def _suits_winograd(weight, out_shape, geometry, precision, kernel_sizes=tuple(_TILES)):
    return _no_winograd(weight, out_shape, geometry, precision, kernel_sizes) is None


def reasons(weight, input_shape, geometry, precision):
    """Return, for each direction, the algorithm and why it was chosen."""
    if _is_depthwise(weight.shape, geometry[3]):
        return ["depthwise: one input channel for each output"]
    out_shape = _conv_output_shape(input_shape, weight.shape, *geometry[:3])
    found = []
    size = "x".join(map(str, weight.shape[:2]))
    for direction, shape, sizes in (
        ("forward", out_shape, tuple(_TILES)),
        ("backward-input", input_shape, tuple(_TILES)),
        ("backward-weight", out_shape, _WEIGHT_SIZES),
    ):
        obstacle = _no_winograd(weight, shape, geometry, precision, sizes)
        chosen = f"Winograd: {size} with stride 1 in float32" if obstacle is None else f"direct: {obstacle}"
        found.append(f"{direction} {chosen}")
    return found


def _pack_strides(weight, direction, groups):
    """Strides of (r, s, reduced channel, produced channel, group) in a HWIO weight, in elements."""
    _, s, c, k = weight.shape
    if direction == "forward":
        return s * c * k, c * k, k, 1, k // groups
    return s * c * k, c * k, 1, k, k // groups


def _transform_weight(weight, direction, gather, strides, workspace):
    plan = gather.plan
    if direction == "forward":
        return winograd_prepare.prepare(
            weight, weight.shape[:2], plan.group_in, plan.group_out, workspace, packed=False
        )
    gather = gather._replace(plan=plan._replace(block_channels=plan.group_in))
    turned = workspace.empty((packed_size(plan, weight.itemsize),), weight.dtype)
    pack(weight, turned, gather, strides)
    return winograd_prepare.prepare(turned, weight.shape[:2], plan.group_in, plan.group_out, workspace, packed=True)


def prepare_conv2d_weight(weight, *, direction, input_shape, stride, padding, dilation, groups, precision, workspace):
    """Return (algorithm, packed weight or None)."""
    if _is_depthwise(weight.shape, groups):
        return f"conv2d_{direction}_{conv2d_depthwise.algorithm(weight, direction, stride)}", None
    geometry = (stride, padding, dilation, groups)
    gathers = _gathers(direction, weight.shape, input_shape, geometry, weight.itemsize)
    strides = _pack_strides(weight, direction, groups)
    out_shape = input_shape
    if direction == "forward":
        out_shape = _conv_output_shape(input_shape, weight.shape, stride, padding, dilation)
    if _suits_winograd(weight, out_shape, geometry, precision):
        return f"conv2d_{direction}_winograd", _transform_weight(weight, direction, gathers[0], strides, workspace)
    if not conv2d_taps.all_finite(weight):
        return f"conv2d_{direction}_taps", None
    packed = workspace.empty((sum(packed_size(g.plan, weight.itemsize) for g in gathers),), weight.dtype)
    start = 0
    for gather in gathers:
        stop = start + packed_size(gather.plan, weight.itemsize)
        pack(weight, packed[start:stop], gather, strides)
        start = stop
    return f"conv2d_{direction}_direct", packed


def _run(x, weight, bias, out, gathers, workspace, *, floor=-math.inf, addend=None, statistics=None):
    bias = NO_BIAS[x.dtype] if bias is None else bias
    if weight.algorithm.endswith("_winograd"):
        plan, packed = gathers[0].plan, weight.packed
        tile = _TILES[weight.weight.shape[:2]]
        more = {"tile": tile, "floor": floor, "addend": addend, "statistics": statistics}
        winograd.run(x, packed, bias, -plan.first_dh, -plan.first_dw, out, workspace, **more)
        return
    if addend is not None and addend is not out:
        copy(addend, out=out)
    start = 0
    for gather in gathers:
        stop = start + packed_size(gather.plan, x.itemsize)
        part = weight.packed[start:stop]
        run_gather(x, part, bias, out, gather, workspace, add=addend is not None, floor=floor)
        start = stop
    if statistics is not None:
        batch_norm.statistics(out, *statistics, workspace)


def conv2d(
    x, weight, bias, *, stride, padding, dilation, groups, out, workspace, floor=-math.inf, addend=None, statistics=None
):
    """Convolution with a weight prepared for "forward".

    ``max(conv2d(x) + bias + addend, floor)``; with `statistics` also mean and variance of the result, into those two
    arrays.
    """
    shape = weight.weight.shape
    geometry = (stride, padding, dilation, groups)
    if is_plain(weight):
        if weight.algorithm.endswith("_taps"):
            conv2d_taps.forward(x, weight.weight, bias, *geometry, out, workspace)
        else:
            rows = weight.algorithm.endswith("_3x3")
            conv2d_depthwise.forward(x, weight.weight, bias, stride, padding, dilation, out, workspace, rows=rows)
        return
    gathers = _gathers("forward", shape, x.shape, geometry, x.itemsize)
    _run(x, weight, bias, out, gathers, workspace, floor=floor, addend=addend, statistics=statistics)


def is_plain(weight):
    """Tell whether the kernel chosen has nothing fused behind it."""
    return weight.algorithm.endswith(("_taps", "_depthwise", "_depthwise_3x3"))


def conv2d_backward_input(grad_output, weight, *, stride, padding, dilation, groups, out, workspace, addend=None):
    """Gradient with respect to the input, with a weight prepared for "backward_input", plus `addend` if given."""
    shape = weight.weight.shape
    geometry = (stride, padding, dilation, groups)
    if is_plain(weight):
        if weight.algorithm.endswith("_taps"):
            conv2d_taps.backward_input(grad_output, weight.weight, *geometry, out, workspace)
        else:
            rows = weight.algorithm.endswith("_3x3")
            geometry = (stride, padding, dilation)
            conv2d_depthwise.backward_input(grad_output, weight.weight, *geometry, out, workspace, rows=rows)
        return
    gathers = _gathers("backward_input", shape, out.shape, geometry, out.itemsize)
    _run(grad_output, weight, None, out, gathers, workspace, addend=addend)


def conv2d_backward_weight(grad_output, x, *, stride, padding, dilation, groups, precision, out, workspace):
    """Gradient with respect to the weight."""
    geometry = (stride, padding, dilation, groups)
    if grad_output.size and _suits_winograd(out, grad_output.shape, geometry, precision, _WEIGHT_SIZES):
        winograd_weight.backward_weight(grad_output, x, padding[0][0], padding[1][0], out, workspace)
        return
    if _is_depthwise(out.shape, groups):
        conv2d_depthwise.backward_weight(grad_output, x, stride, padding, dilation, out, workspace)
    else:
        conv2d_weight.backward_weight(grad_output, x, *geometry, out, workspace)
    if not any(map(any, padding)):
        return
    if is_recording():  # nothing is computed yet
        conv2d_taps.expect_finite(out)
    elif not conv2d_taps.all_finite(out):
        conv2d_taps.backward_weight(grad_output, x, *geometry, out, workspace)
