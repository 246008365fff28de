"""Subnormal numbers are flushed to zero inside kernels.

Products of weights near 1e-42 otherwise slow a convolution 5 to 100 times
(PyTorch issues 67797 and 23862). The control register belongs to the thread; the caller's value is put back.
"""

from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types

from .compiler import compiled_now, part
from .emitted import I32, I64, call, emitted

_I8P = ir.IntType(8).as_pointer()
_X86 = llvm.get_default_triple().startswith("x86_64")
_ARM = llvm.get_default_triple().startswith(("aarch64", "arm64"))
llvm.initialize_native_asmparser()  # Arm has no intrinsic for its control register
_FLUSH = 0x8040 if _X86 else 1 << 24  # MXCSR: flush-to-zero and denormals-are-zero; FPCR: FZ


@emitted
def read_state():
    """Return the control register of this thread."""

    def emit(builder):
        if _X86:
            slot = cgutils.alloca_once(builder, I32)
            call(builder, "llvm.x86.sse.stmxcsr", ir.VoidType(), [builder.bitcast(slot, _I8P)])
            return builder.zext(builder.load(slot), I64)
        if _ARM:
            return builder.asm(ir.FunctionType(I64, []), "mrs $0, fpcr", "=r", [], True)
        return ir.Constant(I64, 0)

    return types.int64(), emit


@emitted
def write_state(state):
    """Write the control register of this thread."""

    def emit(builder, state):
        if _X86:
            slot = cgutils.alloca_once(builder, I32)
            builder.store(builder.trunc(state, I32), slot)
            call(builder, "llvm.x86.sse.ldmxcsr", ir.VoidType(), [builder.bitcast(slot, _I8P)])
        elif _ARM:
            builder.asm(ir.FunctionType(ir.VoidType(), [I64]), "msr fpcr, $0", "r", [state], True)

    return types.void(types.int64), emit


@part
def flush_here():
    """Flush subnormals on this thread from now on, in compiled code; return the state before for `write_state`."""
    state = read_state()
    write_state(state | _FLUSH)
    return state


@compiled_now("void()")
def flush_subnormals():
    """Flush subnormals on this thread from now on."""
    flush_here()
