"""Update rules over the flat arenas of a model, one launch each."""

from __future__ import annotations

import numpy as np

from ...update_rules import UPDATE_RULES
from ..runtime.grids import BLOCKS_PER_MULTIPROCESSOR, THREADS, flat, typed


def update(device, rule, parameter, grad, state, *, lr, step, pieces=None):
    """One step of one of the update rules; a kernel takes the arrays, their size, and the settings as declared."""
    count = 0 if pieces is None else len(pieces)
    if not (parameter.size if pieces is None else count):
        return
    grid, block = flat(device, parameter.size, parameter.dtype)
    if count:  # a block for each
        grid, block = (min(count, BLOCKS_PER_MULTIPROCESSOR * device.multiprocessors), 1, 1), (THREADS, 1, 1)
    states = (state.get(name) for name in UPDATE_RULES[rule.name].state)
    arrays = (parameter, grad, *states, lr, step, pieces, np.int64(count), np.int64(parameter.size))
    settings = (np.int32(value) if isinstance(value, bool) else np.float64(value) for value in rule.values)
    device.launch(typed("optimizer.cu", f"{rule.name}_update", parameter.dtype), grid, block, (*arrays, *settings))
