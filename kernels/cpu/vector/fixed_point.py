"""Numbers of 16 bits in fixed point, and the dot product of pairs of them (AVX-512 VNNI).

A block of float32 is divided by a step of its own and rounded to whole numbers below 2^15, so that all of them have the
same absolute error, half a step: where the largest is 2^15 steps that is 15 bits, of which bfloat16 keeps 8.
``vpdpwssd`` adds the two products of each 32-bit lane to an int32, at the rate of bfloat16's dot product (Intel 64 and
IA-32 Architectures Software Developer's Manual, volume 2). Sums of integers are exact, and what wraps around on the way
is right again at the end: only the whole sum must stay below 2^31.

Rounding takes one instruction: where 1.5 * 2^23 is added to a float32, its lowest bits are those of the nearest whole
number. `FIXED` tells whether the code compiled here may use the dot product.
"""

from llvmlite import ir
from numba.core import types

from ..runtime.emitted import I32, call, emitted
from .bf16 import compiled_for
from .emit import (
    add_products,
    each_register,
    fused_multiply_add,
    load_from,
    offset,
    shuffle,
    splat,
    step_to,
    store_to,
)
from .simd import VECTOR_BYTES, llvm_vector

_LANES = 16
_INTEGERS = ir.VectorType(I32, _LANES)
_WORDS = ir.VectorType(ir.IntType(16), 2 * _LANES)
WORD_BYTES = 2
PAIR_BYTES = 4
MAGIC = 1.5 * 2**23

FIXED = compiled_for("avx512vnni", ("icelake", "cooperlake", "sapphirerapids", "graniterapids", "znver4", "znver5"))


@emitted
def store_words(place, low, high):
    """Store the whole numbers of two vectors to which `MAGIC` was added, one vector after the other."""

    def emit(builder, place, low, high):
        words = [builder.bitcast(value, _WORDS) for value in (low, high)]
        lower_halves = range(0, 4 * _LANES, 2)
        store_to(builder, shuffle(builder, *words, lower_halves), place, 2)

    return types.void(types.int64, low, high), emit


@emitted
def store_word_pairs(place, first, second):
    """Like `store_words`, as pairs: first[0], second[0], first[1], second[1], ..."""

    def emit(builder, place, first, second):
        lower = builder.and_(builder.bitcast(first, _INTEGERS), ir.Constant(_INTEGERS, [0xFFFF] * _LANES))
        upper = builder.shl(builder.bitcast(second, _INTEGERS), ir.Constant(_INTEGERS, [16] * _LANES))
        store_to(builder, builder.or_(lower, upper), place, 2)

    return types.void(types.int64, first, second), emit


@emitted
def tile_dot_words(tile, rows, shift, pairs):
    """Return ``tile[p][v] + pair at (rows[p] + shift) . pairs v``: two steps of a product of whole numbers.

    The registers of the tile hold int32. Vector v of the pairs lies ``v * VECTOR_BYTES`` after the first.
    """
    register = llvm_vector(tile.vector)

    def emit(builder, value, rows, shift, pairs):
        def pair(p):
            place = builder.add(builder.extract_value(rows, p), shift)
            return splat(builder, load_from(builder, place, I32, 2), _LANES)

        def add(total, left, right):
            arguments = [builder.bitcast(total, _INTEGERS), left, right]
            return builder.bitcast(call(builder, "llvm.x86.avx512.vpdpwssd.512", _INTEGERS, arguments), register)

        places = (offset(builder, pairs, v * VECTOR_BYTES) for v in range(tile.vectors))
        return add_products(builder, tile, value, pair, [load_from(builder, at, _INTEGERS, 2) for at in places], add)

    return tile(tile, rows, types.int64, types.int64), emit


def _make_tile_floats(add, doc):
    @emitted(doc=doc)
    def tile_floats(tile, rows, steps, step_bytes, scales):
        register = llvm_vector(tile.vector)

        def emit(builder, value, rows, steps, step_bytes, scales):
            places = (offset(builder, scales, v * VECTOR_BYTES) for v in range(tile.vectors))
            columns = [load_from(builder, place, register, 4) for place in places]
            factors = []

            def store(number, p, v):
                if v == 0:
                    place = step_to(builder, steps, step_bytes, p)
                    factors.append(splat(builder, load_from(builder, place, ir.FloatType(), 4), _LANES))
                target = offset(builder, builder.extract_value(rows, p), v * VECTOR_BYTES)
                number = builder.sitofp(builder.bitcast(number, _INTEGERS), register)
                number = builder.fmul(number, columns[v])
                if add:
                    found = load_from(builder, target, register, 4)
                    number = fused_multiply_add(builder, number, factors[p], found)
                else:
                    number = builder.fmul(number, factors[p])
                store_to(builder, number, target, 4)

            each_register(builder, tile, value, store)

        return types.void(tile, rows, types.int64, types.int64, types.int64), emit

    return tile_floats


tile_store_floats = _make_tile_floats(
    False,
    "Write a tile of int32 as float32: row p, times the float at ``steps + p * step_bytes`` and vectors at `scales`.",
)
tile_add_floats = _make_tile_floats(True, "Like `tile_store_floats`, added to what is there.")
