"""Optimizer steps over the flat arenas of a model, one launch each."""

from __future__ import annotations

import numpy as np

from ..runtime.grids import flat, typed


def sgd_step(device, parameter, grad, velocity, *, lr, momentum, nesterov, weight_decay):
    """Stochastic gradient descent."""
    if parameter.size:
        number = parameter.dtype.type
        scalars = (np.int64(parameter.size), number(momentum), number(weight_decay), np.int32(nesterov))
        _launch(device, "sgd_update", (parameter, grad, velocity, lr), scalars)


def adam_step(device, parameter, grad, m, v, *, lr, step, beta1, beta2, eps, weight_decay):
    """Adam."""
    if parameter.size:
        number = parameter.dtype.type
        scalars = (np.int64(parameter.size), np.float64(beta1), np.float64(beta2), number(eps), number(weight_decay))
        _launch(device, "adam_update", (parameter, grad, m, v, lr, step), scalars)


def _launch(device, name, arrays, scalars):
    grid, block = flat(device, arrays[0].size, arrays[0].dtype)
    device.launch(typed("optimizer.cu", name, arrays[0].dtype), grid, block, (*arrays, *scalars))
