"""bfloat16 in vector registers: rounding float32 to it, and the dot product of pairs (AVX-512 BF16).

A bfloat16 is the upper half of a float32. `DOT` tells whether the code compiled here may use the instructions, which
round to nearest even, read subnormals as zero and keep NaN. ``vdpbf16ps`` adds the two products of each 32-bit lane to
a float32 (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2).
"""

import numba
from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import types
from numba.core.errors import TypingError

from ..runtime.emitted import I32, call, emitted
from .emit import (
    add_products,
    each_register,
    lane_mask,
    load_from,
    map_registers,
    offset,
    shuffle,
    splat,
    step_to,
    store_masked,
    store_to,
)
from .simd import VECTOR_BYTES, VectorType

_I16 = ir.IntType(16)
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
    found = call(builder, "llvm.x86.avx512bf16.cvtne2ps2bf16.512", _BFLOATS, [high, low])
    return builder.bitcast(found, _WORDS)


def rounded_half(builder, value):
    """Emit the bfloat16 of one vector of float32, as 16-bit words."""
    bfloats = ir.VectorType(_BFloat(), _LANES)
    found = call(builder, "llvm.x86.avx512bf16.cvtneps2bf16.512", bfloats, [value])
    return builder.bitcast(found, ir.VectorType(_I16, _LANES))


def _floats(*values):
    if not all(isinstance(value, VectorType) and value.dtype == types.float32 for value in values):
        raise TypingError("wants vectors of float32")


@emitted
def store_bf16(place, low, high):
    """Round two vectors of float32 and store them one after the other."""
    _floats(low, high)

    def emit(builder, place, low, high):
        store_to(builder, _rounded(builder, low, high), place, 2)

    return types.void(types.int64, low, high), emit


@emitted
def store_bf16_half(place, value):
    """Round one vector of float32 and store it."""
    _floats(value)

    def emit(builder, place, value):
        store_to(builder, rounded_half(builder, value), place, 2)

    return types.void(types.int64, value), emit


@emitted
def store_bf16_part(place, low, high, count):
    """Like `store_bf16`, the first `count` of the 32 numbers."""
    _floats(low, high)

    def emit(builder, place, low, high, count):
        mask = lane_mask(builder, 2 * _LANES, builder.trunc(count, _I16))
        store_masked(builder, _rounded(builder, low, high), place, 2, mask)

    return types.void(types.int64, low, high, types.int64), emit


@emitted
def store_bf16_pairs(place, first, second):
    """Round two vectors of float32 and store them as pairs: first[0], second[0], first[1], second[1], ..."""
    _floats(first, second)
    order = [lane for i in range(_LANES) for lane in (i, _LANES + i)]

    def emit(builder, place, first, second):
        value = _rounded(builder, first, second)
        store_to(builder, shuffle(builder, value, ir.Constant(_WORDS, ir.Undefined), order), place, 2)

    return types.void(types.int64, first, second), emit


@emitted
def square_store_bf16(tile, high, place, step):
    """Round two square tiles; row i of both goes, one after the other, to ``place + i * step``."""

    def emit(builder, low, high, place, step):
        def store(row, i, _):
            where = step_to(builder, place, step, i)
            store_to(builder, _rounded(builder, row, builder.extract_value(high, i)), where, 2)

        each_register(builder, tile, low, store)

    return types.void(tile, high, types.int64, types.int64), emit


@emitted
def square_pairs(tile, high):
    """Round two square tiles; lane j of row i of the result holds elements 2 j and 2 j + 1 of that row of both."""

    def emit(builder, low, high):
        def pairs(row, i, _):
            return builder.bitcast(_rounded(builder, row, builder.extract_value(high, i)), _FLOATS)

        return map_registers(builder, tile, low, pairs)

    return tile(tile, high), emit


@emitted
def tile_dot(tile, rows, shift, pairs):
    """Return ``tile[p][v] + pair at (rows[p] + shift) . pairs v``: two steps of a matrix product.

    Vector v of the pairs lies ``v * BLOCK_BYTES`` after the first.
    """

    def emit(builder, value, rows, shift, pairs):
        def pair(p):
            place = builder.add(builder.extract_value(rows, p), shift)
            return builder.bitcast(splat(builder, load_from(builder, place, I32, 2), _LANES), _BFLOATS)

        def add(total, left, right):
            return call(builder, "llvm.x86.avx512bf16.dpbf16ps.512", _FLOATS, [total, left, right])

        places = (offset(builder, pairs, v * BLOCK_BYTES) for v in range(tile.vectors))
        return add_products(builder, tile, value, pair, [load_from(builder, at, _BFLOATS, 2) for at in places], add)

    return tile(tile, rows, types.int64, types.int64), emit
