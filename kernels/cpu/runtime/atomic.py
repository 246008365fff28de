"""Words in memory that threads share: what `launch` needs to hand out work without the interpreter."""

import ctypes

from llvmlite import binding as llvm
from llvmlite import ir
from numba import types

from .emitted import I32, I64, call, emitted

_MACHINE = llvm.get_default_triple().split("-")[0]
_SPINS_BEFORE_YIELD = 2000

_sched_yield = types.ExternalFunction("sched_yield", types.int32())
llvm.add_symbol("sched_yield", ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value)


def _word(builder, address):
    return builder.inttoptr(address, I64.as_pointer())


@emitted
def atomic_load(place):
    """Return the word at the address `place`; what its writer wrote before is visible afterwards."""
    return types.int64(types.int64), lambda builder, at: builder.load_atomic(_word(builder, at), "seq_cst", 8)


@emitted
def atomic_store(place, value):
    """Write the word at the address `place`, after everything written before."""

    def emit(builder, place, value):
        builder.store_atomic(value, _word(builder, place), "seq_cst", 8)

    return types.void(types.int64, types.int64), emit


@emitted
def atomic_add(place, value):
    """Add to the word at the address `place`; return what it was."""

    def emit(builder, place, value):
        return builder.atomic_rmw("add", _word(builder, place), value, "seq_cst")

    return types.int64(types.int64, types.int64), emit


@emitted
def atomic_replace(place, old, new):
    """Write `new` to the word at the address `place` if it holds `old`; tell whether it did."""

    def emit(builder, place, old, new):
        return builder.extract_value(builder.cmpxchg(_word(builder, place), old, new, "seq_cst", "seq_cst"), 1)

    return types.boolean(types.int64, types.int64, types.int64), emit


@emitted
def _pause():
    def emit(builder):
        if _MACHINE == "x86_64":
            call(builder, "llvm.x86.sse2.pause", ir.VoidType(), [])
        elif _MACHINE in ("aarch64", "arm64"):
            call(builder, "llvm.aarch64.hint", ir.VoidType(), [ir.Constant(I32, 1)])  # yield

    return types.void(), emit


def relax(spins):
    """Wait a moment in a loop that has spun `spins` times; give the core away after a while."""
    _pause()
    if spins > _SPINS_BEFORE_YIELD:
        _sched_yield()
