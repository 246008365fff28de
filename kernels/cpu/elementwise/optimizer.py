"""Update rules over the flat arenas of a model: one pass, bound by memory.

SGD with momentum moves five words a parameter, Adam seven. A kernel takes the parameter, its gradient, the arrays of
the rule's state (empty ones where the settings need none), the pieces of the arenas that are updated, the learning
rate and the number of the step as arrays of one element, and the values of the rule's settings, in the order of
`fastconv.kernels.update_rules`. One piece is a task. The loop is the same for all rules; a rule is two functions: what
is computed once, from the learning rate, the step and the settings, and what becomes of a vector of parameters, which
loads and stores its part of the state itself. No product or quotient on the way leaves the range of float32 before the
state does: ``(1 - beta) * g`` comes before the square, and roots are divided.
"""

import math
from functools import cache

import numpy as np

from ...update_rules import UPDATE_RULES
from ..runtime.launch import device, kernel, launch
from ..vector.memory import TASK_ELEMENTS, load_ahead, load_kept, store
from ..vector.simd import address, itemsize, lanes, vfloor, vfma, vselect_gt, vselect_max, vsplat, vsqrt


@device
def _always(step, settings):
    return True


def _make_update(name, constants, formula, due=_always):
    """Return the kernel of a rule, which does nothing in steps that are not `due`."""

    def update_pieces(begin, end, parameter, grad, state, pieces, lr, step, settings):
        dt = parameter.dtype
        size = itemsize(dt)
        width = lanes(dt)
        if not due(step[0], settings):
            return
        numbers = constants(lr[0], np.float64(step[0]), settings, dt)
        for task in range(begin, end):
            stop = pieces[task, 1]
            for i in range(pieces[task, 0], stop, width):
                count = min(width, stop - i)
                p = load_kept(address(parameter) + i * size, count, dt)
                g = load_ahead(address(grad) + i * size, count, dt)
                store(address(parameter) + i * size, formula(p, g, state, i * size, count, numbers, dt), count, dt)

    update_pieces.__name__ = f"{name}_update"
    return kernel(update_pieces)


@device
def _penalties(decay, l1, dt):
    return vsplat(decay, dt), vsplat(l1, dt), l1 != 0


@device
def _penalised(p, g, penalties, dt):
    """Return the gradient of the loss with its L2 and L1 penalties."""
    decay, l1, has_l1 = penalties
    g = vfma(decay, p, g)
    if has_l1:
        zero, one = vsplat(0, dt), vsplat(1, dt)
        g = vfma(l1, vselect_gt(p, zero, one, vselect_gt(zero, p, zero - one, p)), g)
    return g


@device
def _sgd_numbers(lr, t, settings, dt):
    momentum, nesterov, decay, dampening, l1 = settings
    new = 1.0 if t == 1 else 1 - dampening
    return vsplat(-lr, dt), _penalties(decay, l1, dt), vsplat(momentum, dt), vsplat(new, dt), nesterov


@device
def _sgd(p, g, state, at, count, numbers, dt):
    (velocity,) = state
    rate, penalties, mu, new, nesterov = numbers
    g = _penalised(p, g, penalties, dt)
    if velocity.size:
        v = vfma(mu, load_kept(address(velocity) + at, count, dt), new * g)
        store(address(velocity) + at, v, count, dt)
        g = vfma(mu, v, g) if nesterov else v
    return vfma(rate, g, p)


@device
def _adagrad_numbers(lr, t, settings, dt):
    lr_decay, eps, decay, l1 = settings
    return vsplat(-lr / (1 + (t - 1) * lr_decay), dt), vsplat(eps, dt), _penalties(decay, l1, dt)


@device
def _adagrad(p, g, state, at, count, numbers, dt):
    (total,) = state
    rate, small, penalties = numbers
    g = _penalised(p, g, penalties, dt)
    s = vfma(g, g, load_kept(address(total) + at, count, dt))
    store(address(total) + at, s, count, dt)
    return vfma(rate, g / (vsqrt(s) + small), p)


@device
def _adadelta_numbers(lr, t, settings, dt):
    rho, eps, decay, l1 = settings
    penalties = _penalties(decay, l1, dt)
    return vsplat(-lr, dt), vsplat(rho, dt), vsplat(1 - rho, dt), vsplat(eps, dt), penalties


@device
def _adadelta(p, g, state, at, count, numbers, dt):
    square, changes = state
    rate, keep, new, small, penalties = numbers
    g = _penalised(p, g, penalties, dt)
    s = keep * load_kept(address(square) + at, count, dt) + new * g * g
    store(address(square) + at, s, count, dt)
    before = load_kept(address(changes) + at, count, dt)
    change = vsqrt(before + small) / vsqrt(s + small) * g
    store(address(changes) + at, keep * before + new * (change * change), count, dt)
    return vfma(rate, change, p)


@device
def _rmsprop_numbers(lr, t, settings, dt):
    alpha, eps, momentum, _centered, decay, l1 = settings
    penalties = _penalties(decay, l1, dt)
    return vsplat(-lr, dt), vsplat(alpha, dt), vsplat(1 - alpha, dt), vsplat(eps, dt), vsplat(momentum, dt), penalties


@device
def _rmsprop(p, g, state, at, count, numbers, dt):
    square, mean, velocity = state
    rate, keep, new, small, mu, penalties = numbers
    g = _penalised(p, g, penalties, dt)
    s = keep * load_kept(address(square) + at, count, dt) + new * g * g
    store(address(square) + at, s, count, dt)
    if mean.size:
        m = keep * load_kept(address(mean) + at, count, dt) + new * g
        store(address(mean) + at, m, count, dt)
        s = vfloor(s - m * m, vsplat(0, dt))
    change = g / (vsqrt(s) + small)
    if velocity.size:
        change = vfma(mu, load_kept(address(velocity) + at, count, dt), change)
        store(address(velocity) + at, change, count, dt)
    return vfma(rate, change, p)


@device
def _moment_numbers(t, beta1, beta2, eps, dt):
    full = vsplat(1 - beta1**t, dt), vsplat(math.sqrt(1 - beta2**t), dt)
    return full, vsplat(beta1, dt), vsplat(1 - beta1, dt), vsplat(beta2, dt), vsplat(1 - beta2, dt), vsplat(eps, dt)


@device
def _moments(g, m, v, at, count, numbers, dt):
    """Move the averages of the gradient and its square, and return them."""
    _, keep1, new1, keep2, new2, _ = numbers
    first = keep1 * load_kept(address(m) + at, count, dt) + new1 * g
    second = keep2 * load_kept(address(v) + at, count, dt) + new2 * g * g
    store(address(m) + at, first, count, dt)
    store(address(v) + at, second, count, dt)
    return first, second


@device
def _adam_numbers(lr, t, settings, dt):
    beta1, beta2, eps, decay, _, l1 = settings
    return vsplat(-lr, dt), vsplat(1, dt), False, _penalties(decay, l1, dt), _moment_numbers(t, beta1, beta2, eps, dt)


@device
def _adamw_numbers(lr, t, settings, dt):
    beta1, beta2, eps, decay, _ = settings
    return (
        vsplat(-lr, dt),
        vsplat(1 - lr * decay, dt),
        True,
        _penalties(0.0, 0.0, dt),
        _moment_numbers(t, beta1, beta2, eps, dt),
    )


@device
def _adam(p, g, state, at, count, numbers, dt):
    m, v, highest = state
    rate, left, decoupled, penalties, moments = numbers
    first, second = _moments(_penalised(p, g, penalties, dt), m, v, at, count, moments, dt)
    if highest.size:
        before = load_kept(address(highest) + at, count, dt)
        second = vselect_max(second, before, second, before)
        store(address(highest) + at, second, count, dt)
    full, small = moments[0], moments[5]
    change = first / full[0] / (vsqrt(second) / full[1] + small)
    return vfma(rate, change, left * p if decoupled else p)


@device
def _mean_momentum(beta1, momentum_decay, t):
    """Return mu_1 * ... * mu_t, mu_t and mu_t+1 of NAdam; the product as far as 1 minus it can tell it from zero."""
    factor = 0.96**momentum_decay
    product, power, i = 1.0, 1.0, 0.0
    while i < t and product > 1e-20:
        power *= factor
        product *= beta1 * (1 - 0.5 * power)
        i += 1
    now, later = 1 - 0.5 * 0.96 ** (t * momentum_decay), 1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay)
    return product, beta1 * now, beta1 * later


@device
def _nadam_numbers(lr, t, settings, dt):
    beta1, beta2, eps, decay, momentum_decay, decoupled, l1 = settings
    product, mu, later = _mean_momentum(beta1, momentum_decay, t)
    rates = vsplat(lr * (1 - mu) / (1 - product), dt), vsplat(lr * later / (1 - product * later), dt)
    shrunk = vsplat(1 - lr * decay if decoupled else 1.0, dt)
    penalties = _penalties(0.0 if decoupled else decay, l1, dt)
    return rates, shrunk, penalties, _moment_numbers(t, beta1, beta2, eps, dt)


@device
def _nadam(p, g, state, at, count, numbers, dt):
    m, v = state
    rates, left, penalties, moments = numbers
    g = _penalised(p, g, penalties, dt)
    first, second = _moments(g, m, v, at, count, moments, dt)
    full, small = moments[0], moments[5]
    return left * p - vfma(rates[0], g, rates[1] * first) / (vsqrt(second) / full[1] + small)


@device
def _muon_numbers(lr, t, settings, dt):
    return vsplat(-lr, dt), vsplat(1 - lr * settings[0], dt)


@device
def _muon(p, g, state, at, count, numbers, dt):
    rate, left = numbers
    return vfma(rate, g, left * p)


@device
def _muon_momentum_numbers(lr, t, settings, dt):
    momentum, nesterov = settings
    return vsplat(momentum, dt), vsplat(1 - momentum, dt), nesterov


@device
def _muon_momentum(p, g, state, at, count, numbers, dt):
    (momentum,) = state
    keep, new, nesterov = numbers
    before = load_kept(address(momentum) + at, count, dt)
    average = vfma(new, g - before, before)
    store(address(momentum) + at, average, count, dt)
    return vfma(keep, average - g, g) if nesterov else average


@device
def _lookahead_due(step, settings):
    return np.float64(step) % np.float64(settings[0]) == 0


@device
def _lookahead_numbers(lr, t, settings, dt):
    return vsplat(settings[1], dt)


@device
def _lookahead(p, g, state, at, count, share, dt):
    (slow,) = state
    before = load_kept(address(slow) + at, count, dt)
    moved = vfma(share, p - before, before)
    store(address(slow) + at, moved, count, dt)
    return moved


@device
def _ema_numbers(lr, t, settings, dt):
    decay, warmup = settings
    return vsplat(1 - (min(decay, (1 + t) / (10 + t)) if warmup else decay), dt)


@device
def _ema(p, g, state, at, count, share, dt):
    return vfma(share, g - p, p)


@device
def _mask_numbers(lr, t, settings, dt):
    return vsplat(0, dt)


@device
def _mask(p, g, state, at, count, zero, dt):
    return vselect_gt(g, zero, p, zero)


_KERNELS = {
    "sgd": _make_update("sgd", _sgd_numbers, _sgd),
    "adagrad": _make_update("adagrad", _adagrad_numbers, _adagrad),
    "adadelta": _make_update("adadelta", _adadelta_numbers, _adadelta),
    "rmsprop": _make_update("rmsprop", _rmsprop_numbers, _rmsprop),
    "adam": _make_update("adam", _adam_numbers, _adam),
    "adamw": _make_update("adamw", _adamw_numbers, _adam),
    "nadam": _make_update("nadam", _nadam_numbers, _nadam),
    "muon": _make_update("muon", _muon_numbers, _muon),
    "muon_momentum": _make_update("muon_momentum", _muon_momentum_numbers, _muon_momentum),
    "lookahead": _make_update("lookahead", _lookahead_numbers, _lookahead, _lookahead_due),
    "ema": _make_update("ema", _ema_numbers, _ema),
    "mask": _make_update("mask", _mask_numbers, _mask),
}


@cache
def _all_of(size):
    """Return the pieces of so many elements."""
    begins = np.arange(0, size, TASK_ELEMENTS)
    return np.stack([begins, np.minimum(begins + TASK_ELEMENTS, size)], axis=1)


def update(rule, parameter, grad, state, *, lr, step, pieces=None):
    """One step of one of the update rules."""
    arrays = tuple(state.get(name, grad[:0]) for name in UPDATE_RULES[rule.name].state)
    pieces = _all_of(parameter.size) if pieces is None else pieces
    launch(_KERNELS[rule.name], len(pieces), parameter, grad, arrays, pieces, lr, step, rule.values)
