"""Activations and their gradients: one pass over flat arrays, see elementwise.py.

The exponential is ours: ``exp(x) = 2**n * exp(r)`` with ``n = round(x / ln 2)``, r in [-0.35, 0.35] and the Taylor
series to r**7 in float32 (remainder 5e-9) or r**13 in float64 (4e-18). Bound by memory in float32 except GELU, whose
error function is a scalar call.
"""

import math

import numpy as np

from .elementwise import CHUNK, make_binary, make_unary, run_binary, run_unary
from .launch import device, kernel, launch
from .simd import itemsize, vfma, vscale_by_power, vselect_gt, vselect_not_le, vsplat


@device
def _taylor_expm1(r, dt):
    """Return ``exp(r) - 1`` for small r."""
    total = vsplat(1 / 5040, dt)
    if itemsize(dt) == 8:
        total = vsplat(1 / 6227020800, dt)
        total = vfma(total, r, vsplat(1 / 479001600, dt))
        total = vfma(total, r, vsplat(1 / 39916800, dt))
        total = vfma(total, r, vsplat(1 / 3628800, dt))
        total = vfma(total, r, vsplat(1 / 362880, dt))
        total = vfma(total, r, vsplat(1 / 40320, dt))
        total = vfma(total, r, vsplat(1 / 5040, dt))
    total = vfma(total, r, vsplat(1 / 720, dt))
    total = vfma(total, r, vsplat(1 / 120, dt))
    total = vfma(total, r, vsplat(1 / 24, dt))
    total = vfma(total, r, vsplat(1 / 6, dt))
    total = vfma(total, r, vsplat(1 / 2, dt))
    return vfma(total * r, r, r)


@device
def _split_exponent(x, dt):
    """Return (2**n, exp(r) - 1) of ``exp(x) = 2**n * exp(r)``, for x within the range of normal results."""
    # Adding 1.5 * 2**mantissa rounds to an integer and leaves it in the low bits.
    magic = vsplat(12582912.0 if itemsize(dt) == 4 else 6755399441055744.0, dt)
    shifted = vfma(x, vsplat(1.4426950408889634, dt), magic)
    n = shifted - magic
    high, low = (0.693359375, -2.12194440e-4) if itemsize(dt) == 4 else (0.6931471803691238, 1.9082149292705877e-10)
    r = vfma(n, vsplat(-low, dt), vfma(n, vsplat(-high, dt), x))
    return vscale_by_power(vsplat(1, dt), shifted), _taylor_expm1(r, dt)


@device
def vector_exp(x, dt):
    """Return ``exp(x)``: infinite above the largest result, 0 below the smallest normal one, NaN for NaN."""
    most = vsplat(88.0 if itemsize(dt) == 4 else 709.0, dt)
    least = vsplat(-87.0 if itemsize(dt) == 4 else -708.0, dt)
    # The last step of 0.7 below infinity and above zero is taken as a factor of its own.
    beyond = vselect_gt(x, most, x - most, vselect_gt(least, x, x - least, vsplat(0, dt)))
    power, part = _split_exponent(x - beyond, dt)
    step = vsplat(0.72 if itemsize(dt) == 4 else 0.79, dt)
    extra = vsplat(1, dt) + _taylor_expm1(vselect_gt(beyond, step, step, beyond), dt)
    result = vfma(power, part, power) * extra
    infinite = vselect_gt(beyond, step, vsplat(math.inf, dt), result)
    return vselect_gt(vsplat(-0.33 if itemsize(dt) == 4 else -0.39, dt), beyond, vsplat(0, dt), infinite)


@device
def _expm1(x, dt):
    """Return ``exp(x) - 1`` for x between -40 and 40."""
    power, part = _split_exponent(x, dt)
    return vfma(power, part, power - vsplat(1, dt))


@device
def _clip(x, limit, dt):
    """Return x within +-limit; NaN stays."""
    x = vselect_gt(x, limit, limit, x)
    least = vsplat(0, dt) - limit
    return vselect_gt(least, x, least, x)


@device
def _sigmoid(x, dt):
    one = vsplat(1, dt)
    return one / (one + vector_exp(vsplat(0, dt) - x, dt))


@device
def _relu(x, parameter, dt):
    zero = vsplat(0, dt)
    return vselect_not_le(x, zero, x, zero)


@device
def _relu_backward(grad, y, parameter, dt):
    zero = vsplat(0, dt)
    return vselect_not_le(y, zero, grad, zero)


@device
def _leaky_relu(x, slope, dt):
    return vselect_gt(x, vsplat(0, dt), x, slope * x)


@device
def _leaky_relu_backward(grad, x, slope, dt):
    return vselect_gt(x, vsplat(0, dt), grad, slope * grad)


@device
def _elu(x, alpha, dt):
    return vselect_gt(x, vsplat(0, dt), x, alpha * _expm1(_clip(x, vsplat(40, dt), dt), dt))


@device
def _elu_backward(grad, x, alpha, dt):
    return vselect_gt(x, vsplat(0, dt), grad, grad * (alpha * vector_exp(x, dt)))


@device
def _silu(x, parameter, dt):
    zero, half = vsplat(0, dt), vsplat(0.5, dt)
    # exp(-|x|) by its root, so that x * exp(x) does not pass through a number too small to hold.
    root = vector_exp(vselect_gt(x, zero, zero - half * x, half * x), dt)
    total = vsplat(1, dt) + root * root
    return vselect_gt(x, zero, x / total, (x * root) * (root / total))


@device
def _silu_backward(grad, x, parameter, dt):
    s, one = _sigmoid(x, dt), vsplat(1, dt)
    return grad * (s * (one + x * (one - s)))


@device
def _sigmoid_forward(x, parameter, dt):
    return _sigmoid(x, dt)


@device
def _sigmoid_backward(grad, y, parameter, dt):
    return grad * (y * (vsplat(1, dt) - y))


@device
def _tanh(x, parameter, dt):
    e = _expm1(_clip(x, vsplat(19, dt), dt) * vsplat(2, dt), dt)
    return e / (e + vsplat(2, dt))


@device
def _tanh_backward(grad, y, parameter, dt):
    one = vsplat(1, dt)
    return grad * ((one - y) * (one + y))


relu_forward = make_unary("relu_forward", _relu)
relu_gradient = make_binary("relu_gradient", _relu_backward)
leaky_relu_forward = make_unary("leaky_relu_forward", _leaky_relu)
leaky_relu_gradient = make_binary("leaky_relu_gradient", _leaky_relu_backward)
elu_forward = make_unary("elu_forward", _elu)
elu_gradient = make_binary("elu_gradient", _elu_backward)
silu_forward = make_unary("silu_forward", _silu)
silu_gradient = make_binary("silu_gradient", _silu_backward)
sigmoid_forward = make_unary("sigmoid_forward", _sigmoid_forward)
sigmoid_gradient = make_binary("sigmoid_gradient", _sigmoid_backward)
tanh_forward = make_unary("tanh_forward", _tanh)
tanh_gradient = make_binary("tanh_gradient", _tanh_backward)

_ROOT_HALF = math.sqrt(0.5)
_DENSITY = 1 / math.sqrt(2 * math.pi)


@kernel
def gelu_forward(begin, end, x, out):
    """Chunks of GELU."""
    for i in range(begin * CHUNK, min(end * CHUNK, x.size)):
        value = np.float64(x[i])
        out[i] = value * 0.5 * math.erfc(-value * _ROOT_HALF)


@kernel
def gelu_gradient(begin, end, grad, x, out):
    """Chunks of GELU's gradient."""
    for i in range(begin * CHUNK, min(end * CHUNK, x.size)):
        value = np.float64(x[i])
        slope = 0.5 * math.erfc(-value * _ROOT_HALF) + value * _DENSITY * math.exp(-0.5 * value * value)
        out[i] = grad[i] * slope


def relu(x, *, out):
    """Larger of x and 0."""
    run_unary(relu_forward, x, out)


def relu_backward(grad_output, y, *, out):
    """Gradient of `relu`."""
    run_binary(relu_gradient, grad_output, y, out)


def leaky_relu(x, *, slope, out):
    """Leaky rectifier."""
    run_unary(leaky_relu_forward, x, out, float(slope))


def leaky_relu_backward(grad_output, x, *, slope, out):
    """Gradient of `leaky_relu`."""
    run_binary(leaky_relu_gradient, grad_output, x, out, float(slope))


def elu(x, *, alpha, out):
    """Exponential linear unit."""
    run_unary(elu_forward, x, out, float(alpha))


def elu_backward(grad_output, x, *, alpha, out):
    """Gradient of `elu`."""
    run_binary(elu_gradient, grad_output, x, out, float(alpha))


def gelu(x, *, out):
    """Gaussian error linear unit."""
    launch(gelu_forward, -(-x.size // CHUNK), x.reshape(-1), out.reshape(-1))


def gelu_backward(grad_output, x, *, out):
    """Gradient of `gelu`."""
    launch(gelu_gradient, -(-x.size // CHUNK), grad_output.reshape(-1), x.reshape(-1), out.reshape(-1))


def silu(x, *, out):
    """Sigmoid linear unit."""
    run_unary(silu_forward, x, out)


def silu_backward(grad_output, x, *, out):
    """Gradient of `silu`."""
    run_binary(silu_gradient, grad_output, x, out)


def sigmoid(x, *, out):
    """Logistic function."""
    run_unary(sigmoid_forward, x, out)


def sigmoid_backward(grad_output, y, *, out):
    """Gradient of `sigmoid`."""
    run_binary(sigmoid_gradient, grad_output, y, out)


def tanh(x, *, out):
    """Hyperbolic tangent."""
    run_unary(tanh_forward, x, out)


def tanh_backward(grad_output, y, *, out):
    """Gradient of `tanh`."""
    run_binary(tanh_gradient, grad_output, y, out)
