"""Activations within other kernels: what follows a sum while it is in a register, and the gradient of that.

A kernel takes what follows as one argument, whose type says which function it is, and so is compiled once for each that
is used; parameters are numbers, given when it runs. None and the rectifier share a kernel and are a bare number, the
least that an element may be. The formulas are those of pointwise.py.
"""

import math
from collections import namedtuple

import numpy as np
from numba.core import types

from ...pointwise import POINTWISE, RELU
from ..runtime.compiler import chosen_by_types
from ..runtime.launch import device
from ..vector.bf16_storage import put_either, put_stored
from ..vector.memory import NOTHING
from ..vector.simd import VECTOR_BYTES, vfloor, vselect_not_le, vsplat
from .pointwise import FORMULAS

# By name. `kept` is where elements go as they were before, or empty, and `shift` how many bytes after the result it
# lies; arrays are arguments of their own for who keeps them alive.
_KINDS = {
    name: namedtuple(function.layer, "first second shift kept", module=__name__)
    for name, function in POINTWISE.items()
    if name != RELU.name
}
globals().update({kind.__name__: kind for kind in _KINDS.values()})  # where the disk cache finds them
_NAMES = {kind: name for name, kind in _KINDS.items()}


def following(activation, out=None, kept=None):
    """Return what kernels take for an activation or None; it goes to `out`, and what was before it to `kept`."""
    if activation is None or activation == RELU:
        return -math.inf if activation is None else 0.0
    nothing = NOTHING[np.dtype(np.float32) if out is None else out.dtype]
    shift, kept = (0, nothing) if kept is None else (kept.ctypes.data - out.ctypes.data, kept.reshape(-1))
    first, second, *_ = (*activation.values, 0.0, 0.0)
    return _KINDS[activation.name](first, second, shift, kept)


def is_floor(follows):
    """Tell whether what follows is none, or the rectifier."""
    return isinstance(follows, float)


def is_aligned(follows):
    """Tell whether what is kept lies on whole vectors where the result does."""
    return is_floor(follows) or follows.shift % VECTOR_BYTES == 0


def by_function(floor, others):
    """Make a device function that is `floor`, or ``others(name)`` where an argument is an activation of that name."""

    def choose(arguments):
        kinds = (kind.instance_class for kind in arguments if isinstance(kind, types.BaseNamedTuple))
        names = [_NAMES[kind] for kind in kinds if kind in _NAMES]
        return others(names[0]) if names else floor

    return chosen_by_types(choose)


def by_need(floor, of_y, of_x):
    """Make a device function by what the gradient of the activation needs."""
    return by_function(floor, lambda name: of_x if POINTWISE[name].needs == "x" else of_y)


@device
def _least(follows, dt):
    return vsplat(follows, dt)


@device
def _same(follows, dt):
    return follows


@device
def _floored(x, least, dt):
    return vfloor(x, least)


@device
def _passed(grad, y, least, dt):
    zero = vsplat(0, dt)
    return vselect_not_le(y, zero, grad, zero)


@device
def _keep_nothing(place, x, count, stream, follows, stored, dt):
    pass


@device
def _keep(place, x, count, stream, follows, stored, dt):
    if follows.shift != 0:
        put_stored(place + follows.shift, x, count, stream, stored, dt)


@device
def _keep_either(place, x, count, stream, half, follows, dt):
    if follows.shift != 0:
        put_either(place + follows.shift, x, count, stream, half, dt)


in_lanes = by_function(_least, lambda name: _same)
"""``in_lanes(follows, dt)``: as the functions below take it."""
activated = by_function(_floored, lambda name: FORMULAS[name][0])
"""``activated(x, follows, dt)``: a vector, after the activation."""
keep = by_function(_keep_nothing, lambda name: _keep)
"""``keep(place, x, count, stream, follows, stored, dt)``: keep what `activated` takes, whose result goes to `place`."""
keep_either = by_function(_keep_nothing, lambda name: _keep_either)
"""``keep_either(place, x, count, stream, half, follows, dt)``: the same as `put_either` stores."""


gradient_of = by_function(_passed, lambda name: FORMULAS[name][1])
"""``gradient_of(grad, saved, follows, dt)``: through the activation, from y or x; of a number, the rectifier's."""
