"""Vectors as values of Numba code.

LLVM's vectoriser does not reach the speed of a convolution written by hand, so the kernels say what they mean: a
`Vector` holds as many elements as one register of the host (16, 8 or 4 float32; half as many float64) and has ``+ - *
/``, bit operations for integers, selection, load, store and fused multiply-add. Code is generic in the element type:
functions take a `dtype` (write ``x.dtype`` in a kernel). tile.py builds the accumulators of matrix products on it.

Addresses are integers (`address(array)`, bytes); nothing here checks a bound. Loads and stores assume the alignment of
one element. What each function becomes is LLVM code, see emit.py.
"""

import operator

import numba
from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models, register_default
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin

from ..runtime.cpu_caches import CACHES, LINE_BYTES
from ..runtime.emitted import I32, I64, call, emitted
from .emit import (
    fused_multiply_add,
    lane_mask,
    load_from,
    load_masked,
    shuffle,
    splat,
    store_masked,
    store_to,
    stream_to,
    suffix,
)


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


VECTOR_BYTES = _vector_bytes()
# Results from here on are written past the caches (see kernels/NOTES.md): where a vector is a line, from 4 MB on (a
# twentieth of a ResNet-20 step on Zen 5); on Zen 3 what fits into the L3 cache is better left there (another one).
STREAM_BYTES = 4 * 1024**2 if VECTOR_BYTES == LINE_BYTES else max(4 * 1024**2, CACHES.level3 // 2)
REGISTERS = 32 if VECTOR_BYTES == 64 or llvm.get_default_triple().startswith("aarch64") else 16


class VectorType(types.Type):
    """Numba type of one vector register."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.itemsize = dtype.bitwidth // 8
        self.lanes = VECTOR_BYTES // self.itemsize
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
    dtype = argument.dtype
    if not isinstance(dtype, types.Integer | types.Float) or dtype is types.float16:
        raise TypingError(f"dtype: got {dtype}; allowed: integers, float32, float64, of which vectors are made")
    return dtype


# Vectors


@intrinsic
def address(typingctx, array):
    """Return the address of the first element of `array`."""

    def codegen(context, builder, sig, args):
        struct = context.make_array(sig.args[0])(context, builder, args[0])
        return builder.ptrtoint(struct.data, I64)

    return types.int64(array), codegen


@emitted
def store_word(place, word):
    """Store a 64-bit integer at the address `place`."""
    return types.void(types.int64, types.int64), lambda builder, place, word: store_to(builder, word, place, 8)


@emitted
def load_word(place):
    """Load a 64-bit integer from the address `place`."""
    return types.int64(types.int64), lambda builder, place: load_from(builder, place, I64, 8)


@emitted
def lanes(dtype):
    """Return how many elements of `dtype` a vector holds, as a constant."""
    return types.int64(dtype), lambda builder, _: ir.Constant(I64, VectorType(dtype_of(dtype)).lanes)


@emitted
def itemsize(dtype):
    """Return the bytes of one element of `dtype`, as a constant."""
    return types.int64(dtype), lambda builder, _: ir.Constant(I64, dtype_of(dtype).bitwidth // 8)


@emitted
def vload(place, dtype):
    """Load a vector from the address `place`."""
    vector = VectorType(dtype_of(dtype))

    def emit(builder, place, _):
        return load_from(builder, place, llvm_vector(vector), vector.itemsize)

    return vector(types.int64, dtype), emit


@emitted
def vstore(place, value):
    """Store a vector at the address `place`."""
    size = value.itemsize
    return types.void(types.int64, value), lambda builder, place, value: store_to(builder, value, place, size)


@emitted
def vstore_stream(place, value):
    """Store a vector past the caches, at an address that is a multiple of the vector's bytes."""
    return types.void(types.int64, value), lambda builder, place, value: stream_to(builder, value, place, VECTOR_BYTES)


def _make_prefetch(write, locality, doc):
    @emitted(doc=doc)
    def ask(place):
        def emit(builder, place):
            line = builder.inttoptr(place, ir.IntType(8).as_pointer())
            data = 1
            hints = (ir.Constant(I32, i) for i in (write, locality, data))
            call(builder, "llvm.prefetch.p0", ir.VoidType(), [line, *hints])

        return types.void(types.int64), emit

    return ask


prefetch = _make_prefetch(0, 3, "Ask for the cache line at the address `place`, which may lie outside every array.")
prefetch_far = _make_prefetch(
    0, 2, "Like `prefetch`, into the L2 cache: for what is needed after the L1 cache was filled."
)
prefetch_write = _make_prefetch(1, 3, "Like `prefetch`, for a line that will be written.")


@emitted
def vload_part(place, count, dtype):
    """Load the first `count` elements of a vector; the other lanes are zero and their memory is not touched."""
    vector = VectorType(dtype_of(dtype))

    def emit(builder, place, count, _):
        mask = lane_mask(builder, vector.lanes, count)
        return load_masked(builder, place, llvm_vector(vector), vector.itemsize, mask)

    return vector(types.int64, types.int64, dtype), emit


@emitted
def vstore_part(place, vector, count):
    """Store the first `count` elements of a vector."""

    def emit(builder, place, value, count):
        store_masked(builder, value, place, vector.itemsize, lane_mask(builder, vector.lanes, count))

    return types.void(types.int64, vector, types.int64), emit


@intrinsic
def vsplat(typingctx, value, dtype):
    """Return a vector with `value`, converted to `dtype`, in every lane."""
    vector = VectorType(dtype_of(dtype))

    def codegen(context, builder, sig, args):
        scalar = context.cast(builder, args[0], sig.args[0], vector.dtype)
        return splat(builder, scalar, vector.lanes)

    return vector(value, dtype), codegen


@emitted
def vfma(a, b, c):
    """Return ``a * b + c``, rounded once."""
    if not (isinstance(a, VectorType) and a == b == c):
        raise TypingError("vfma: wants three vectors of one type")
    return a(a, b, c), fused_multiply_add


def _comparison(predicate, doc):
    @emitted(doc=doc)
    def select(a, b, yes, no):
        if not isinstance(a.dtype, types.Float):
            compare = ir.IRBuilder.icmp_unsigned
        else:
            compare = ir.IRBuilder.fcmp_unordered if predicate[0] == "u" else ir.IRBuilder.fcmp_ordered

        def emit(builder, a, b, yes, no):
            return builder.select(compare(builder, predicate[1:], a, b), yes, no)

        return yes(a, b, yes, no), emit

    return select


vselect_gt = _comparison("o>", "Return, lane by lane, `yes` where ``a > b``, else `no` (also where either is NaN).")
vselect_eq = _comparison("o==", "Return, lane by lane, `yes` where ``a == b``, else `no`.")
vselect_not_le = _comparison("u>", "Return, lane by lane, `yes` where ``a > b`` or either is NaN, else `no`.")


@emitted
def vfloor(value, floor):
    """Return, lane by lane, `floor` where that is larger, else `value`, NaN too: one instruction on x86."""

    def emit(builder, value, floor):
        return builder.select(builder.fcmp_ordered(">", floor, value), floor, value)

    return value(value, floor), emit


def _arithmetic(python_operator, int_name, float_name=None):
    @infer_global(python_operator)
    class _Template(AbstractTemplate):
        def generic(self, args, kws):
            if len(args) == 2 and isinstance(args[0], VectorType) and args[0] == args[1]:
                return signature(args[0], *args)
            return None

    def lower(context, builder, sig, args):
        is_float = float_name and isinstance(sig.return_type.dtype, types.Float)
        return getattr(builder, float_name if is_float else int_name)(*args)

    lower_builtin(python_operator, VectorType, VectorType)(lower)


for _python_operator, *_names in (
    (operator.add, "add", "fadd"),
    (operator.sub, "sub", "fsub"),
    (operator.mul, "mul", "fmul"),
    (operator.truediv, "udiv", "fdiv"),
    (operator.and_, "and_"),
    (operator.or_, "or_"),
    (operator.xor, "xor"),
    (operator.rshift, "lshr"),
    (operator.lshift, "shl"),
):
    _arithmetic(_python_operator, *_names)


# Selection, conversion, bits


@emitted
def vselect_max(value, best, yes, no):
    """Return, lane by lane, `yes` where `value` takes over as maximum (larger, or the first NaN), else `no`."""

    def emit(builder, value, best, yes, no):
        # "Greater or unordered" takes larger numbers and NaN; a best that is NaN already stays.
        takes = builder.and_(builder.fcmp_unordered(">", value, best), builder.fcmp_ordered("ord", best, best))
        return builder.select(takes, yes, no)

    return yes(value, best, yes, no), emit


@emitted
def vload_index(place, count, index_dtype, dtype):
    """Load `count` integers of `index_dtype` and return them as a vector of the float type `dtype`."""
    vector, integer = VectorType(dtype_of(dtype)), dtype_of(index_dtype)

    def emit(builder, place, count, *_):
        small = ir.VectorType(_llvm_element(integer), vector.lanes)
        mask = lane_mask(builder, vector.lanes, count)
        loaded = load_masked(builder, place, small, integer.bitwidth // 8, mask)
        convert = builder.sitofp if integer.signed else builder.uitofp
        return convert(loaded, llvm_vector(vector))

    return vector(types.int64, types.int64, index_dtype, dtype), emit


@emitted
def vstore_index(place, vector, count, index_dtype):
    """Store the first `count` lanes of a float vector as integers of `index_dtype`."""
    integer = dtype_of(index_dtype)

    def emit(builder, place, value, count, _):
        # By way of 32 bits: one instruction, and no lane is negative or large.
        converted = builder.fptosi(value, ir.VectorType(I32, vector.lanes))
        if integer.bitwidth < 32:
            converted = builder.trunc(converted, ir.VectorType(_llvm_element(integer), vector.lanes))
        store_masked(builder, converted, place, integer.bitwidth // 8, lane_mask(builder, vector.lanes, count))

    return types.void(types.int64, vector, types.int64, index_dtype), emit


@emitted
def vsqrt(value):
    """Return the square root, correctly rounded."""
    return value(value), lambda builder, value: call(builder, f"llvm.sqrt.{suffix(value.type)}", value.type, [value])


@emitted
def vscale_by_power(vector, power):
    """Return ``value * 2**n`` for a vector of numbers near 1; the low bits of `power` hold the integers n."""
    mantissa = 23 if vector.dtype.bitwidth == 32 else 52

    def emit(builder, value, power):
        integer = ir.VectorType(ir.IntType(vector.dtype.bitwidth), vector.lanes)
        shift = ir.Constant(integer, [mantissa] * vector.lanes)
        exponent = builder.shl(builder.bitcast(power, integer), shift)
        return builder.bitcast(builder.add(builder.bitcast(value, integer), exponent), value.type)

    return vector(vector, power), emit


@intrinsic
def vzip(typingctx, a, b):
    """Return the tuple of (a0, b0, a1, b1, ...), the first and the second half."""
    result = types.UniTuple(a, 2)

    def codegen(context, builder, sig, args):
        order = [lane for i in range(a.lanes) for lane in (i, a.lanes + i)]
        parts = [shuffle(builder, *args, half) for half in (order[: a.lanes], order[a.lanes :])]
        return context.make_tuple(builder, result, parts)

    return result(a, b), codegen


@emitted
def vselect_reached(place, threshold, yes, no):
    """Return, lane by lane, `yes` where the uint32 at ``place + 4 * lane`` is at least `threshold`, else `no`."""
    count = yes.lanes

    def emit(builder, place, threshold, yes, no):
        limit = splat(builder, builder.trunc(threshold, I32), count)
        words = load_from(builder, place, ir.VectorType(I32, count), 4)
        return builder.select(builder.icmp_unsigned(">=", words, limit), yes, no)

    return yes(types.int64, types.int64, yes, no), emit


@emitted
def vsum(vector):
    """Return the sum of the lanes, added in halves: lane i to lane i + n/2, and so on."""

    def emit(builder, total):
        count = vector.lanes
        while count > 1:
            count //= 2
            undefined = ir.Constant(total.type, ir.Undefined)
            low = shuffle(builder, total, undefined, range(count))
            total = builder.fadd(low, shuffle(builder, total, undefined, range(count, 2 * count)))
        return builder.extract_element(total, ir.Constant(I32, 0))

    return vector.dtype(vector), emit
