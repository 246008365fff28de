"""Vectors and register tiles as values of Numba code.

LLVM's vectoriser does not reach the speed of a convolution written by hand, so the kernels say what they mean:

- `Vector`: as many elements as one register of the host holds (16, 8 or 4 float32; half as many float64), with ``+ - *
  /``,
  comparison through `vselect_*`, load, store and fused multiply-add. Code is generic in the element type: functions
  take a `dtype` (write ``x.dtype`` in a kernel).
- `Tile`: P x V vectors, the accumulators of a small matrix product. LLVM's SROA pass takes it apart into P * V
  registers, so
  passing tiles around by value costs nothing (seen in the machine code of a 6 x 4 tile: no spill, 93 % of peak).

Addresses are integers (`address(array)`, bytes); nothing here checks a bound. Loads and stores assume the alignment of
one element.
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


VECTOR_BYTES = _vector_bytes()
REGISTERS = 32 if VECTOR_BYTES == 64 or llvm.get_default_triple().startswith("aarch64") else 16


class VectorType(types.Type):
    """Numba type of one vector register."""

    def __init__(self, dtype):
        self.dtype = dtype
        self.lanes = VECTOR_BYTES * 8 // dtype.bitwidth
        super().__init__(name=f"Vector({dtype}, {self.lanes})")


class TileType(types.Type):
    """Numba type of `rows` x `vectors` vector registers."""

    def __init__(self, rows, vectors, dtype):
        self.rows, self.vectors, self.vector = rows, vectors, VectorType(dtype)
        super().__init__(name=f"Tile({rows}, {vectors}, {dtype})")


def _llvm_element(dtype):
    if isinstance(dtype, types.Float):
        return ir.FloatType() if dtype.bitwidth == 32 else ir.DoubleType()
    return ir.IntType(dtype.bitwidth)


def _llvm_vector(vector):
    return ir.VectorType(_llvm_element(vector.dtype), vector.lanes)


@register_default(VectorType)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _llvm_vector(fe_type))


@register_default(TileType)
class _TileModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.ArrayType(_llvm_vector(fe_type.vector), fe_type.rows * fe_type.vectors))


def _dtype_of(argument):
    if not isinstance(argument, types.DType):
        raise TypingError(f"dtype: got {argument}; allowed: array.dtype")
    return argument.dtype


def _pointer(builder, address, llvm_type):
    return builder.inttoptr(address, llvm_type.as_pointer())


def _load(builder, address, llvm_type, align):
    loaded = builder.load(_pointer(builder, address, llvm_type))
    loaded.align = align
    return loaded


def _store(builder, value, address, align):
    builder.store(value, _pointer(builder, address, value.type)).align = align


def _splat(builder, value, lanes):
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, lanes), [0] * lanes))


def _fma(builder, a, b, c):
    kind = "f32" if isinstance(a.type.element, ir.FloatType) else "f64"
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(a.type, [a.type] * 3), f"llvm.fma.v{a.type.count}{kind}"
    )
    return builder.call(function, [a, b, c])


def _offset(builder, address, count):
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
        _store(builder, args[1], args[0], 8)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@intrinsic
def load_word(typingctx, place):
    """Load a 64-bit integer from the address `place`."""

    def codegen(context, builder, sig, args):
        return _load(builder, args[0], _I64, 8)

    return types.int64(types.int64), codegen


@intrinsic
def lanes(typingctx, dtype):
    """Return how many elements of `dtype` a vector holds, as a constant."""
    count = VectorType(_dtype_of(dtype)).lanes

    def codegen(context, builder, sig, args):
        return ir.Constant(_I64, count)

    return types.int64(dtype), codegen


@intrinsic
def itemsize(typingctx, dtype):
    """Return the bytes of one element of `dtype`, as a constant."""
    size = _dtype_of(dtype).bitwidth // 8

    def codegen(context, builder, sig, args):
        return ir.Constant(_I64, size)

    return types.int64(dtype), codegen


@intrinsic
def vload(typingctx, place, dtype):
    """Load a vector from the address `place`."""
    vector = VectorType(_dtype_of(dtype))

    def codegen(context, builder, sig, args):
        return _load(builder, args[0], _llvm_vector(vector), vector.dtype.bitwidth // 8)

    return vector(types.int64, dtype), codegen


@intrinsic
def vstore(typingctx, place, value):
    """Store a vector at the address `place`."""

    def codegen(context, builder, sig, args):
        _store(builder, args[1], args[0], sig.args[1].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


def _lane_mask(builder, vector, count):
    """First `count` lanes on."""
    numbers = ir.Constant(ir.VectorType(_I64, vector.lanes), list(range(vector.lanes)))
    return builder.icmp_signed("<", numbers, _splat(builder, count, vector.lanes))


def _masked(builder, name, llvm_vector, returns, arguments):
    kind = {"float": "f32", "double": "f64"}.get(str(llvm_vector.element), str(llvm_vector.element))
    suffix = f"v{llvm_vector.count}{kind}.p0"
    function_type = ir.FunctionType(returns, [argument.type for argument in arguments])
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.masked.{name}.{suffix}")
    return builder.call(function, arguments)


@intrinsic
def vload_part(typingctx, place, count, dtype):
    """Load the first `count` elements of a vector; the other lanes are zero and their memory is not touched."""
    vector = VectorType(_dtype_of(dtype))

    def codegen(context, builder, sig, args):
        llvm_vector = _llvm_vector(vector)
        arguments = [
            _pointer(builder, args[0], llvm_vector),
            ir.Constant(_I32, vector.dtype.bitwidth // 8),
            _lane_mask(builder, vector, args[1]),
            ir.Constant(llvm_vector, None),
        ]
        return _masked(builder, "load", llvm_vector, llvm_vector, arguments)

    return vector(types.int64, types.int64, dtype), codegen


@intrinsic
def vstore_part(typingctx, place, value, count):
    """Store the first `count` elements of a vector."""
    vector = value

    def codegen(context, builder, sig, args):
        llvm_vector = _llvm_vector(vector)
        arguments = [
            args[1],
            _pointer(builder, args[0], llvm_vector),
            ir.Constant(_I32, vector.dtype.bitwidth // 8),
            _lane_mask(builder, vector, args[2]),
        ]
        _masked(builder, "store", llvm_vector, ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(types.int64, value, types.int64), codegen


@intrinsic
def vsplat(typingctx, value, dtype):
    """Return a vector with `value`, converted to `dtype`, in every lane."""
    vector = VectorType(_dtype_of(dtype))

    def codegen(context, builder, sig, args):
        scalar = context.cast(builder, args[0], sig.args[0], vector.dtype)
        return _splat(builder, scalar, vector.lanes)

    return vector(value, dtype), codegen


@intrinsic
def vfma(typingctx, a, b, c):
    """Return ``a * b + c``, rounded once."""
    if not (isinstance(a, VectorType) and a == b == c):
        raise TypingError("vfma: wants three vectors of one type")

    def codegen(context, builder, sig, args):
        return _fma(builder, *args)

    return a(a, b, c), codegen


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
vselect_ge = _comparison("o>=", "Return, lane by lane, `yes` where ``a >= b``, else `no` (also where either is NaN).")


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


# Tiles


@intrinsic(prefer_literal=True)
def tile_zero(typingctx, rows, vectors, dtype):
    """Return a tile of zeros; `rows` and `vectors` are constants."""
    tile = TileType(rows.literal_value, vectors.literal_value, _dtype_of(dtype))

    def codegen(context, builder, sig, args):
        return ir.Constant(context.get_value_type(tile), None)

    return tile(rows, vectors, dtype), codegen


@intrinsic(prefer_literal=True)
def row_addresses(typingctx, count, table, step, base):
    """Return the tuple of ``base + step * table[i]``, i below the constant `count`; `table` is an address of int64."""
    result = types.UniTuple(types.int64, count.literal_value)

    def codegen(context, builder, sig, args):
        _, table_value, step_value, base_value = args
        rows = []
        for i in range(result.count):
            word = _load(builder, _offset(builder, table_value, 8 * i), _I64, 8)
            rows.append(builder.add(base_value, builder.mul(step_value, word)))
        return context.make_tuple(builder, result, rows)

    return result(count, types.int64, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def row_steps(typingctx, count, base, step):
    """Return the tuple of ``base + i * step`` for i below `count` (a constant)."""
    result = types.UniTuple(types.int64, count.literal_value)

    def codegen(context, builder, sig, args):
        steps = [builder.mul(args[2], ir.Constant(_I64, i)) for i in range(result.count)]
        return context.make_tuple(builder, result, [builder.add(args[1], step) for step in steps])

    return result(count, types.int64, types.int64), codegen


@intrinsic
def tile_multiply_add(typingctx, tile, rows, shift, weights):
    """Return ``tile[p][v] + element at (rows[p] + shift) * vector v at weights``: a step of a matrix product."""
    vector = tile.vector
    size = vector.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        tile_value, row_values, shift_value, weights_value = args
        llvm_vector = _llvm_vector(vector)
        columns = [
            _load(builder, _offset(builder, weights_value, v * VECTOR_BYTES), llvm_vector, size)
            for v in range(tile.vectors)
        ]
        for p in range(tile.rows):
            place = builder.add(builder.extract_value(row_values, p), shift_value)
            element = _splat(builder, _load(builder, place, llvm_vector.element, size), vector.lanes)
            for v in range(tile.vectors):
                i = p * tile.vectors + v
                total = _fma(builder, element, columns[v], builder.extract_value(tile_value, i))
                tile_value = builder.insert_value(tile_value, total, i)
        return tile_value

    return tile(tile, rows, types.int64, types.int64), codegen


@intrinsic
def tile_multiply_add_vectors(typingctx, tile, rows, shift, value):
    """Return ``tile[p] + vector at rows[p] + shift * value`` for a tile of one vector a row."""
    size = tile.vector.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        tile_value, row_values, shift_value, vector = args
        for p in range(tile.rows):
            place = builder.add(builder.extract_value(row_values, p), shift_value)
            loaded = _load(builder, place, vector.type, size)
            total = _fma(builder, loaded, vector, builder.extract_value(tile_value, p))
            tile_value = builder.insert_value(tile_value, total, p)
        return tile_value

    return tile(tile, rows, types.int64, value), codegen


@intrinsic(prefer_literal=True)
def tile_row(typingctx, tile, row, column):
    """Return vector `column` of row `row` (constants) of a tile."""
    index = row.literal_value * tile.vectors + column.literal_value

    def codegen(context, builder, sig, args):
        return builder.extract_value(args[0], index)

    return tile.vector(tile, row, column), codegen


@intrinsic
def tile_load(typingctx, tile, rows):
    """Return a tile of the same type read from memory: row p from the address ``rows[p]``."""
    size = tile.vector.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        value = args[0]
        for p in range(tile.rows):
            for v in range(tile.vectors):
                place = _offset(builder, builder.extract_value(args[1], p), v * VECTOR_BYTES)
                loaded = _load(builder, place, _llvm_vector(tile.vector), size)
                value = builder.insert_value(value, loaded, p * tile.vectors + v)
        return value

    return tile(tile, rows), codegen


@intrinsic
def tile_load_part(typingctx, tile, rows, count):
    """Like `tile_load` for tiles of one vector a row: the first `count` elements, zero in the other lanes."""

    def codegen(context, builder, sig, args):
        tile_value, row_values, count_value = args
        llvm_vector = _llvm_vector(tile.vector)
        mask = _lane_mask(builder, tile.vector, count_value)
        size = ir.Constant(_I32, tile.vector.dtype.bitwidth // 8)
        for p in range(tile.rows):
            place = _pointer(builder, builder.extract_value(row_values, p), llvm_vector)
            arguments = [place, size, mask, ir.Constant(llvm_vector, None)]
            loaded = _masked(builder, "load", llvm_vector, llvm_vector, arguments)
            tile_value = builder.insert_value(tile_value, loaded, p)
        return tile_value

    return tile(tile, rows, types.int64), codegen


@intrinsic
def tile_store_part(typingctx, tile, rows, count):
    """Like `tile_store` for tiles of one vector a row: writes the first `count` elements."""

    def codegen(context, builder, sig, args):
        tile_value, row_values, count_value = args
        llvm_vector = _llvm_vector(tile.vector)
        mask = _lane_mask(builder, tile.vector, count_value)
        size = ir.Constant(_I32, tile.vector.dtype.bitwidth // 8)
        for p in range(tile.rows):
            place = _pointer(builder, builder.extract_value(row_values, p), llvm_vector)
            arguments = [builder.extract_value(tile_value, p), place, size, mask]
            _masked(builder, "store", llvm_vector, ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(tile, rows, types.int64), codegen


def _row_mask(builder, vector, row, rows, count):
    """First `count` lanes on if `row` is below `rows`, else none."""
    there = builder.icmp_signed("<", ir.Constant(_I64, row), rows)
    return _lane_mask(builder, vector, builder.select(there, count, ir.Constant(_I64, 0)))


@intrinsic(prefer_literal=True)
def square_load(typingctx, place, step, rows, count, dtype):
    """Return a tile of as many rows as a vector has lanes, one vector each, read from ``place + i * step``.

    Only the first `count` elements of the first `rows` rows are read; the rest is zero.
    """
    vector = VectorType(_dtype_of(dtype))
    tile = TileType(vector.lanes, 1, vector.dtype)

    def codegen(context, builder, sig, args):
        llvm_vector = _llvm_vector(vector)
        value = ir.Constant(context.get_value_type(tile), None)
        size = ir.Constant(_I32, vector.dtype.bitwidth // 8)
        for i in range(tile.rows):
            row = builder.add(args[0], builder.mul(args[1], ir.Constant(_I64, i)))
            mask = _row_mask(builder, vector, i, args[2], args[3])
            arguments = [_pointer(builder, row, llvm_vector), size, mask, ir.Constant(llvm_vector, None)]
            value = builder.insert_value(value, _masked(builder, "load", llvm_vector, llvm_vector, arguments), i)
        return value

    return tile(types.int64, types.int64, types.int64, types.int64, dtype), codegen


@intrinsic
def square_store(typingctx, tile, place, step, rows, count):
    """Write the first `count` elements of the first `rows` rows of a square tile to ``place + i * step``."""
    vector = tile.vector

    def codegen(context, builder, sig, args):
        llvm_vector = _llvm_vector(vector)
        size = ir.Constant(_I32, vector.dtype.bitwidth // 8)
        for i in range(tile.rows):
            row = builder.add(args[1], builder.mul(args[2], ir.Constant(_I64, i)))
            mask = _row_mask(builder, vector, i, args[3], args[4])
            arguments = [builder.extract_value(args[0], i), _pointer(builder, row, llvm_vector), size, mask]
            _masked(builder, "store", llvm_vector, ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(tile, types.int64, types.int64, types.int64, types.int64), codegen


@intrinsic
def square_transpose(typingctx, tile):
    """Return the transpose of a square tile: log2(lanes) rounds of exchanges between rows i and i + d."""
    count = tile.vector.lanes

    def codegen(context, builder, sig, args):
        rows = [builder.extract_value(args[0], i) for i in range(count)]
        index = ir.VectorType(_I32, count)
        distance = 1
        while distance < count:
            low = [j if not j & distance else count + j - distance for j in range(count)]
            high = [j + distance if not j & distance else count + j for j in range(count)]
            for i in range(count):
                if not i & distance:
                    a, b = rows[i], rows[i + distance]
                    rows[i] = builder.shuffle_vector(a, b, ir.Constant(index, low))
                    rows[i + distance] = builder.shuffle_vector(a, b, ir.Constant(index, high))
            distance *= 2
        value = args[0]
        for i in range(count):
            value = builder.insert_value(value, rows[i], i)
        return value

    return tile(tile), codegen


@intrinsic
def tile_store(typingctx, tile, rows):
    """Write a tile: row p to the address ``rows[p]``."""
    size = tile.vector.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        for p in range(tile.rows):
            for v in range(tile.vectors):
                place = _offset(builder, builder.extract_value(args[1], p), v * VECTOR_BYTES)
                _store(builder, builder.extract_value(args[0], p * tile.vectors + v), place, size)
        return context.get_dummy_value()

    return types.void(tile, rows), codegen


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
    vector, integer = VectorType(_dtype_of(dtype)), _dtype_of(index_dtype)

    def codegen(context, builder, sig, args):
        small = ir.VectorType(_llvm_element(integer), vector.lanes)
        size = ir.Constant(_I32, integer.bitwidth // 8)
        mask = _lane_mask(builder, vector, args[1])
        arguments = [_pointer(builder, args[0], small), size, mask, ir.Constant(small, None)]
        loaded = _masked(builder, "load", small, small, arguments)
        convert = builder.sitofp if integer.signed else builder.uitofp
        return convert(loaded, _llvm_vector(vector))

    return vector(types.int64, types.int64, index_dtype, dtype), codegen


@intrinsic
def vstore_index(typingctx, place, value, count, index_dtype):
    """Store the first `count` lanes of a float vector as integers of `index_dtype`."""
    vector, integer = value, _dtype_of(index_dtype)

    def codegen(context, builder, sig, args):
        small = ir.VectorType(_llvm_element(integer), vector.lanes)
        # By way of 32 bits: one instruction, and no lane is negative or large.
        wide = builder.fptosi(args[1], ir.VectorType(_I32, vector.lanes))
        converted = builder.trunc(wide, small) if integer.bitwidth < 32 else wide
        size = ir.Constant(_I32, integer.bitwidth // 8)
        arguments = [converted, _pointer(builder, args[0], small), size, _lane_mask(builder, vector, args[2])]
        _masked(builder, "store", small, ir.VoidType(), arguments)
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
        limit = _splat(builder, builder.trunc(args[1], _I32), yes.lanes)
        reached = builder.icmp_unsigned(">=", _load(builder, args[0], words, 4), limit)
        return builder.select(reached, args[2], args[3])

    return yes(types.int64, types.int64, yes, no), codegen
