"""Update rules over the flat arenas of a model, one launch each."""

from __future__ import annotations

import numpy as np

from ...update_rules import UPDATE_RULES
from ..runtime.grids import flat, typed


def update(device, rule, parameter, grad, state, *, lr, step):
    """One step of one of the update rules; a kernel takes the arrays, their size, and the settings as declared."""
    if parameter.size:
        grid, block = flat(device, parameter.size, parameter.dtype)
        arrays = (parameter, grad, *(state.get(name) for name in UPDATE_RULES[rule.name].state), lr, step)
        settings = (np.int32(value) if isinstance(value, bool) else np.float64(value) for value in rule.values)
        kernel = typed("optimizer.cu", f"{rule.name}_update", parameter.dtype)
        device.launch(kernel, grid, block, (*arrays, np.int64(parameter.size), *settings))
