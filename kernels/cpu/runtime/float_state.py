"""Subnormal numbers are flushed to zero inside kernels.

Products of weights near 1e-42 otherwise slow a convolution 5 to 100 times
(PyTorch issues 67797 and 23862). The control register belongs to the thread; the caller's value is put back.
"""

from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .compiler import compiled_now, part

_I8P = ir.IntType(8).as_pointer()
_X86 = llvm.get_default_triple().startswith("x86_64")
_ARM = llvm.get_default_triple().startswith(("aarch64", "arm64"))
llvm.initialize_native_asmparser()  # Arm has no intrinsic for its control register
_FLUSH = 0x8040 if _X86 else 1 << 24  # MXCSR: flush-to-zero and denormals-are-zero; FPCR: FZ


@intrinsic
def read_state(typingctx):
    """Return the control register of this thread."""

    def codegen(context, builder, sig, args):
        if _X86:
            slot = cgutils.alloca_once(builder, ir.IntType(32))
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), [_I8P]), "llvm.x86.sse.stmxcsr"
            )
            builder.call(function, [builder.bitcast(slot, _I8P)])
            return builder.zext(builder.load(slot), ir.IntType(64))
        if _ARM:
            function_type = ir.FunctionType(ir.IntType(64), [])
            return builder.asm(function_type, "mrs $0, fpcr", "=r", [], True)
        return ir.Constant(ir.IntType(64), 0)

    return types.int64(), codegen


@intrinsic
def write_state(typingctx, state):
    """Write the control register of this thread."""

    def codegen(context, builder, sig, args):
        if _X86:
            slot = cgutils.alloca_once(builder, ir.IntType(32))
            builder.store(builder.trunc(args[0], ir.IntType(32)), slot)
            function = cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(ir.VoidType(), [_I8P]), "llvm.x86.sse.ldmxcsr"
            )
            builder.call(function, [builder.bitcast(slot, _I8P)])
        elif _ARM:
            function_type = ir.FunctionType(ir.VoidType(), [ir.IntType(64)])
            builder.asm(function_type, "msr fpcr, $0", "r", [args[0]], True)
        return context.get_dummy_value()

    return types.void(types.int64), codegen


@part
def flush_here():
    """Flush subnormals on this thread from now on, in compiled code; return the state before for `write_state`."""
    state = read_state()
    write_state(state | _FLUSH)
    return state


@compiled_now("int64()")
def flush_subnormals():
    """Flush subnormals on this thread from now on; return the state before."""
    return flush_here()


@compiled_now("void(int64)")
def restore_float_state(state):
    """Put back what `flush_subnormals` returned."""
    write_state(state)
