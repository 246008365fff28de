"""Convolutions with a pooling, a rectifier's gradient or a normalisation's beside them.

Each is one pass where Winograd computes it with 3x3 taps and its results stay in range; else it is composed of its
parts: by shapes and values, as `fastconv.explain` shows.
"""

from ...pointwise import RELU
from ..elementwise.pointwise import activate_backward
from ..elementwise.reduce import relu_backward_bias
from ..norm.backward import relu_sums
from ..pool.max_pool import max_pool2d, max_pool2d_backward
from ..pool.windows import suits_pool
from ..vector.bf16_storage import widened
from .choice import WINOGRAD, WINOGRAD_FIXED, winograd_tile
from .conv2d import conv2d_backward_input, conv2d_backward_weight, conv2d_relu, in_range, run, weight_algorithm
from .strip import NO_BIAS
from .winograd import mask as winograd_mask
from .winograd import norm as winograd_norm
from .winograd import pool as winograd_pool
from .winograd import unpool as winograd_unpool
from .winograd.plan import suits_fusion
from .winograd.transforms import SQUARE


def _fused_winograd(weight, x_shape, out_shape):
    """Return padding before the first row and column, and tile, if another layer can follow in registers, else None."""
    if not weight.algorithm.endswith(WINOGRAD) or weight.geometry.kernel_size != (3, 3):
        return None
    place = *weight.geometry.padding_before, winograd_tile(weight.algorithm, (3, 3))
    fixed = weight.algorithm.endswith(WINOGRAD_FIXED)
    return place if suits_fusion(x_shape, out_shape, *place, fixed) else None


def conv2d_relu_max_pool2d(x, weight, bias, *, windows, out, argmax, workspace):
    """Convolution, rectifier and max pooling."""
    if not _fused_pool(x, weight, bias, windows, out, argmax, workspace):
        size = weight.geometry.output_size(*x.shape[1:3])
        y = workspace.empty((x.shape[0], *size, weight.weight.shape[3]), out.dtype)
        conv2d_relu(x, weight, bias, out=y, workspace=workspace)
        max_pool2d(y, windows=windows, out=out, argmax=argmax)


def _fused_pool(x, weight, bias, windows, out, argmax, workspace):
    conv_shape = (x.shape[0], *weight.geometry.output_size(*x.shape[1:3]), weight.weight.shape[3])
    place = _fused_winograd(weight, x.shape, conv_shape)
    if place is None or not suits_pool(conv_shape, out.shape, windows):
        return False
    bias = NO_BIAS[weight.weight.dtype] if bias is None else bias
    found = winograd_pool.run_pool(x, weight.packed, bias, conv_shape, *place, out, argmax, workspace)
    return in_range(found, workspace, x, weight.weight)


def conv2d_backward_input_relu(grad_output, weight, y, *, out, grad_bias, workspace):
    """Gradient behind the rectifier whose result `y` was the input, and its sum."""
    place = _fused_winograd(weight, grad_output.shape, out.shape)
    if place is not None:
        found = winograd_mask.run_masked(grad_output, weight.packed, y, *place, out, grad_bias, workspace)
        if in_range(found, workspace, grad_output, weight.weight):
            return
    y = widened(y, workspace)
    conv2d_backward_input(grad_output, weight, out=out, workspace=workspace)
    if grad_bias is None:
        activate_backward(RELU, out, y, out=out)
    else:
        relu_backward_bias(out, y, out=out, grad_bias=grad_bias, workspace=workspace)


def conv2d_max_pool2d_backward(
    grad_output,
    argmax,
    x,
    weight,
    *,
    geometry,
    windows,
    precision,
    grad_weight,
    grad_input,
    rectified,
    grad_bias,
    workspace,
):
    """Gradients of a convolution behind which a max pooling stands, from that of the pooling's result."""
    grads = (grad_weight, grad_input, rectified, grad_bias)
    how = {"geometry": geometry, "windows": windows, "precision": precision}
    if _unpooled_in_registers(grad_output, argmax, x, weight, grads, workspace, **how):
        return
    conv_shape = (x.shape[0], *geometry.output_size(*x.shape[1:3]), grad_weight.shape[3])
    grad = workspace.empty(conv_shape, grad_output.dtype)
    max_pool2d_backward(grad_output, argmax, windows=windows, out=grad)
    conv2d_backward_weight(grad, x, geometry=geometry, precision=precision, out=grad_weight, workspace=workspace)
    if rectified and grad_input is not None:
        conv2d_backward_input_relu(grad, weight, x, out=grad_input, grad_bias=grad_bias, workspace=workspace)
    elif grad_input is not None:
        conv2d_backward_input(grad, weight, out=grad_input, workspace=workspace)


def _unpooled_in_registers(grad_output, argmax, x, weight, grads, workspace, *, geometry, windows, precision):
    """Compute both gradients where the pooling's can be spread within Winograd's transforms; return whether."""
    grad_weight, grad_input, rectified, grad_bias = grads
    conv_shape = (x.shape[0], *geometry.output_size(*x.shape[1:3]), grad_weight.shape[3])
    if not suits_pool(conv_shape, grad_output.shape, windows) or not grad_output.size:
        return False
    algorithm = weight_algorithm(grad_weight, x.shape, geometry, precision)
    if algorithm not in WINOGRAD or geometry.kernel_size != (3, 3):
        return False
    place = None
    if grad_input is not None:
        place = _fused_winograd(weight, conv_shape, x.shape)
        if place is None or place[2] != SQUARE or any(pad % 2 for pad in place[:2]):  # patches must begin on windows
            return False
    more = (conv_shape, *geometry.padding_before, grad_weight, workspace)
    found = winograd_unpool.backward_weight(grad_output, argmax, x, *more, fixed=algorithm == WINOGRAD_FIXED)
    if not in_range(found, workspace, grad_output, x):
        return False
    if place is None:
        return True
    mask = x if rectified else x[:0]
    more = (mask, conv_shape, *place[:2], grad_input, grad_bias if rectified else None, workspace)
    found = winograd_unpool.backward_input(grad_output, argmax, weight.packed, *more)
    return in_range(found, workspace, grad_output, weight.weight)


def conv2d_backward_input_norm_relu(
    grad_output, weight, addend, y, x, *, mean, var, eps, out, grad_gamma, grad_beta, workspace
):
    """Gradient plus `addend` behind ``y = relu(batch_norm(x))``, and its sums."""
    place = _fused_winograd(weight, grad_output.shape, out.shape)
    if place is not None:
        norm = (y, x, mean, var, eps, grad_gamma, grad_beta)
        found = winograd_norm.run(grad_output, weight.packed, addend, norm, *place, out, workspace)
        if addend is out or in_range(found, workspace, grad_output, weight.weight):  # or the addend is gone
            return
    run(grad_output, weight, None, out, workspace, addend=addend)
    sums = {"mean": mean, "var": var, "eps": eps, "grad_gamma": grad_gamma, "grad_beta": grad_beta}
    relu_sums(out, y, x, **sums, out=out, workspace=workspace)
