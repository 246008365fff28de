"""Activations and their gradients: one pass over flat arrays, see maps.py.

The exponential is ours: ``exp(x) = 2**n * exp(r)`` with ``n = round(x / ln 2)``, r in [-0.35, 0.35] and the Taylor
series to r**7 in float32 (remainder 5e-9) or r**13 in float64 (4e-18). GELU takes the tail of the normal distribution
in float64 as that exponential times a rational function, in the manner of Shepherd and Laframboise 1981
(https://doi.org/10.1090/S0025-5718-1981-0595058-X); in float32, whose results are held to roundings of x, it and its
slope are one rational function each. Bound by memory in float32.

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
def _falling_exp(x, dt):
    """Return ``exp(x)`` for x of at most 0: 0 below the smallest normal result."""
    power, part = _split_exponent(x, dt)
    least = vsplat(-87.33654 if itemsize(dt) == 4 else -708.3964185322641, dt)
    return vselect_gt(least, x, vsplat(0, dt), vscale_by_power(vsplat(1, dt) + part, power))


@device
def vector_exp(x, dt):
    """Return ``exp(x)``: infinite above the largest result, 0 below the smallest normal one, NaN for NaN."""
    # Above, and for NaN, the bits of the sum mean nothing.
    most = vsplat(88.72283 if itemsize(dt) == 4 else 709.782712893384, dt)
    return vselect_not_le(x, most, x * vsplat(math.inf, dt), _falling_exp(x, dt))


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
    zero, half = vsplat(0, dt), vsplat(0.5, dt) * x
    # exp(-|x|) by its root, so that x * exp(x) does not pass through a number too small to hold.
    root = _falling_exp(vselect_gt(half, zero, zero - half, half), dt)
    return vselect_gt(x, zero, x, (x * root) * root) / (vsplat(1, dt) + root * root)


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


# Rational functions of x**2, numerator and denominator, the highest power first, nearest in the maximum norm: times x,
# Phi(x) - 1/2 for x up to 5.3 with an error of 4e-9, and GELU's slope less 1/2 up to 6 with 3e-8. There both are 1/2 to
# the last digit.
_PHI_LIMIT, _SLOPE_LIMIT = 5.3, 6.0
_PHI = (
    (0.019440036, 5.156078, 129.59004, 3740.762, 26621.281, 322465.78),
    (1.0, 57.671093, 1484.4553, 22744.205, 201446.28, 808301.94),
)
_SLOPE = (
    (-2.7638855e-06, 0.0005012288, -0.01815657, 5.9405403, -26.662428, 2615.0261, -7471.9214, 143599.56),
    (1.0, 27.034376, 531.3406, 6654.0586, 50627.543, 179975.3),
)
# In float64, Phi(-a) = exp(-a**2 / 2) * P((a - K) / (a + K)) / (a + K) for a from 0 to where the exponential is 0. P,
# the highest power first, interpolates at Chebyshev's points: K = 5.5 up to 39, relative error 8e-18.
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
def _polynomial(coefficients, x, dt):
    total = vsplat(coefficients[0], dt)
    for coefficient in coefficients[1:]:
        total = vfma(total, x, vsplat(coefficient, dt))
    return total


@device
def _normal(x, dt):
    """Return the normal distribution's Phi(x) and ``exp(-x**2 / 2)``; in float64."""
    zero, one, middle = vsplat(0, dt), vsplat(1, dt), vsplat(5.5, dt)
    a = _clip(vselect_gt(x, zero, x, zero - x), vsplat(39.0, dt), dt)
    scale = one / (a + middle)
    t = (a - middle) * scale
    total = zero
    for coefficient in _TAIL_DOUBLE:
        total = vfma(total, t, vsplat(coefficient, dt))
    density = vector_exp(a * a * vsplat(-0.5, dt), dt)
    tail = density * (total * scale)
    return vselect_gt(x, zero, one - tail, tail), density


@device
def _gelu(x, p, dt):
    if itemsize(dt) == 8:
        return x * _normal(x, dt)[0]
    most, half = vsplat(_PHI_LIMIT**2, dt), vsplat(0.5, dt)
    square = x * x
    square = vselect_gt(square, most, most, square)
    ratio = _polynomial(_PHI[0], square, dt) / _polynomial(_PHI[1], square, dt)
    return x * (half + _clip(x * ratio, half, dt))  # beyond the limit the product goes on growing


@device
def _gelu_backward(grad, x, p, dt):
    if itemsize(dt) == 8:
        probability, density = _normal(x, dt)
        return grad * vfma(x * density, vsplat(0.3989422804014327, dt), probability)
    x = _clip(x, vsplat(_SLOPE_LIMIT, dt), dt)
    square = x * x
    ratio = x * _polynomial(_SLOPE[0], square, dt) / _polynomial(_SLOPE[1], square, dt)
    return grad * (vsplat(0.5, dt) + ratio)


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
