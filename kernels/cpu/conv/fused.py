"""Convolutions with what follows or precedes them: activation, pooling, and gradients of these and of a normalisation.

Each is one pass where Winograd computes it with 3x3 taps and its results stay in range; else it is composed of its
parts: by shapes and values, as `fastconv.explain` shows.
"""

from ...epilogue import NO_EPILOGUE
from ..elementwise.following import following
from ..elementwise.pointwise import activate_backward
from ..elementwise.reduce import activate_backward_bias
from ..norm import batch_norm
from ..norm.backward import activation_sums, saved_of
from ..pool.max_pool import max_pool2d, max_pool2d_backward
from ..pool.windows import suits_pool
from ..vector.bf16_storage import widened
from ..vector.memory import or_nothing
from .conv2d import conv2d_backward_weight, run, weight_algorithm
from .epilogue import ConvEpilogue
from .plan import conv_output_shape
from .winograd import mask as winograd_mask
from .winograd import norm as winograd_norm
from .winograd import pool as winograd_pool
from .winograd import unpool as winograd_unpool
from .winograd.overflow import in_range
from .winograd.plan import suits_fusion


def _fused_winograd(weight, x_shape, out_shape):
    """Return the padding before the first row and column if another layer can follow in registers, else None."""
    algorithm = weight.algorithm
    if algorithm.form != "winograd" or weight.geometry.kernel_size != (3, 3):
        return None
    place = weight.geometry.padding_before
    return place if suits_fusion(x_shape, out_shape, *place, algorithm.tile, algorithm.fixed_point) else None


def conv2d(x, weight, bias, epilogue, *, addend=None, out, before=None, argmax=None, workspace):
    """Convolution, and what follows it. What is kept of all pixels would be most of what a fused pooling saves."""
    windows, activation = epilogue.windows, epilogue.activation
    if windows is None:
        run(x, weight, bias, out, workspace, ConvEpilogue(activation, addend, before=before))
    elif addend is None and before is None and _fused_pool(x, weight, bias, epilogue, out, argmax, workspace):
        return
    else:
        size = weight.geometry.output_size(*x.shape[1:3])
        y = workspace.empty((x.shape[0], *size, weight.weight.shape[3]), out.dtype)
        run(x, weight, bias, y, workspace, ConvEpilogue(activation, addend, before=before))
        max_pool2d(y, windows=windows, out=out, argmax=argmax)


def conv2d_statistics(x, weight, bias, epilogue, *, out, argmax=None, mean, var, workspace):
    """Convolution, and what follows it, with mean and variance of the result."""
    statistics = mean, var
    if epilogue == NO_EPILOGUE:
        run(x, weight, bias, out, workspace, ConvEpilogue(statistics=statistics))
    elif epilogue.windows is None or not _fused_pool(x, weight, bias, epilogue, out, argmax, workspace, statistics):
        conv2d(x, weight, bias, epilogue, out=out, argmax=argmax, workspace=workspace)
        batch_norm.statistics(out, *statistics, workspace)


def _fused_pool(x, weight, bias, epilogue, out, argmax, workspace, statistics=None):
    """Convolve and pool in one pass, with mean and variance if there are arrays for them; return whether that is."""
    conv_shape = (x.shape[0], *weight.geometry.output_size(*x.shape[1:3]), weight.weight.shape[3])
    place = _fused_winograd(weight, x.shape, conv_shape)
    if place is None or not suits_pool(conv_shape, out.shape, epilogue.windows):
        return False
    follows = or_nothing(bias, weight.weight.dtype), following(epilogue.activation)
    arguments = (x, weight, follows, conv_shape, place, (out, argmax), workspace)
    found = winograd_pool.convolve_pool(*arguments, statistics=statistics)
    return in_range(found, workspace, x, weight.weight)


def conv2d_backward_input(
    grad_output, weight, *, bias=None, addend=None, activation=None, saved=None, grad_bias=None, out, workspace
):
    """Gradient of the input, plus `bias` or `addend`, and through the activation that made the input, with its sum."""
    if activation is None:
        run(grad_output, weight, bias, out, workspace, ConvEpilogue(addend=addend))
        return
    place = None if addend is not None else _fused_winograd(weight, grad_output.shape, out.shape)
    if place is not None:
        preceding = saved, following(activation)
        found = winograd_mask.convolve_masked(grad_output, weight, preceding, place, (out, grad_bias), workspace)
        if in_range(found, workspace, grad_output, weight.weight):
            return
    saved = widened(saved, workspace)
    run(grad_output, weight, None, out, workspace, ConvEpilogue(addend=addend))
    if grad_bias is None:
        activate_backward(activation, out, saved, out=out)
    else:
        activate_backward_bias(activation, out, saved, out=out, grad_bias=grad_bias, workspace=workspace)


def conv2d_max_pool2d_backward(
    grad_output,
    argmax,
    x,
    weight,
    *,
    geometry,
    windows,
    precision,
    algorithm,
    activation=None,
    saved=None,
    grad_weight,
    grad_input,
    grad_bias=None,
    workspace,
):
    """Gradients of a convolution after which a max pooling stands, from that of the pooling's result."""
    grads = (grad_weight, grad_input, (activation, saved), grad_bias)
    how = {"geometry": geometry, "precision": precision, "algorithm": algorithm}
    if _unpooled_in_registers(grad_output, argmax, x, weight, grads, workspace, windows=windows, **how):
        return
    conv_shape = conv_output_shape(x.shape, grad_weight.shape, geometry)
    grad = workspace.empty(conv_shape, grad_output.dtype)
    max_pool2d_backward(grad_output, argmax, windows=windows, out=grad)
    conv2d_backward_weight(grad, x, **how, out=grad_weight, workspace=workspace)
    if grad_input is not None:
        through = {"activation": activation, "saved": saved, "grad_bias": grad_bias}
        conv2d_backward_input(grad, weight, **through, out=grad_input, workspace=workspace)


def _unpooled_in_registers(
    grad_output, argmax, x, weight, grads, workspace, *, windows, geometry, precision, algorithm
):
    """Compute both gradients where the pooling's can be spread within Winograd's transforms; return whether."""
    grad_weight, grad_input, (activation, saved), grad_bias = grads
    conv_shape = conv_output_shape(x.shape, grad_weight.shape, geometry)
    if not suits_pool(conv_shape, grad_output.shape, windows) or not grad_output.size:
        return False
    chosen = weight_algorithm(grad_weight, x.shape, geometry, precision, algorithm)
    if chosen.form != "winograd" or geometry.kernel_size != (3, 3):
        return False
    place = None
    if grad_input is not None:
        place = _fused_winograd(weight, conv_shape, x.shape)
        if place is None or not winograd_unpool.suits_windows(place, weight.algorithm.tile):
            return False
    pooled, before = (grad_output, argmax), geometry.padding_before
    found = winograd_unpool.backward_weight(chosen, pooled, x, conv_shape, before, grad_weight, workspace)
    if not in_range(found, workspace, grad_output, x):
        return False
    if place is None:
        return True
    preceding = (x[:0] if activation is None else saved), following(activation)
    results = grad_input, grad_bias
    found = winograd_unpool.backward_input(pooled, weight, preceding, conv_shape, place, results, workspace)
    return in_range(found, workspace, grad_output, weight.weight)


def conv2d_backward_input_norm(
    grad_output,
    weight,
    x,
    gamma,
    mean,
    var,
    epilogue,
    *,
    addend=None,
    beta=None,
    saved=None,
    norm_addend=None,
    argmax=None,
    windows=None,
    eps,
    out,
    grad_gamma,
    grad_beta,
    workspace,
):
    """Gradient plus `addend` through the activation of a normalisation, and its sums."""
    norm = gamma, gamma if beta is None else beta, mean, var, eps
    saved = saved_of(epilogue.activation, saved, norm_addend, gamma.dtype)
    forward, results = (saved, x, norm, following(epilogue.activation)), (out, grad_gamma, grad_beta)
    if windows is not None:
        size = weight.geometry.transposed().output_size(*out.shape[1:3])
        grad = workspace.empty((out.shape[0], *size, grad_output.shape[3]), grad_output.dtype)
        pooled = (grad_output, argmax), grad.shape, windows
        if _unpooled_norm(pooled, weight, addend, forward, results, workspace):
            return
        max_pool2d_backward(grad_output, argmax, windows=windows, out=grad)
        grad_output = grad
    place = _fused_winograd(weight, grad_output.shape, out.shape)
    if place is not None:
        found = winograd_norm.convolve_norm(grad_output, weight, addend, forward, place, results, workspace)
        if addend is out or in_range(found, workspace, grad_output, weight.weight):  # or the addend is gone
            return
    run(grad_output, weight, None, out, workspace, ConvEpilogue(addend=addend))
    activation_sums(epilogue.activation, saved, x, norm, results, workspace)


def _unpooled_norm(pooled, weight, addend, forward, results, workspace):
    """Compute all where the pooling's gradient can be spread within Winograd's transform; return whether.

    `pooled` is ((gradient, argmax), the shape before the pooling, its windows).
    """
    (grad, argmax), conv_shape, windows = pooled
    place = _fused_winograd(weight, conv_shape, results[0].shape)
    suits = place is not None and winograd_unpool.suits_windows(place, weight.algorithm.tile)
    if not suits or addend is results[0] or not suits_pool(conv_shape, grad.shape, windows) or not grad.size:
        return False
    arguments = ((grad, argmax), weight, addend, forward, conv_shape, place, results, workspace)
    found = winograd_unpool.backward_input_norm(*arguments)
    return in_range(found, workspace, grad, weight.weight)
