"""Register tiles as values of Numba code: the accumulators of a small matrix product.

A `Tile` is rows x vectors vector registers. LLVM's SROA pass takes it apart into single registers, so passing tiles
around by value costs nothing (seen in the machine code of a 13 x 2 tile: no spill, 95 % of peak).
"""

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models, register_default
from numba.extending import intrinsic

from ..runtime.emitted import I64, call, emitted
from .bf16_storage import is_bf16, load_part_from
from .emit import (
    add_products,
    each_register,
    fused_multiply_add,
    lane_mask,
    load_from,
    load_masked,
    map_registers,
    offset,
    shuffle,
    splat,
    step_to,
    store_masked,
    store_to,
    stream_to,
)
from .simd import REGISTERS, VECTOR_BYTES, VectorType, dtype_of, llvm_vector

# A tile of ROWS pixels x 2 vectors fills the registers: 13 * 2 accumulators + 2 weights of 32, and 13 divides 64k + 1,
# so that maps of 8x8, 16x16 and 32x32 pixels leave 1.5 % of a tile idle. Broadcasts come straight from memory.
ROWS = 13 if REGISTERS == 32 else 6
TILE_VECTORS = 2


class TileType(types.Type):
    """Numba type of `rows` x `vectors` vector registers."""

    def __init__(self, rows, vectors, dtype):
        self.rows, self.vectors, self.vector = rows, vectors, VectorType(dtype)
        super().__init__(name=f"Tile({rows}, {vectors}, {dtype})")


def _llvm_tile(tile):
    return ir.ArrayType(llvm_vector(tile.vector), tile.rows * tile.vectors)


def _nothing(tile):
    """Return a tile of zeros, as a constant."""
    return ir.Constant(_llvm_tile(tile), None)


@register_default(TileType)
class _TileModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, _llvm_tile(fe_type))


@emitted(constants=True)
def tile_zero(rows, vectors, dtype):
    """Return a tile of zeros; `rows` and `vectors` are constants."""
    tile = TileType(rows.literal_value, vectors.literal_value, dtype_of(dtype))
    return tile(rows, vectors, dtype), lambda builder, *_: _nothing(tile)


@intrinsic(prefer_literal=True)
def row_addresses(typingctx, count, table, step, base):
    """Return the tuple of ``base + step * table[i]``, i below the constant `count`; `table` is an address of int64."""
    result = types.UniTuple(types.int64, count.literal_value)

    def codegen(context, builder, sig, args):
        _, table_value, step_value, base_value = args
        rows = []
        for i in range(result.count):
            word = load_from(builder, offset(builder, table_value, 8 * i), I64, 8)
            rows.append(builder.add(base_value, builder.mul(step_value, word)))
        return context.make_tuple(builder, result, rows)

    return result(count, types.int64, types.int64, types.int64), codegen


@intrinsic(prefer_literal=True)
def row_steps(typingctx, count, base, step):
    """Return the tuple of ``base + i * step`` for i below `count` (a constant)."""
    result = types.UniTuple(types.int64, count.literal_value)

    def codegen(context, builder, sig, args):
        steps = [step_to(builder, args[1], args[2], i) for i in range(result.count)]
        return context.make_tuple(builder, result, steps)

    return result(count, types.int64, types.int64), codegen


@emitted
def tile_multiply_add(tile, rows, shift, weights):
    """Return ``tile[p][v] + element at (rows[p] + shift) * vector v at weights``: a step of a matrix product.

    The shorter side of the tile is read first and stays in registers, the longer one takes a register at a time.
    """
    register, size = llvm_vector(tile.vector), tile.vector.itemsize

    def emit(builder, value, rows, shift, weights):
        def column(v):
            return load_from(builder, offset(builder, weights, v * VECTOR_BYTES), register, size)

        def element(p):
            place = builder.add(builder.extract_value(rows, p), shift)
            return splat(builder, load_from(builder, place, register.element, size), tile.vector.lanes)

        def add(total, left, right):
            return fused_multiply_add(builder, left, right, total)

        if tile.vectors <= tile.rows:
            return add_products(builder, tile, value, element, [column(v) for v in range(tile.vectors)], add)
        elements = [element(p) for p in range(tile.rows)]
        for v in range(tile.vectors):
            right = column(v)
            for p in range(tile.rows):
                i = p * tile.vectors + v
                value = builder.insert_value(value, add(builder.extract_value(value, i), elements[p], right), i)
        return value

    return tile(tile, rows, types.int64, types.int64), emit


@emitted
def tile_multiply_add_vectors(tile, rows, shift, vector):
    """Return ``tile[p] + vector at rows[p] + shift * vector`` for a tile of one vector a row."""
    register, size = llvm_vector(tile.vector), tile.vector.itemsize

    def emit(builder, value, rows, shift, factor):
        def add(total, p, _):
            place = builder.add(builder.extract_value(rows, p), shift)
            return fused_multiply_add(builder, load_from(builder, place, register, size), factor, total)

        return map_registers(builder, tile, value, add)

    return tile(tile, rows, types.int64, vector), emit


@emitted
def tile_multiply_add_columns(tile, rows, shift, weights, step):
    """Return ``tile[p][v] + vector at (rows[p] + shift) * vector at (weights + v * step)``: both sides are vectors."""
    register, size = llvm_vector(tile.vector), tile.vector.itemsize

    def emit(builder, value, rows, shift, weights, step):
        def row(p):
            return load_from(builder, builder.add(builder.extract_value(rows, p), shift), register, size)

        def add(total, left, right):
            return fused_multiply_add(builder, left, right, total)

        places = (step_to(builder, weights, step, v) for v in range(tile.vectors))
        columns = [load_from(builder, place, register, size) for place in places]
        return add_products(builder, tile, value, row, columns, add)

    return tile(tile, rows, types.int64, types.int64, types.int64), emit


@emitted
def tile_store_sums(tile, rows, add):
    """Write the sum of the lanes of ``tile[p][v]`` to the element v at ``rows[p]``; if `add`, to what is there.

    Everything is read before anything is written: rows may be the same.
    """
    vector = tile.vector
    element, size = llvm_vector(vector).element, vector.itemsize

    def emit(builder, value, rows, add):
        name = f"llvm.vector.reduce.fadd.v{vector.lanes}f{vector.dtype.bitwidth}"
        sums = []

        def reduce(register, p, v):
            place = offset(builder, builder.extract_value(rows, p), v * size)
            found = load_from(builder, place, element, size)
            total = call(builder, name, element, [builder.select(add, found, ir.Constant(element, 0.0)), register])
            total.fastmath.add("reassoc")  # in any order: by halves, not one after the other
            sums.append((total, place))

        each_register(builder, tile, value, reduce)
        for total, place in sums:
            store_to(builder, total, place, size)

    return types.void(tile, rows, types.boolean), emit


@emitted
def tile_add(a, b):
    """Return the sum of two tiles of one type."""

    def emit(builder, left, right):
        def add(register, p, v):
            return builder.fadd(register, builder.extract_value(right, p * a.vectors + v))

        return map_registers(builder, a, left, add)

    return a(a, b), emit


@emitted
def tile_floor(tile, floor):
    """Return the tile with `floor` (a vector) wherever that is larger than an element; NaN stays."""

    def emit(builder, value, least):
        def limit(register, *_):
            return builder.select(builder.fcmp_ordered(">", least, register), least, register)

        return map_registers(builder, tile, value, limit)

    return tile(tile, floor), emit


@emitted
def tile_load(tile, rows):
    """Return a tile of the same type read from memory: row p from the address ``rows[p]``."""
    register, size = llvm_vector(tile.vector), tile.vector.itemsize

    def emit(builder, value, rows):
        def load(_, p, v):
            place = offset(builder, builder.extract_value(rows, p), v * VECTOR_BYTES)
            return load_from(builder, place, register, size)

        return map_registers(builder, tile, value, load)

    return tile(tile, rows), emit


@emitted
def tile_load_part(tile, rows, count):
    """Like `tile_load` for tiles of one vector a row: the first `count` elements, zero in the other lanes."""
    register, size = llvm_vector(tile.vector), tile.vector.itemsize

    def emit(builder, value, rows, count):
        mask = lane_mask(builder, tile.vector.lanes, count)

        def load(_, p, v):
            return load_masked(builder, builder.extract_value(rows, p), register, size, mask)

        return map_registers(builder, tile, value, load)

    return tile(tile, rows, types.int64), emit


@emitted
def tile_store_part(tile, rows, count):
    """Like `tile_store` for tiles of one vector a row: writes the first `count` elements."""

    def emit(builder, value, rows, count):
        mask = lane_mask(builder, tile.vector.lanes, count)

        def store(register, p, v):
            store_masked(builder, register, builder.extract_value(rows, p), tile.vector.itemsize, mask)

        each_register(builder, tile, value, store)

    return types.void(tile, rows, types.int64), emit


def _square(vector):
    """Return the type of a tile of as many rows as a vector has lanes, one vector each."""
    return TileType(vector.lanes, 1, vector.dtype)


def _row_mask(builder, vector, row, rows, count):
    """First `count` lanes on if `row` is below `rows`, else none."""
    inside = builder.icmp_signed("<", ir.Constant(I64, row), rows)
    return lane_mask(builder, vector.lanes, builder.select(inside, count, ir.Constant(I64, 0)))


@emitted(constants=True)
def square_load(place, step, rows, count, dtype):
    """Return a square tile, as many rows as a vector has lanes, read from ``place + i * step``.

    Only the first `count` elements of the first `rows` rows are read; the rest is zero.
    """
    vector = VectorType(dtype_of(dtype))
    tile, register = _square(vector), llvm_vector(vector)

    def emit(builder, place, step, rows, count, _):
        def load(_, i, __):
            row = step_to(builder, place, step, i)
            return load_masked(builder, row, register, vector.itemsize, _row_mask(builder, vector, i, rows, count))

        return map_registers(builder, tile, _nothing(tile), load)

    return tile(types.int64, types.int64, types.int64, types.int64, dtype), emit


@emitted(constants=True)
def square_load_rows(table, step, base, count, stored, dtype):
    """Return a square tile: row i from ``base + step * table[i]``, zero where that number is negative.

    `table` is an address of int64; only the first `count` elements of a row are read, of the type `stored`.
    """
    vector = VectorType(dtype_of(dtype))
    tile, bf16 = _square(vector), is_bf16(stored, dtype)

    def emit(builder, table, step, base, count, *_):
        zero = ir.Constant(I64, 0)

        def load(_, i, __):
            word = load_from(builder, offset(builder, table, 8 * i), I64, 8)
            inside = builder.icmp_signed(">=", word, zero)
            row = builder.add(base, builder.mul(step, builder.select(inside, word, zero)))
            return load_part_from(builder, row, builder.select(inside, count, zero), vector, bf16)

        return map_registers(builder, tile, _nothing(tile), load)

    return tile(types.int64, types.int64, types.int64, types.int64, stored, dtype), emit


@emitted
def square_store(tile, place, step, rows, count):
    """Write the first `count` elements of the first `rows` rows of a square tile to ``place + i * step``."""
    vector = tile.vector

    def emit(builder, value, place, step, rows, count):
        def store(register, i, _):
            row = step_to(builder, place, step, i)
            store_masked(builder, register, row, vector.itemsize, _row_mask(builder, vector, i, rows, count))

        each_register(builder, tile, value, store)

    return types.void(tile, types.int64, types.int64, types.int64, types.int64), emit


@emitted
def square_transpose(tile):
    """Return the transpose of a square tile: log2(lanes) rounds of exchanges between rows i and i + d."""
    count = tile.vector.lanes

    def emit(builder, value):
        rows = [builder.extract_value(value, i) for i in range(count)]
        distance = 1
        while distance < count:
            low = [j if not j & distance else count + j - distance for j in range(count)]
            high = [j + distance if not j & distance else count + j for j in range(count)]
            for i in range(count):
                if not i & distance:
                    a, b = rows[i], rows[i + distance]
                    rows[i], rows[i + distance] = shuffle(builder, a, b, low), shuffle(builder, a, b, high)
            distance *= 2
        return map_registers(builder, tile, value, lambda _, i, __: rows[i])

    return tile(tile), emit


def _make_tile_store(past_caches, doc):
    @emitted(doc=doc)
    def tile_store(tile, rows):
        align = VECTOR_BYTES if past_caches else tile.vector.itemsize

        def emit(builder, value, rows):
            def store(register, p, v):
                place = offset(builder, builder.extract_value(rows, p), v * VECTOR_BYTES)
                (stream_to if past_caches else store_to)(builder, register, place, align)

            each_register(builder, tile, value, store)

        return types.void(tile, rows), emit

    return tile_store


tile_store = _make_tile_store(False, "Write a tile: row p to the address ``rows[p]``.")
tile_store_stream = _make_tile_store(True, "Like `tile_store`, past the caches, to multiples of the vector's bytes.")
