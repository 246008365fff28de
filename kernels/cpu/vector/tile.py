"""Register tiles as values of Numba code: the accumulators of a small matrix product.

A `Tile` is rows x vectors vector registers. LLVM's SROA pass takes it apart into single registers, so passing tiles
around by value costs nothing (seen in the machine code of a 13 x 2 tile: no spill, 95 % of peak).
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic

from .bf16_storage import is_half, load_part_from
from .simd import (
    REGISTERS,
    VECTOR_BYTES,
    VectorType,
    call_masked,
    dtype_of,
    fused_multiply_add,
    lane_mask,
    llvm_vector,
    load_from,
    offset,
    pointer,
    splat,
    store_to,
    stream_to,
)

_I32 = ir.IntType(32)
_I64 = ir.IntType(64)

# A tile of ROWS pixels x 2 vectors fills the registers: 13 * 2 accumulators + 2 weights of 32, and 13 divides 64k + 1,
# so that maps of 8x8, 16x16 and 32x32 pixels leave 1.5 % of a tile idle. Broadcasts come straight from memory.
ROWS = 13 if REGISTERS == 32 else 6
TILE_VECTORS = 2


class TileType(types.Type):
    """Numba type of `rows` x `vectors` vector registers."""

    def __init__(self, rows, vectors, dtype):
        self.rows, self.vectors, self.vector = rows, vectors, VectorType(dtype)
        super().__init__(name=f"Tile({rows}, {vectors}, {dtype})")


@register_default(TileType)
class _TileModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, ir.ArrayType(llvm_vector(fe_type.vector), fe_type.rows * fe_type.vectors))


@intrinsic(prefer_literal=True)
def tile_zero(typingctx, rows, vectors, dtype):
    """Return a tile of zeros; `rows` and `vectors` are constants."""
    tile = TileType(rows.literal_value, vectors.literal_value, dtype_of(dtype))

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
            word = load_from(builder, offset(builder, table_value, 8 * i), _I64, 8)
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
    """Return ``tile[p][v] + element at (rows[p] + shift) * vector v at weights``: a step of a matrix product.

    The shorter side of the tile is read first and stays in registers, the longer one takes a register at a time.
    """
    vector = tile.vector
    size = vector.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        tile_value, row_values, shift_value, weights_value = args
        register = llvm_vector(vector)

        def column(v):
            return load_from(builder, offset(builder, weights_value, v * VECTOR_BYTES), register, size)

        def element(p):
            place = builder.add(builder.extract_value(row_values, p), shift_value)
            return splat(builder, load_from(builder, place, register.element, size), vector.lanes)

        def add_product(tile_value, p, v, left, right):
            i = p * tile.vectors + v
            total = fused_multiply_add(builder, left, right, builder.extract_value(tile_value, i))
            return builder.insert_value(tile_value, total, i)

        if tile.vectors > tile.rows:
            elements = [element(p) for p in range(tile.rows)]
            for v in range(tile.vectors):
                right = column(v)
                for p in range(tile.rows):
                    tile_value = add_product(tile_value, p, v, elements[p], right)
            return tile_value
        columns = [column(v) for v in range(tile.vectors)]
        for p in range(tile.rows):
            left = element(p)
            for v in range(tile.vectors):
                tile_value = add_product(tile_value, p, v, left, columns[v])
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
            loaded = load_from(builder, place, vector.type, size)
            total = fused_multiply_add(builder, loaded, vector, builder.extract_value(tile_value, p))
            tile_value = builder.insert_value(tile_value, total, p)
        return tile_value

    return tile(tile, rows, types.int64, value), codegen


@intrinsic
def tile_multiply_add_columns(typingctx, tile, rows, shift, weights, step):
    """Return ``tile[p][v] + vector at (rows[p] + shift) * vector at (weights + v * step)``: both sides are vectors."""
    vector = tile.vector
    size = vector.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        tile_value, row_values, shift_value, weights_value, step_value = args
        register = llvm_vector(vector)
        columns = []
        for v in range(tile.vectors):
            place = builder.add(weights_value, builder.mul(step_value, ir.Constant(_I64, v)))
            columns.append(load_from(builder, place, register, size))
        for p in range(tile.rows):
            place = builder.add(builder.extract_value(row_values, p), shift_value)
            value = load_from(builder, place, register, size)
            for v in range(tile.vectors):
                i = p * tile.vectors + v
                total = fused_multiply_add(builder, value, columns[v], builder.extract_value(tile_value, i))
                tile_value = builder.insert_value(tile_value, total, i)
        return tile_value

    return tile(tile, rows, types.int64, types.int64, types.int64), codegen


@intrinsic
def tile_store_sums(typingctx, tile, rows, add):
    """Write the sum of the lanes of ``tile[p][v]`` to the element v at ``rows[p]``; if `add`, to what is there.

    Everything is read before anything is written: rows may be the same.
    """
    vector = tile.vector
    size = vector.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        register = llvm_vector(vector)
        element = register.element
        name = f"llvm.vector.reduce.fadd.v{vector.lanes}f{vector.dtype.bitwidth}"
        reduce_type = ir.FunctionType(element, [element, register])
        reduce = cgutils.get_or_insert_function(builder.module, reduce_type, name)
        nothing = ir.Constant(element, 0.0)
        sums = []
        for p in range(tile.rows):
            for v in range(tile.vectors):
                place = offset(builder, builder.extract_value(args[1], p), v * size)
                there = builder.select(args[2], load_from(builder, place, element, size), nothing)
                value = builder.extract_value(args[0], p * tile.vectors + v)
                # In any order: by halves, not one after the other.
                sums.append((place, builder.call(reduce, [there, value], fastmath=("reassoc",))))
        for place, total in sums:
            store_to(builder, total, place, size)
        return context.get_dummy_value()

    return types.void(tile, rows, types.boolean), codegen


@intrinsic
def tile_add(typingctx, a, b):
    """Return the sum of two tiles of one type."""

    def codegen(context, builder, sig, args):
        value = args[0]
        for i in range(a.rows * a.vectors):
            total = builder.fadd(builder.extract_value(value, i), builder.extract_value(args[1], i))
            value = builder.insert_value(value, total, i)
        return value

    return a(a, b), codegen


@intrinsic
def tile_floor(typingctx, tile, floor):
    """Return the tile with `floor` (a vector) wherever that is larger than an element; NaN stays."""

    def codegen(context, builder, sig, args):
        value, least = args
        for i in range(tile.rows * tile.vectors):
            element = builder.extract_value(value, i)
            larger = builder.fcmp_ordered(">", least, element)
            value = builder.insert_value(value, builder.select(larger, least, element), i)
        return value

    return tile(tile, floor), codegen


@intrinsic
def tile_load(typingctx, tile, rows):
    """Return a tile of the same type read from memory: row p from the address ``rows[p]``."""
    size = tile.vector.dtype.bitwidth // 8

    def codegen(context, builder, sig, args):
        value = args[0]
        for p in range(tile.rows):
            for v in range(tile.vectors):
                place = offset(builder, builder.extract_value(args[1], p), v * VECTOR_BYTES)
                loaded = load_from(builder, place, llvm_vector(tile.vector), size)
                value = builder.insert_value(value, loaded, p * tile.vectors + v)
        return value

    return tile(tile, rows), codegen


@intrinsic
def tile_load_part(typingctx, tile, rows, count):
    """Like `tile_load` for tiles of one vector a row: the first `count` elements, zero in the other lanes."""

    def codegen(context, builder, sig, args):
        tile_value, row_values, count_value = args
        register = llvm_vector(tile.vector)
        mask = lane_mask(builder, tile.vector, count_value)
        size = ir.Constant(_I32, tile.vector.dtype.bitwidth // 8)
        for p in range(tile.rows):
            place = pointer(builder, builder.extract_value(row_values, p), register)
            arguments = [place, size, mask, ir.Constant(register, None)]
            loaded = call_masked(builder, "load", register, register, arguments)
            tile_value = builder.insert_value(tile_value, loaded, p)
        return tile_value

    return tile(tile, rows, types.int64), codegen


@intrinsic
def tile_store_part(typingctx, tile, rows, count):
    """Like `tile_store` for tiles of one vector a row: writes the first `count` elements."""

    def codegen(context, builder, sig, args):
        tile_value, row_values, count_value = args
        register = llvm_vector(tile.vector)
        mask = lane_mask(builder, tile.vector, count_value)
        size = ir.Constant(_I32, tile.vector.dtype.bitwidth // 8)
        for p in range(tile.rows):
            place = pointer(builder, builder.extract_value(row_values, p), register)
            arguments = [builder.extract_value(tile_value, p), place, size, mask]
            call_masked(builder, "store", register, ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(tile, rows, types.int64), codegen


def _row_mask(builder, vector, row, rows, count):
    """First `count` lanes on if `row` is below `rows`, else none."""
    there = builder.icmp_signed("<", ir.Constant(_I64, row), rows)
    return lane_mask(builder, vector, builder.select(there, count, ir.Constant(_I64, 0)))


@intrinsic(prefer_literal=True)
def square_load(typingctx, place, step, rows, count, dtype):
    """Return a tile of as many rows as a vector has lanes, one vector each, read from ``place + i * step``.

    Only the first `count` elements of the first `rows` rows are read; the rest is zero.
    """
    vector = VectorType(dtype_of(dtype))
    tile = TileType(vector.lanes, 1, vector.dtype)

    def codegen(context, builder, sig, args):
        register = llvm_vector(vector)
        value = ir.Constant(context.get_value_type(tile), None)
        size = ir.Constant(_I32, vector.dtype.bitwidth // 8)
        for i in range(tile.rows):
            row = builder.add(args[0], builder.mul(args[1], ir.Constant(_I64, i)))
            mask = _row_mask(builder, vector, i, args[2], args[3])
            arguments = [pointer(builder, row, register), size, mask, ir.Constant(register, None)]
            value = builder.insert_value(value, call_masked(builder, "load", register, register, arguments), i)
        return value

    return tile(types.int64, types.int64, types.int64, types.int64, dtype), codegen


@intrinsic(prefer_literal=True)
def square_load_rows(typingctx, table, step, base, count, stored, dtype):
    """Return a square tile: row i from ``base + step * table[i]``, zero where that number is negative.

    `table` is an address of int64; only the first `count` elements of a row are read, of the type `stored`.
    """
    vector = VectorType(dtype_of(dtype))
    tile = TileType(vector.lanes, 1, vector.dtype)
    half = is_half(stored, dtype)

    def codegen(context, builder, sig, args):
        value = ir.Constant(context.get_value_type(tile), None)
        zero = ir.Constant(_I64, 0)
        for i in range(tile.rows):
            word = load_from(builder, offset(builder, args[0], 8 * i), _I64, 8)
            there = builder.icmp_signed(">=", word, zero)
            row = builder.add(args[2], builder.mul(args[1], builder.select(there, word, zero)))
            count = builder.select(there, args[3], zero)
            value = builder.insert_value(value, load_part_from(builder, row, count, vector, half), i)
        return value

    return tile(types.int64, types.int64, types.int64, types.int64, stored, dtype), codegen


@intrinsic
def square_store(typingctx, tile, place, step, rows, count):
    """Write the first `count` elements of the first `rows` rows of a square tile to ``place + i * step``."""
    vector = tile.vector

    def codegen(context, builder, sig, args):
        register = llvm_vector(vector)
        size = ir.Constant(_I32, vector.dtype.bitwidth // 8)
        for i in range(tile.rows):
            row = builder.add(args[1], builder.mul(args[2], ir.Constant(_I64, i)))
            mask = _row_mask(builder, vector, i, args[3], args[4])
            arguments = [builder.extract_value(args[0], i), pointer(builder, row, register), size, mask]
            call_masked(builder, "store", register, ir.VoidType(), arguments)
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


def _make_tile_store(past_caches, doc):
    @intrinsic
    def tile_store(typingctx, tile, rows):
        align = VECTOR_BYTES if past_caches else tile.vector.dtype.bitwidth // 8

        def codegen(context, builder, sig, args):
            for p in range(tile.rows):
                for v in range(tile.vectors):
                    place = offset(builder, builder.extract_value(args[1], p), v * VECTOR_BYTES)
                    value = builder.extract_value(args[0], p * tile.vectors + v)
                    (stream_to if past_caches else store_to)(builder, value, place, align)
            return context.get_dummy_value()

        return types.void(tile, rows), codegen

    tile_store.__doc__ = doc
    return tile_store


tile_store = _make_tile_store(False, "Write a tile: row p to the address ``rows[p]``.")
tile_store_stream = _make_tile_store(True, "Like `tile_store`, past the caches, to multiples of the vector's bytes.")
