"""Optimizer steps over the flat arenas of a model: one pass, bound by memory.

SGD with momentum moves five words a parameter, Adam seven.
"""

import numpy as np

from ..runtime.launch import kernel, launch
from ..vector.memory import CHUNK, load, store
from ..vector.simd import address, itemsize, lanes, vfma, vsplat, vsqrt


@kernel
def sgd_update(begin, end, parameter, grad, velocity, lr, momentum, nesterov, weight_decay):
    """One chunk a task."""
    dt = parameter.dtype
    size = itemsize(dt)
    width = lanes(dt)
    rate, decay, mu = vsplat(-lr[0], dt), vsplat(weight_decay, dt), vsplat(momentum, dt)
    stop = min(end * CHUNK, parameter.size)
    for i in range(begin * CHUNK, stop, width):
        count = min(width, stop - i)
        p = load(address(parameter) + i * size, count, dt)
        g = vfma(decay, p, load(address(grad) + i * size, count, dt))
        if velocity.size:
            v = vfma(mu, load(address(velocity) + i * size, count, dt), g)
            store(address(velocity) + i * size, v, count, dt)
            g = vfma(mu, v, g) if nesterov else v
        store(address(parameter) + i * size, vfma(rate, g, p), count, dt)


@kernel
def adam_update(begin, end, parameter, grad, m, v, lr, step, beta1, beta2, eps, weight_decay):
    """One chunk a task."""
    dt = parameter.dtype
    size = itemsize(dt)
    width = lanes(dt)
    rate = vsplat(-lr[0], dt)
    full1, full2 = vsplat(1 - beta1 ** np.float64(step[0]), dt), vsplat(1 - beta2 ** np.float64(step[0]), dt)
    decay, small = vsplat(weight_decay, dt), vsplat(eps, dt)
    keep1, new1 = vsplat(beta1, dt), vsplat(1 - beta1, dt)
    keep2, new2 = vsplat(beta2, dt), vsplat(1 - beta2, dt)
    stop = min(end * CHUNK, parameter.size)
    for i in range(begin * CHUNK, stop, width):
        count = min(width, stop - i)
        p = load(address(parameter) + i * size, count, dt)
        g = vfma(decay, p, load(address(grad) + i * size, count, dt))
        first = keep1 * load(address(m) + i * size, count, dt) + new1 * g
        second = keep2 * load(address(v) + i * size, count, dt) + new2 * (g * g)
        store(address(m) + i * size, first, count, dt)
        store(address(v) + i * size, second, count, dt)
        change = first / full1 / (vsqrt(second / full2) + small)
        store(address(parameter) + i * size, vfma(rate, change, p), count, dt)


def sgd_step(parameter, grad, velocity, *, lr, momentum, nesterov, weight_decay):
    """Stochastic gradient descent."""
    velocity = grad[:0] if velocity is None else velocity
    arguments = (lr, float(momentum), bool(nesterov), float(weight_decay))
    launch(sgd_update, -(-parameter.size // CHUNK), parameter, grad, velocity, *arguments)


def adam_step(parameter, grad, m, v, *, lr, step, beta1, beta2, eps, weight_decay):
    """Adam."""
    arguments = (lr, step, float(beta1), float(beta2), float(eps), float(weight_decay))
    launch(adam_update, -(-parameter.size // CHUNK), parameter, grad, m, v, *arguments)
