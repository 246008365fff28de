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
from numba.core import cgutils, types
from numba.extending import intrinsic

from .bf16 import compiled_for
from .simd import VECTOR_BYTES, fused_multiply_add, llvm_vector, load_from, offset, splat, store_to

_I16 = ir.IntType(16)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_LANES = 16
_INTEGERS = ir.VectorType(_I32, _LANES)
_WORDS = ir.VectorType(_I16, 2 * _LANES)
WORD_BYTES = 2
PAIR_BYTES = 4
MAGIC = 1.5 * 2**23


FIXED = compiled_for("avx512vnni", ("icelake", "cooperlake", "sapphirerapids", "graniterapids", "znver4", "znver5"))


@intrinsic
def store_words(typingctx, place, low, high):
    """Store the whole numbers of two vectors to which `MAGIC` was added, one vector behind the other."""

    def codegen(context, builder, sig, args):
        order = [*range(0, 2 * _LANES, 2), *range(2 * _LANES, 4 * _LANES, 2)]  # the lower halves
        words = [builder.bitcast(value, _WORDS) for value in args[1:]]
        index = ir.Constant(ir.VectorType(_I32, 2 * _LANES), order)
        store_to(builder, builder.shuffle_vector(*words, index), args[0], 2)
        return context.get_dummy_value()

    return types.void(types.int64, low, high), codegen


@intrinsic
def store_word_pairs(typingctx, place, first, second):
    """Like `store_words`, as pairs: first[0], second[0], first[1], second[1], ..."""

    def codegen(context, builder, sig, args):
        first, second = (builder.bitcast(value, _INTEGERS) for value in args[1:])
        lower = builder.and_(first, ir.Constant(_INTEGERS, [0xFFFF] * _LANES))
        upper = builder.shl(second, ir.Constant(_INTEGERS, [16] * _LANES))
        store_to(builder, builder.or_(lower, upper), args[0], 2)
        return context.get_dummy_value()

    return types.void(types.int64, first, second), codegen


@intrinsic
def tile_dot_words(typingctx, tile, rows, shift, pairs):
    """Return ``tile[p][v] + pair at (rows[p] + shift) . pairs v``: two steps of a product of whole numbers.

    The registers of the tile hold int32. Vector v of the pairs lies ``v * VECTOR_BYTES`` behind the first.
    """
    function_type = ir.FunctionType(_INTEGERS, [_INTEGERS] * 3)

    def codegen(context, builder, sig, args):
        value, places, shift_value, pairs_value = args
        name = "llvm.x86.avx512.vpdpwssd.512"
        function = cgutils.get_or_insert_function(builder.module, function_type, name)
        columns = [
            load_from(builder, offset(builder, pairs_value, v * VECTOR_BYTES), _INTEGERS, 2)
            for v in range(tile.vectors)
        ]
        register = llvm_vector(tile.vector)
        for p in range(tile.rows):
            place = builder.add(builder.extract_value(places, p), shift_value)
            pair = splat(builder, load_from(builder, place, _I32, 2), _LANES)
            for v in range(tile.vectors):
                i = p * tile.vectors + v
                total = builder.bitcast(builder.extract_value(value, i), _INTEGERS)
                total = builder.bitcast(builder.call(function, [total, pair, columns[v]]), register)
                value = builder.insert_value(value, total, i)
        return value

    return tile(tile, rows, types.int64, types.int64), codegen


def _make_tile_floats(add, doc):
    @intrinsic
    def tile_floats(typingctx, tile, rows, steps, step_bytes, scales):
        def codegen(context, builder, sig, args):
            value, places, steps_value, step_value, scales_value = args
            register = llvm_vector(tile.vector)
            columns = [
                load_from(builder, offset(builder, scales_value, v * VECTOR_BYTES), register, 4)
                for v in range(tile.vectors)
            ]
            for p in range(tile.rows):
                place = builder.add(steps_value, builder.mul(step_value, ir.Constant(_I64, p)))
                row = splat(builder, load_from(builder, place, ir.FloatType(), 4), _LANES)
                for v in range(tile.vectors):
                    target = offset(builder, builder.extract_value(places, p), v * VECTOR_BYTES)
                    number = builder.bitcast(builder.extract_value(value, p * tile.vectors + v), _INTEGERS)
                    number = builder.fmul(builder.sitofp(number, register), columns[v])
                    if add:
                        number = fused_multiply_add(builder, number, row, load_from(builder, target, register, 4))
                    else:
                        number = builder.fmul(number, row)
                    store_to(builder, number, target, 4)
            return context.get_dummy_value()

        return types.void(tile, rows, types.int64, types.int64, types.int64), codegen

    tile_floats.__doc__ = doc
    return tile_floats


tile_store_floats = _make_tile_floats(
    False,
    "Write a tile of int32 as float32: row p, times the float at ``steps + p * step_bytes`` and vectors at `scales`.",
)
tile_add_floats = _make_tile_floats(True, "Like `tile_store_floats`, added to what is there.")
