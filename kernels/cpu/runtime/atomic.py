"""Words in memory that threads share: what `launch` needs to hand out work without the interpreter."""

import ctypes

from llvmlite import binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

_I64 = ir.IntType(64)
_MACHINE = llvm.get_default_triple().split("-")[0]
_SPINS_BEFORE_YIELD = 2000

_sched_yield = types.ExternalFunction("sched_yield", types.int32())
llvm.add_symbol("sched_yield", ctypes.cast(ctypes.CDLL(None).sched_yield, ctypes.c_void_p).value)


def _word(builder, address):
    return builder.inttoptr(address, _I64.as_pointer())


@intrinsic
def atomic_load(typingctx, place):
    """Return the word at the address `place`; what its writer wrote before is visible afterwards."""

    def codegen(context, builder, sig, args):
        return builder.load_atomic(_word(builder, args[0]), "seq_cst", 8)

    return types.int64(types.int64), codegen


@intrinsic
def atomic_store(typingctx, place, value):
    """Write the word at the address `place`, after everything written before."""

    def codegen(context, builder, sig, args):
        builder.store_atomic(args[1], _word(builder, args[0]), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def atomic_add(typingctx, place, value):
    """Add to the word at the address `place`; return what it was."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", _word(builder, args[0]), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@intrinsic
def atomic_replace(typingctx, place, old, new):
    """Write `new` to the word at the address `place` if it holds `old`; tell whether it did."""

    def codegen(context, builder, sig, args):
        word = _word(builder, args[0])
        return builder.extract_value(builder.cmpxchg(word, args[1], args[2], "seq_cst", "seq_cst"), 1)

    return types.boolean(types.int64, types.int64, types.int64), codegen


@intrinsic
def _pause(typingctx):
    def codegen(context, builder, sig, args):
        if _MACHINE == "x86_64":
            pause = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, pause, "llvm.x86.sse2.pause"), [])
        elif _MACHINE in ("aarch64", "arm64"):
            hint = ir.FunctionType(ir.VoidType(), [ir.IntType(32)])
            function = cgutils.get_or_insert_function(builder.module, hint, "llvm.aarch64.hint")
            builder.call(function, [ir.Constant(ir.IntType(32), 1)])  # yield
        return context.get_dummy_value()

    return types.void(), codegen


def relax(spins):
    """Wait a moment in a loop that has spun `spins` times; give the core away after a while."""
    _pause()
    if spins > _SPINS_BEFORE_YIELD:
        _sched_yield()
