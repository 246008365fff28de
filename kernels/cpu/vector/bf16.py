"""bfloat16 in vector registers: rounding float32 to it, and the dot product of pairs (AVX-512 BF16).

A bfloat16 is the upper half of a float32. `DOT` tells whether the code compiled here may use the instructions, which
round to nearest even, read subnormals as zero and keep NaN. ``vdpbf16ps`` adds the two products of each 32-bit lane to
a float32 (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2).
"""

import numba
from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.errors import TypingError
from numba.extending import intrinsic

from .simd import VECTOR_BYTES, VectorType, call_masked, load_from, offset, pointer, splat, store_to

_I16 = ir.IntType(16)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_LANES = 16
PAIR_BYTES = 4  # two bfloat16
BLOCK_BYTES = 1024  # of packed weights: 16 pairs of input elements by 16 output channels


class _BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite does not name."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, _BFloat)

    def __hash__(self):
        return hash(_BFloat)


_FLOATS = ir.VectorType(ir.FloatType(), _LANES)
_WORDS = ir.VectorType(_I16, 2 * _LANES)
_BFLOATS = ir.VectorType(_BFloat(), 2 * _LANES)


def compiled_for(feature, names):
    """Tell whether code is compiled for a CPU with that feature of LLVM's and vectors of 64 bytes.

    `names` are parts of the names of such CPUs, for when NUMBA_CPU_NAME gives one.
    """
    name, features = numba.config.CPU_NAME, numba.config.CPU_FEATURES
    if VECTOR_BYTES != 64:
        return False
    if features is not None:
        return f"+{feature}" in features.split(",")
    if name and name != llvm.get_host_cpu_name():
        return any(word in name for word in names)
    return bool(llvm.get_host_cpu_features().get(feature))


DOT = compiled_for("avx512bf16", ("cooperlake", "sapphirerapids", "graniterapids", "znver4", "znver5"))


def _rounded(builder, low, high):
    """Emit the bfloat16 of two vectors of float32, those of `low` first."""
    function_type = ir.FunctionType(_BFLOATS, [_FLOATS, _FLOATS])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.x86.avx512bf16.cvtne2ps2bf16.512")
    return builder.bitcast(builder.call(function, [high, low]), _WORDS)


def rounded_half(builder, value):
    """Emit the bfloat16 of one vector of float32, as 16-bit words."""
    function_type = ir.FunctionType(ir.VectorType(_BFloat(), _LANES), [_FLOATS])
    function = cgutils.get_or_insert_function(builder.module, function_type, "llvm.x86.avx512bf16.cvtneps2bf16.512")
    return builder.bitcast(builder.call(function, [value]), ir.VectorType(_I16, _LANES))


def _floats(*values):
    if not all(isinstance(value, VectorType) and value.dtype == types.float32 for value in values):
        raise TypingError("wants vectors of float32")


@intrinsic
def store_bf16(typingctx, place, low, high):
    """Round two vectors of float32 and store them one behind the other."""
    _floats(low, high)

    def codegen(context, builder, sig, args):
        store_to(builder, _rounded(builder, args[1], args[2]), args[0], 2)
        return context.get_dummy_value()

    return types.void(types.int64, low, high), codegen


@intrinsic
def store_bf16_half(typingctx, place, value):
    """Round one vector of float32 and store it."""
    _floats(value)

    def codegen(context, builder, sig, args):
        store_to(builder, rounded_half(builder, args[1]), args[0], 2)
        return context.get_dummy_value()

    return types.void(types.int64, value), codegen


@intrinsic
def store_bf16_part(typingctx, place, low, high, count):
    """Like `store_bf16`, the first `count` of the 32 numbers."""
    _floats(low, high)

    def codegen(context, builder, sig, args):
        numbers = ir.Constant(ir.VectorType(_I16, 2 * _LANES), list(range(2 * _LANES)))
        mask = builder.icmp_signed("<", numbers, splat(builder, builder.trunc(args[3], _I16), 2 * _LANES))
        value = _rounded(builder, args[1], args[2])
        arguments = [value, pointer(builder, args[0], _WORDS), ir.Constant(_I32, 2), mask]
        call_masked(builder, "store", _WORDS, ir.VoidType(), arguments)
        return context.get_dummy_value()

    return types.void(types.int64, low, high, types.int64), codegen


@intrinsic
def store_bf16_pairs(typingctx, place, first, second):
    """Round two vectors of float32 and store them as pairs: first[0], second[0], first[1], second[1], ..."""
    _floats(first, second)

    def codegen(context, builder, sig, args):
        value = _rounded(builder, args[1], args[2])
        order = [lane for i in range(_LANES) for lane in (i, _LANES + i)]
        index = ir.Constant(ir.VectorType(_I32, 2 * _LANES), order)
        value = builder.shuffle_vector(value, ir.Constant(_WORDS, ir.Undefined), index)
        store_to(builder, value, args[0], 2)
        return context.get_dummy_value()

    return types.void(types.int64, first, second), codegen


@intrinsic
def square_store_bf16(typingctx, low, high, place, step):
    """Round two square tiles; row i of both goes, one behind the other, to ``place + i * step``."""

    def codegen(context, builder, sig, args):
        for i in range(low.rows):
            rows = [builder.extract_value(tile, i) for tile in args[:2]]
            where = builder.add(args[2], builder.mul(args[3], ir.Constant(_I64, i)))
            store_to(builder, _rounded(builder, *rows), where, 2)
        return context.get_dummy_value()

    return types.void(low, high, types.int64, types.int64), codegen


@intrinsic
def square_pairs(typingctx, low, high):
    """Round two square tiles; lane j of row i of the result holds elements 2 j and 2 j + 1 of that row of both."""

    def codegen(context, builder, sig, args):
        value = args[0]
        for i in range(low.rows):
            rows = [builder.extract_value(tile, i) for tile in args]
            value = builder.insert_value(value, builder.bitcast(_rounded(builder, *rows), _FLOATS), i)
        return value

    return low(low, high), codegen


@intrinsic
def tile_dot(typingctx, tile, rows, shift, pairs):
    """Return ``tile[p][v] + pair at (rows[p] + shift) . pairs v``: two steps of a matrix product.

    Vector v of the pairs lies ``v * BLOCK_BYTES`` behind the first.
    """
    function_type = ir.FunctionType(_FLOATS, [_FLOATS, _BFLOATS, _BFLOATS])

    def codegen(context, builder, sig, args):
        value, places, shift_value, pairs_value = args
        name = "llvm.x86.avx512bf16.dpbf16ps.512"
        function = cgutils.get_or_insert_function(builder.module, function_type, name)
        columns = [
            load_from(builder, offset(builder, pairs_value, v * BLOCK_BYTES), _BFLOATS, 2) for v in range(tile.vectors)
        ]
        for p in range(tile.rows):
            place = builder.add(builder.extract_value(places, p), shift_value)
            pair = splat(builder, load_from(builder, place, _I32, 2), _LANES)
            pair = builder.bitcast(pair, _BFLOATS)
            for v in range(tile.vectors):
                i = p * tile.vectors + v
                total = builder.call(function, [builder.extract_value(value, i), pair, columns[v]])
                value = builder.insert_value(value, total, i)
        return value

    return tile(tile, rows, types.int64, types.int64), codegen
