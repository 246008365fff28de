"""A launch as data: its arguments in memory and the address of the code that takes them from there.

With that any thread can run a part of a launch from compiled code, without the interpreter, and a sequence of launches
can be kept as a program and run again by one call.
"""

from llvmlite import ir
from numba.core import types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from .emitted import I64

_ENTRY = ir.FunctionType(ir.VoidType(), [I64] * 6)
ARGUMENT_BYTES = 4096  # at most, of one launch


def _unowned(context, builder, kind, value):
    """Return `value` with the owners of its arrays taken out: who keeps the place keeps them alive."""
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder, value)
        array.meminfo = ir.Constant(array.meminfo.type, None)
        array.parent = ir.Constant(array.parent.type, None)
        return array._getvalue()
    if isinstance(kind, types.BaseTuple):
        for i, member in enumerate(kind):
            element = _unowned(context, builder, member, builder.extract_value(value, i))
            value = builder.insert_value(value, element, i)
        return value
    if isinstance(kind, (types.Number, types.Boolean, types.DType, types.NoneType)):
        return value
    raise TypingError(f"argument of a kernel: got {kind}; allowed: arrays, numbers and tuples of them")


@intrinsic
def pack_job(typingctx, place, failed, work, packed):
    """Write the tuple `packed` to the address `place`; return the address of an entry that calls `work` with it.

    The entry is ``void(control, ticket, number, tasks, chunks, place)`` and calls ``work(control, ticket, number,
    tasks, chunks, packed)``; if that raises, it sets the word `failed` bytes after `control`.
    """
    arguments = (types.int64,) * 5 + (packed,)
    signature = work.get_call_type(typingctx, arguments, {})
    compiled = work.dispatcher.get_compile_result(signature)

    def codegen(context, builder, sig, args):
        struct = context.get_value_type(packed)
        pointer = builder.inttoptr(args[0], struct.as_pointer())
        builder.store(_unowned(context, builder, packed, args[3]), pointer, align=8)
        context.active_code_library.add_linking_library(compiled.library)
        name = "fastconv_entry." + compiled.fndesc.mangled_name
        if name in builder.module.globals:
            return builder.ptrtoint(builder.module.globals[name], I64)
        entry = ir.Function(builder.module, _ENTRY, name)
        entry.linkage = "internal"
        inside = ir.IRBuilder(entry.append_basic_block("entry"))
        control, ticket, number, tasks, chunks, where = entry.args
        value = inside.load(inside.inttoptr(where, struct.as_pointer()), align=8)
        values = (control, ticket, number, tasks, chunks, value)
        status, _ = context.call_internal_no_propagate(inside, compiled.fndesc, signature, values)
        with inside.if_then(status.is_error, likely=False):
            word = inside.inttoptr(inside.add(control, failed_bytes), I64.as_pointer())
            inside.store_atomic(ir.Constant(I64, 1), word, "seq_cst", 8)
        inside.ret_void()
        return builder.ptrtoint(entry, I64)

    failed_bytes = ir.Constant(I64, failed.literal_value) if isinstance(failed, types.IntegerLiteral) else None
    if failed_bytes is None:
        raise TypingError("failed: wants a constant")
    return types.int64(place, failed, work, packed), codegen


@intrinsic
def call_entry(typingctx, entry, control, ticket, number, tasks, chunks, place):
    """Call what `pack_job` returned."""

    def codegen(context, builder, sig, args):
        builder.call(builder.inttoptr(args[0], _ENTRY.as_pointer()), args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 7), codegen


@intrinsic
def packed_bytes(typingctx, packed):
    """Return how many bytes `pack_job` writes for this tuple, as a constant."""

    def codegen(context, builder, sig, args):
        return ir.Constant(I64, context.get_abi_sizeof(context.get_value_type(packed)))

    return types.int64(packed), codegen
