"""Update rules over the flat arenas of a model: one pass, bound by memory.

SGD with momentum moves five words a parameter, Adam seven. A kernel takes the parameter, its gradient, the arrays of
the rule's state (empty ones where the settings need none), the learning rate and the number of the step as arrays of
one element, and the values of the rule's settings, in the order of `fastconv.kernels.update_rules`.
"""

import numpy as np

from ...update_rules import UPDATE_RULES
from ..runtime.launch import kernel, launch
from ..vector.memory import TASK_ELEMENTS, load, store
from ..vector.simd import address, itemsize, lanes, vfma, vsplat, vsqrt


@kernel
def sgd_update(begin, end, parameter, grad, state, lr, step, settings):
    """One chunk a task."""
    dt = parameter.dtype
    size = itemsize(dt)
    width = lanes(dt)
    (velocity,) = state
    momentum, nesterov, weight_decay = settings
    rate, decay, mu = vsplat(-lr[0], dt), vsplat(weight_decay, dt), vsplat(momentum, dt)
    stop = min(end * TASK_ELEMENTS, parameter.size)
    for i in range(begin * TASK_ELEMENTS, stop, width):
        count = min(width, stop - i)
        p = load(address(parameter) + i * size, count, dt)
        g = vfma(decay, p, load(address(grad) + i * size, count, dt))
        if velocity.size:
            v = vfma(mu, load(address(velocity) + i * size, count, dt), g)
            store(address(velocity) + i * size, v, count, dt)
            g = vfma(mu, v, g) if nesterov else v
        store(address(parameter) + i * size, vfma(rate, g, p), count, dt)


@kernel
def adam_update(begin, end, parameter, grad, state, lr, step, settings):
    """One chunk a task."""
    dt = parameter.dtype
    size = itemsize(dt)
    width = lanes(dt)
    m, v = state
    beta1, beta2, eps, weight_decay = settings
    rate = vsplat(-lr[0], dt)
    full1, full2 = vsplat(1 - beta1 ** np.float64(step[0]), dt), vsplat(1 - beta2 ** np.float64(step[0]), dt)
    decay, small = vsplat(weight_decay, dt), vsplat(eps, dt)
    keep1, new1 = vsplat(beta1, dt), vsplat(1 - beta1, dt)
    keep2, new2 = vsplat(beta2, dt), vsplat(1 - beta2, dt)
    stop = min(end * TASK_ELEMENTS, parameter.size)
    for i in range(begin * TASK_ELEMENTS, stop, width):
        count = min(width, stop - i)
        p = load(address(parameter) + i * size, count, dt)
        g = vfma(decay, p, load(address(grad) + i * size, count, dt))
        first = keep1 * load(address(m) + i * size, count, dt) + new1 * g
        second = keep2 * load(address(v) + i * size, count, dt) + new2 * (g * g)
        store(address(m) + i * size, first, count, dt)
        store(address(v) + i * size, second, count, dt)
        change = first / full1 / (vsqrt(second / full2) + small)
        store(address(parameter) + i * size, vfma(rate, change, p), count, dt)


_KERNELS = {
    "sgd": sgd_update,
    "adam": adam_update,
}


def update(rule, parameter, grad, state, *, lr, step):
    """One step of one of the update rules."""
    arrays = tuple(state.get(name, grad[:0]) for name in UPDATE_RULES[rule.name].state)
    tasks = -(-parameter.size // TASK_ELEMENTS)
    launch(_KERNELS[rule.name], tasks, parameter, grad, arrays, lr, step, rule.values)
