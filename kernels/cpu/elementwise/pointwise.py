"""Activations and their gradients: one pass over flat arrays, see maps.py.

The exponential is ours: ``exp(x) = 2**n * exp(r)`` with ``n = round(x / ln 2)``, r in [-0.35, 0.35] and the Taylor
series to r**7 in float32 (remainder 5e-9) or r**13 in float64 (4e-18). GELU takes the tail of the normal distribution
as that exponential times a rational function, in the manner of Shepherd and Laframboise 1981
(https://doi.org/10.1090/S0025-5718-1981-0595058-X). Bound by memory in float32.

A formula takes vectors of x, or of the gradient and of x or y, the tuple `p` of the parameters, and the type.
"""

import math

from ..runtime.launch import device
from ..vector.simd import itemsize, vfloor, vfma, vscale_by_power, vselect_gt, vselect_not_le, vsplat
from .maps import make_binary, make_unary, run_binary, run_unary


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
    """Return (n, exp(r) - 1) of ``exp(x) = 2**n * exp(r)``, n in the low bits as `vscale_by_power` takes it."""
    # Adding 1.5 * 2**mantissa rounds to an integer and leaves it in the low bits.
    magic = vsplat(12582912.0 if itemsize(dt) == 4 else 6755399441055744.0, dt)
    shifted = vfma(x, vsplat(1.4426950408889634, dt), magic)
    n = shifted - magic
    high, low = (0.693359375, -2.12194440e-4) if itemsize(dt) == 4 else (0.6931471803691238, 1.9082149292705877e-10)
    r = vfma(n, vsplat(-low, dt), vfma(n, vsplat(-high, dt), x))
    return shifted, _taylor_expm1(r, dt)


@device
def vector_exp(x, dt):
    """Return ``exp(x)``: infinite above the largest result, 0 below the smallest normal one, NaN for NaN."""
    power, part = _split_exponent(x, dt)
    result = vscale_by_power(vsplat(1, dt) + part, power)
    # Elsewhere, and for NaN, the bits of the sum mean nothing.
    most = vsplat(88.72283 if itemsize(dt) == 4 else 709.782712893384, dt)
    least = vsplat(-87.33654 if itemsize(dt) == 4 else -708.3964185322641, dt)
    result = vselect_not_le(x, most, x * vsplat(math.inf, dt), result)
    return vselect_gt(least, x, vsplat(0, dt), result)


@device
def _expm1(x, dt):
    """Return ``exp(x) - 1`` for x between -40 and 40."""
    one = vsplat(1, dt)
    exponent, part = _split_exponent(x, dt)
    power = vscale_by_power(one, exponent)
    return vfma(power, part, power - one)


@device
def vector_log1p(x, dt):
    """Return ``log(1 + x)`` for x from 0 to 1: ``2 * atanh(s)``, s = x / (x + 2) at most 1/3, by its series."""
    s = x / (x + vsplat(2, dt))
    square, total = s * s, vsplat(0, dt)
    for term in range(16 if itemsize(dt) == 8 else 7, 0, -1):
        total = vfma(total, square, vsplat(1 / (2 * term + 1), dt))
    return vfma(total * square, s + s, s + s)


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
def _relu(x, p, dt):
    zero = vsplat(0, dt)
    return vfloor(x, zero)


@device
def _relu_backward(grad, y, p, dt):
    zero = vsplat(0, dt)
    return vselect_not_le(y, zero, grad, zero)


@device
def _leaky_relu(x, p, dt):
    return vselect_gt(x, vsplat(0, dt), x, vsplat(p[0], dt) * x)


@device
def _leaky_relu_backward(grad, x, p, dt):
    return vselect_gt(x, vsplat(0, dt), grad, vsplat(p[0], dt) * grad)


@device
def _elu(x, p, dt):
    return vselect_gt(x, vsplat(0, dt), x, vsplat(p[0], dt) * _expm1(_clip(x, vsplat(40, dt), dt), dt))


@device
def _elu_backward(grad, x, p, dt):
    return vselect_gt(x, vsplat(0, dt), grad, grad * (vsplat(p[0], dt) * vector_exp(x, dt)))


@device
def _silu(x, p, dt):
    zero, half = vsplat(0, dt), vsplat(0.5, dt)
    # exp(-|x|) by its root, so that x * exp(x) does not pass through a number too small to hold.
    root = vector_exp(vselect_gt(x, zero, zero - half * x, half * x), dt)
    total = vsplat(1, dt) + root * root
    return vselect_gt(x, zero, x / total, (x * root) * (root / total))


@device
def _silu_backward(grad, x, p, dt):
    s, one = _sigmoid(x, dt), vsplat(1, dt)
    return grad * (s * (one + x * (one - s)))


@device
def _sigmoid_forward(x, p, dt):
    return _sigmoid(x, dt)


@device
def _sigmoid_backward(grad, y, p, dt):
    return grad * (y * (vsplat(1, dt) - y))


@device
def _tanh(x, p, dt):
    e = _expm1(_clip(x, vsplat(19, dt), dt) * vsplat(2, dt), dt)
    return e / (e + vsplat(2, dt))


@device
def _tanh_backward(grad, y, p, dt):
    one = vsplat(1, dt)
    return grad * ((one - y) * (one + y))


# Phi(-a) = exp(-a**2 / 2) * P((a - K) / (a + K)) / (a + K) for a from 0 to where the exponential is 0. P, the highest
# power first, interpolates at Chebyshev's points: K = 3 up to 14 and K = 5.5 up to 39, relative error 1.2e-9 and 8e-18.
_TAIL_SINGLE = (
    5.517462393839632e-05,
    0.00013282590865159357,
    -0.0002444839420897951,
    -0.0010338913481372117,
    0.0010241576682239034,
    0.0069696895431712496,
    -0.010462311157907835,
    -0.04726272768935714,
    0.23001767971296402,
    -0.5093319902413,
    0.7290836906652955,
)
_TAIL_DOUBLE = (
    -2.606774740968199e-09,
    -5.739104186181403e-09,
    2.292160863373588e-08,
    5.045535636850466e-08,
    -1.7743314535572898e-07,
    -2.6796598626179425e-07,
    1.4836373916276265e-06,
    4.4643706340921046e-07,
    -1.2118742502261648e-05,
    1.6319965384111024e-05,
    7.141478894513676e-05,
    -0.0003245226531331884,
    0.0002696040156145407,
    0.0024429826757304653,
    -0.013923510567743595,
    0.04509758081468491,
    -0.10970308995855987,
    0.21787243285797395,
    -0.3670490652936254,
    0.5355964890624944,
    -0.685183420574338,
    0.7737696342764068,
)


@device
def _normal(x, dt):
    """Return the normal distribution's Phi(x) and ``exp(-x**2 / 2)``."""
    zero, one = vsplat(0, dt), vsplat(1, dt)
    single = itemsize(dt) == 4
    a = _clip(vselect_gt(x, zero, x, zero - x), vsplat(14.0 if single else 39.0, dt), dt)
    middle = vsplat(3.0 if single else 5.5, dt)
    scale = one / (a + middle)
    t = (a - middle) * scale
    total = zero
    if single:
        for coefficient in _TAIL_SINGLE:
            total = vfma(total, t, vsplat(coefficient, dt))
    else:
        for coefficient in _TAIL_DOUBLE:
            total = vfma(total, t, vsplat(coefficient, dt))
    density = vector_exp(a * a * vsplat(-0.5, dt), dt)
    tail = density * (total * scale)
    return vselect_gt(x, zero, one - tail, tail), density


@device
def _gelu(x, p, dt):
    return x * _normal(x, dt)[0]


@device
def _gelu_backward(grad, x, p, dt):
    probability, density = _normal(x, dt)
    return grad * vfma(x * density, vsplat(0.3989422804014327, dt), probability)


@device
def _mish(x, p, dt):
    e, two = vector_exp(x, dt), vsplat(2, dt)
    n = e * (e + two)  # tanh(log(1 + e)) is n / (n + 2), and 1 to the last digit where x is above 20
    return vselect_gt(x, vsplat(20, dt), x, x * (n / (n + two)))


@device
def _mish_backward(grad, x, p, dt):
    e, one, two = vector_exp(x, dt), vsplat(1, dt), vsplat(2, dt)
    n = e * (e + two)
    slope = n + x * (vsplat(4, dt) * e * (e + one) / (n + two))
    return grad * vselect_gt(x, vsplat(20, dt), one, slope / (n + two))


@device
def _softplus(x, p, dt):
    z, zero = x * vsplat(p[0], dt), vsplat(0, dt)
    tail = vector_log1p(vector_exp(vselect_gt(z, zero, zero - z, z), dt), dt)
    return vselect_gt(z, vsplat(p[1], dt), x, (vfloor(z, zero) + tail) / vsplat(p[0], dt))


@device
def _softplus_backward(grad, x, p, dt):
    z = x * vsplat(p[0], dt)
    return grad * vselect_gt(z, vsplat(p[1], dt), vsplat(1, dt), _sigmoid(z, dt))


@device
def _hardswish(x, p, dt):
    inner = x * (x + vsplat(3, dt)) / vsplat(6, dt)
    return vselect_not_le(x, vsplat(-3, dt), vselect_not_le(vsplat(3, dt), x, inner, x), vsplat(0, dt))


@device
def _hardswish_backward(grad, x, p, dt):
    inner = grad * (x / vsplat(3, dt) + vsplat(0.5, dt))
    return vselect_not_le(x, vsplat(-3, dt), vselect_not_le(vsplat(3, dt), x, inner, grad), vsplat(0, dt))


# The names are those of kernels/pointwise.py.
FORMULAS = {
    "relu": (_relu, _relu_backward),
    "leaky_relu": (_leaky_relu, _leaky_relu_backward),
    "elu": (_elu, _elu_backward),
    "gelu": (_gelu, _gelu_backward),
    "silu": (_silu, _silu_backward),
    "sigmoid": (_sigmoid_forward, _sigmoid_backward),
    "tanh": (_tanh, _tanh_backward),
    "mish": (_mish, _mish_backward),
    "softplus": (_softplus, _softplus_backward),
    "hardswish": (_hardswish, _hardswish_backward),
}
FORWARD = {name: make_unary(f"{name}_forward", forward) for name, (forward, _) in FORMULAS.items()}
GRADIENT = {name: make_binary(f"{name}_gradient", backward) for name, (_, backward) in FORMULAS.items()}


def activate(activation, x, *, out):
    """One of the pointwise functions."""
    run_unary(FORWARD[activation.name], x, out, activation.values)


def activate_backward(activation, grad_output, saved, *, out):
    """Gradient of `activate`."""
    run_binary(GRADIENT[activation.name], grad_output, saved, out, activation.values)
