"""Scratch on the stack, and loops that stay loops.

What a small transform keeps between its two halves does not fit into registers. LLVM, left alone, unrolls everything
and moves all loads to the front, so that each value is written to the stack and read again more than once: a patch of
Winograd's input took 188 cycles so, 154 with its halves as loops and the stack between them (Zen 3, AVX2).
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ..runtime.emitted import I64
from .simd import VectorType, dtype_of, llvm_vector


@intrinsic(prefer_literal=True)
def stack_vectors(typingctx, count, dtype):
    """Return the address of `count` vectors (a constant) on the stack of the kernel, the same ones at each turn."""
    vector, size = VectorType(dtype_of(dtype)), count.literal_value

    def codegen(context, builder, sig, args):
        place = cgutils.alloca_once(builder, ir.ArrayType(llvm_vector(vector), size))
        return builder.ptrtoint(place, I64)

    return types.int64(count, dtype), codegen


@intrinsic
def unknown(typingctx, count):
    """Return `count` in a way that LLVM cannot see through: a loop so often is not unrolled."""

    def codegen(context, builder, sig, args):
        count = context.cast(builder, args[0], sig.args[0], types.int64)
        return builder.asm(ir.FunctionType(I64, [I64]), "", "=r,0", [count], False)

    return types.int64(count), codegen
