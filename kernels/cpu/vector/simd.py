"""Vectors as values of Numba code.

LLVM's vectoriser does not reach the speed of a convolution written by hand, so the kernels say what they mean: a
`Vector` holds as many elements as one register of the host (16, 8 or 4 float32; half as many float64) and has ``+ - *
/``, bit operations for integers, selection, load, store and fused multiply-add. Code is generic in the element type:
functions take a `dtype` (write ``x.dtype`` in a kernel). tile.py builds the accumulators of matrix products on it.

Addresses are integers (`address(array)`, bytes); nothing here checks a bound. Loads and stores assume the alignment of
one element. The plain functions at the head emit LLVM code for the intrinsics; kernels use the intrinsics.
"""

import operator

import numba
from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models, register_default
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from ..runtime.cpu_caches import CACHES

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)


def _vector_bytes() -> int:
    """Return the bytes of the widest register to compile for; NUMBA_CPU_NAME and _FEATURES override the host."""
    name, features = numba.config.CPU_NAME, numba.config.CPU_FEATURES
    if name and name != llvm.get_host_cpu_name():
        # Numba gives LLVM the host's features even so; the name alone says what may be used.
        if any(
            word in name for word in ("skylake-avx512", "x86-64-v4", "icelake", "sapphirerapids", "znver4", "znver5")
        ):
            return 64
        return 32 if any(word in name for word in ("haswell", "x86-64-v3", "skylake", "znver", "alderlake")) else 16
    if features is None:
        on = {feature for feature, there in llvm.get_host_cpu_features().items() if there}
    else:
        on = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    return 64 if "avx512f" in on else 32 if {"avx2", "fma"} <= on else 16


LINE_BYTES = 64  # of a cache
VECTOR_BYTES = _vector_bytes()
# Results from here on are written past the caches (see kernels/NOTES.md): where a vector is a line, from 4 MB on (a
# twentieth of a ResNet-20 step on Zen 5); on Zen 3 what fits into the L3 cache is better left there (another one).
STREAM_BYTES = 4 * 1024**2 if VECTOR_BYTES == LINE_BYTES else max(4 * 1024**2, CACHES.level3 // 2)
REGISTERS = 32 if VECTOR_BYTES == 64 or llvm.get_default_triple().startswith("aarch64") else 16


class VectorType(types.Type):
    """Numba type of one vector register."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


def _llvm_element(dtype):
    if isinstance(dtype, types.Float):
        return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
    return ir.IntType(dtype.bitwidth)


def llvm_vector(vector):
    """Return the LLVM type of a `VectorType`."""
    return ir.VectorType(_llvm_element(vector.dtype), vector.lanes)


@register_default(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, llvm_vector(fe_type))


def dtype_of(argument):
    """Return the element type that a `dtype` argument stands for."""
    if not isinstance(argument, types.DType):
        raise TypingError(f"dtype: got {argument}; allowed: array.dtype")
    return argument.dtype


def pointer(builder, address, llvm_type):
    """Emit the conversion of an address to a pointer."""
    return builder.inttoptr(address, llvm_type.as_pointer())


def load_from(builder, address, llvm_type, align):
    """Emit a load."""
    loaded = builder.load(pointer(builder, address, llvm_type))
    loaded.align = align
    return loaded


def store_to(builder, value, address, align):
    """Emit a store."""
    builder.store(value, pointer(builder, address, value.type)).align = align


def stream_to(builder, value, address, align):
    """Emit a store past the caches."""
    store = builder.store(value, pointer(builder, address, value.type), align=align)
    store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(_I32, 1)]))


def splat(builder, value, lanes):
    """Emit a vector with `value` in every lane."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))


def fused_multiply_add(builder, a, b, c):
    """Emit ``a * b + c``, rounded once."""
    kind = "f32" if isinstance(a.type.element, ir.FloatType) else "f64"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(a.type, [a.type] * 3), f"llvm.fma.v{a.type.count}{kind}"
    )
    return builder.call(function, [a, b, c])


def offset(builder, address, count):
    """Emit an address plus a constant."""
    return builder.add(address, ir.Constant(_I64, count)) if count else address


# Vectors


@intrinsic
def address(typingctx, array):
    """Return the address of the first element of `array`."""

    def codegen(context, builder, sig, args):
        struct = context.make_array(sig.args[0])(context, builder, args[0])
        return builder.ptrtoint(struct.data, _I64)

    return types.int64(array), codegen


@intrinsic
def store_word(typingctx, place, word):
    """Store a 64-bit integer at the address `place`."""

    def codegen(context, builder, sig, args):
        store_to(builder, args[1], args[0], 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def load_word(typingctx, place):
    """Load a 64-bit integer from the address `place`."""

    def codegen(context, builder, sig, args):
        return load_from(builder, args[0], _I64, 8)

    return types.int64(types.int64), codegen


@intrinsic
def lanes(typingctx, dtype):
    """Return how many elements of `dtype` a vector holds, as a constant."""
    count = VectorType(dtype_of(dtype)).lanes

    def codegen(context, builder, sig, args):
        return ir.Constant(_I64, count)

    return types.int64(dtype), codegen


@intrinsic
def itemsize(typingctx, dtype):
    """Return the bytes of one element of `dtype`, as a constant."""
    size = dtype_of(dtype).bitwidth // 8

    def codegen(context, builder, sig, args):
        return ir.Constant(_I64, size)

    return types.int64(dtype), codegen


@intrinsic
def vload(typingctx, place, dtype):
    """Load a vector from the address `place`."""
    vector = VectorType(dtype_of(dtype))

    def codegen(context, builder, sig, args):
        return load_from(builder, args[0], llvm_vector(vector), vector.dtype.bitwidth // 8)

    return vector(types.int64, dtype), codegen


@intrinsic
def vstore(typingctx, place, value):
    """Store a vector at the address `place`."""

    def codegen(context, builder, sig, args):
        store_to(builder, args[1], args[0], sig.args[1].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


@intrinsic
def vstore_stream(typingctx, place, value):
    """Store a vector past the caches, at an address that is a multiple of the vector's bytes."""

    def codegen(context, builder, sig, args):
        stream_to(builder, args[1], args[0], VECTOR_BYTES)
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


def _make_prefetch(write, locality, doc):
    @intrinsic
    def ask(typingctx, place):
        def codegen(context, builder, sig, args):
            line = ir.IntType(8).as_pointer()
            function_type = ir.FunctionType(ir.VoidType(), [line, _I32, _I32, _I32])
            function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.prefetch.p0")
            data = 1
            hints = (ir.Constant(_I32, i) for i in (write, locality, data))
            builder.call(function, [builder.inttoptr(args[0], line), *hints])
            return context.get_dummy_value()

        return types.void(types.int64), codegen

    ask.__doc__ = doc
    return ask


prefetch = _make_prefetch(0, 3, "Ask for the cache line at the address `place`, which may lie outside every array.")
prefetch_far = _make_prefetch(
    0, 2, "Like `prefetch`, into the L2 cache: for what is needed after the L1 cache was filled."
)
prefetch_write = _make_prefetch(1, 3, "Like `prefetch`, for a line that will be written.")


def lane_mask(builder, vector, count):
    """First `count` lanes on."""
    numbers = ir.Constant(ir.VectorType(_I64, vector.lanes), list(range(vector.lanes)))
    return builder.icmp_signed("<", numbers, splat(builder, count, vector.lanes))


def call_masked(builder, name, llvm_vector, returns, arguments):
    """Emit a masked load or store."""
    kind = {"float": "f32", "double": "f64"}.get(str(llvm_vector.element), str(llvm_vector.element))
    suffix = f"v{llvm_vector.count}{kind}.p0"
    function_type = ir.FunctionType(returns, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.masked.{name}.{suffix}")
    return builder.call(function, arguments)


@intrinsic
def vload_part(typingctx, place, count, dtype):
    """Load the first `count` elements of a vector; the other lanes are zero and their memory is not touched."""
    vector = VectorType(dtype_of(dtype))

    def codegen(context, builder, sig, args):
        register = llvm_vector(vector)
        arguments = [
            pointer(builder, args[0], register),
            ir.Constant(_I32, vector.dtype.bitwidth // 8),
            lane_mask(builder, vector, args[1]),
            ir.Constant(register, None),
        ]
        return call_masked(builder, "load", register, register, arguments)

    return vector(types.int64, types.int64, dtype), codegen


@intrinsic
def vstore_part(typingctx, place, value, count):
    """Store the first `count` elements of a vector."""
    vector = value

    def codegen(context, builder, sig, args):
        register = llvm_vector(vector)
        arguments = [
            args[1],
            pointer(builder, args[0], register),
            ir.Constant(_I32, vector.dtype.bitwidth // 8),
            lane_mask(builder, vector, args[2]),
        ]
        call_masked(builder, "store", register, ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(types.int64, value, types.int64), codegen


@intrinsic
def vsplat(typingctx, value, dtype):
    """Return a vector with `value`, converted to `dtype`, in every lane."""
    vector = VectorType(dtype_of(dtype))

    def codegen(context, builder, sig, args):
        scalar = context.cast(builder, args[0], sig.args[0], vector.dtype)
        return splat(builder, scalar, vector.lanes)

    return vector(value, dtype), codegen


@intrinsic
def vfma(typingctx, a, b, c):
    """Return ``a * b + c``, rounded once."""
    if not (isinstance(a, VectorType) and a == b == c):
        raise TypingError("vfma: wants three vectors of one type")

    def codegen(context, builder, sig, args):
        return fused_multiply_add(builder, *args)

    return a(a, b, c), codegen


def _comparison(predicate, doc):
    @intrinsic
    def select(typingctx, a, b, yes, no):
        def codegen(context, builder, sig, args):
            a, b, yes, no = args
            if isinstance(sig.args[0].dtype, types.Float):
                condition = (
                    builder.fcmp_unordered(predicate[1:], a, b)
                    if predicate[0] == "u"
                    else builder.fcmp_ordered(predicate[1:], a, b)
                )
            else:
                condition = builder.icmp_unsigned(predicate[1:], a, b)
            return builder.select(condition, yes, no)

        return yes(a, b, yes, no), codegen

    select.__doc__ = doc
    return select


vselect_gt = _comparison("o>", "Return, lane by lane, `yes` where ``a > b``, else `no` (also where either is NaN).")
vselect_eq = _comparison("o==", "Return, lane by lane, `yes` where ``a == b``, else `no`.")
vselect_not_le = _comparison("u>", "Return, lane by lane, `yes` where ``a > b`` or either is NaN, else `no`.")


@intrinsic
def vfloor(typingctx, value, floor):
    """Return, lane by lane, `floor` where that is larger, else `value`, NaN too: one instruction on x86."""

    def codegen(context, builder, sig, args):
        value, floor = args
        return builder.select(builder.fcmp_ordered(">", floor, value), floor, value)

    return value(value, floor), codegen


def _arithmetic(python_operator, float_name, int_name):
    @infer_global(python_operator)
    class _Template(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], VectorType) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    def lower(context, builder, sig, args):
        name = float_name if isinstance(sig.return_type.dtype, types.Float) else int_name
        return getattr(builder, name)(*args)

    lower_builtin(python_operator, VectorType, VectorType)(lower)


for _python_operator, _float_name, _int_name in (
    (operator.add, "fadd", "add"),
    (operator.sub, "fsub", "sub"),
    (operator.mul, "fmul", "mul"),
    (operator.truediv, "fdiv", "udiv"),
):
    _arithmetic(_python_operator, _float_name, _int_name)


# Selection, conversion, bits


@intrinsic
def vselect_max(typingctx, value, best, yes, no):
    """Return, lane by lane, `yes` where `value` takes over as maximum (larger, or the first NaN), else `no`."""

    def codegen(context, builder, sig, args):
        value, best, yes, no = args
        # "Greater or unordered" takes larger numbers and NaN; a best that is NaN already stays.
        takes = builder.and_(builder.fcmp_unordered(">", value, best), builder.fcmp_ordered("ord", best, best))
        return builder.select(takes, yes, no)

    return yes(value, best, yes, no), codegen


@intrinsic
def vload_index(typingctx, place, count, index_dtype, dtype):
    """Load `count` integers of `index_dtype` and return them as a vector of the float type `dtype`."""
    vector, integer = VectorType(dtype_of(dtype)), dtype_of(index_dtype)

    def codegen(context, builder, sig, args):
        small = ir.VectorType(_llvm_element(integer), vector.lanes)
        size = ir.Constant(_I32, integer.bitwidth // 8)
        mask = lane_mask(builder, vector, args[1])
        arguments = [pointer(builder, args[0], small), size, mask, ir.Constant(small, None)]
        loaded = call_masked(builder, "load", small, small, arguments)
        convert = builder.sitofp if integer.signed else builder.uitofp
        return convert(loaded, llvm_vector(vector))

    return vector(types.int64, types.int64, index_dtype, dtype), codegen


@intrinsic
def vstore_index(typingctx, place, value, count, index_dtype):
    """Store the first `count` lanes of a float vector as integers of `index_dtype`."""
    vector, integer = value, dtype_of(index_dtype)

    def codegen(context, builder, sig, args):
        small = ir.VectorType(_llvm_element(integer), vector.lanes)
        # By way of 32 bits: one instruction, and no lane is negative or large.
        wide = builder.fptosi(args[1], ir.VectorType(_I32, vector.lanes))
        converted = builder.trunc(wide, small) if integer.bitwidth < 32 else wide
        size = ir.Constant(_I32, integer.bitwidth // 8)
        arguments = [converted, pointer(builder, args[0], small), size, lane_mask(builder, vector, args[2])]
        call_masked(builder, "store", small, ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(types.int64, value, types.int64, index_dtype), codegen


@intrinsic
def vsqrt(typingctx, value):
    """Return the square root, correctly rounded."""

    def codegen(context, builder, sig, args):
        kind = "f32" if isinstance(args[0].type.element, ir.FloatType) else "f64"
        function = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(args[0].type, [args[0].type]), f"llvm.sqrt.v{args[0].type.count}{kind}"
        )
        return builder.call(function, args)

    return value(value), codegen


@intrinsic
def vscale_by_power(typingctx, value, power):
    """Return ``value * 2**n`` for a vector of numbers near 1; the low bits of `power` hold the integers n."""
    mantissa = 23 if value.dtype.bitwidth == 32 else 52

    def codegen(context, builder, sig, args):
        integer = ir.VectorType(ir.IntType(value.dtype.bitwidth), value.lanes)
        shift = ir.Constant(integer, [mantissa] * value.lanes)
        exponent = builder.shl(builder.bitcast(args[1], integer), shift)
        return builder.bitcast(builder.add(builder.bitcast(args[0], integer), exponent), args[0].type)

    return value(value, power), codegen


for _python_operator, _int_name in (
    (operator.and_, "and_"),
    (operator.xor, "xor"),
    (operator.rshift, "lshr"),
    (operator.lshift, "shl"),
    (operator.or_, "or_"),
):
    _arithmetic(_python_operator, _int_name, _int_name)


@intrinsic
def vzip(typingctx, a, b):
    """Return the tuple of (a0, b0, a1, b1, ...), the first and the second half."""
    result = types.UniTuple(a, 2)

    def codegen(context, builder, sig, args):
        index = ir.VectorType(_I32, a.lanes)
        order = [lane for i in range(a.lanes) for lane in (i, a.lanes + i)]
        halves = [order[: a.lanes], order[a.lanes :]]
        parts = [builder.shuffle_vector(args[0], args[1], ir.Constant(index, half)) for half in halves]
        return context.make_tuple(builder, result, parts)

    return result(a, b), codegen


@intrinsic
def vselect_reached(typingctx, place, threshold, yes, no):
    """Return, lane by lane, `yes` where the uint32 at ``place + 4 * lane`` is at least `threshold`, else `no`."""

    def codegen(context, builder, sig, args):
        words = ir.VectorType(_I32, yes.lanes)
        limit = splat(builder, builder.trunc(args[1], _I32), yes.lanes)
        reached = builder.icmp_unsigned(">=", load_from(builder, args[0], words, 4), limit)
        return builder.select(reached, args[2], args[3])

    return yes(types.int64, types.int64, yes, no), codegen


@intrinsic
def vsum(typingctx, value):
    """Return the sum of the lanes, added in halves: lane i to lane i + n/2, and so on."""
    vector = value

    def codegen(context, builder, sig, args):
        total, count = args[0], vector.lanes
        while count > 1:
            count //= 2
            undefined = ir.Constant(total.type, ir.Undefined)
            index = ir.VectorType(_I32, count)
            low = builder.shuffle_vector(total, undefined, ir.Constant(index, list(range(count))))
            high = builder.shuffle_vector(total, undefined, ir.Constant(index, list(range(count, 2 * count))))
            total = builder.fadd(low, high)
        return builder.extract_element(total, ir.Constant(_I32, 0))

    return vector.dtype(value), codegen
