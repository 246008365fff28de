"""Activations stored as bfloat16: loaded to and stored from vectors of float32.

"fast" precision keeps activations, and gradients of convolutions' results, in arrays of uint16: a pass that is bound by
memory moves half as much of them, and until the backward pass they take half the memory. The kernels are those of
float32; where they load or store such an array, its type `stored` tells the size of an element, or a flag in those
that compute in bfloat16. Each value is rounded once, to nearest even, when it is stored; loading is exact.

Rounding needs AVX-512 BF16 (bf16.py), as "fast" itself does.
"""

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.core.errors import TypingError

from ..runtime.emitted import I32, I64, emitted
from ..runtime.launch import device, kernel, launch
from .bf16 import rounded_half
from .emit import lane_mask, load_from, load_masked, store_masked, store_to, stream_to
from .memory import TASK_ELEMENTS
from .simd import VectorType, address, dtype_of, itemsize, lanes, llvm_vector

STORED = np.dtype(np.uint16)


def is_bf16(stored, dtype):
    """Tell whether vectors of `dtype` lie in memory as bfloat16; else they lie there as they are."""
    memory, register = dtype_of(stored), dtype_of(dtype)
    if memory == register:
        return False
    if (memory, register) != (types.uint16, types.float32):
        raise TypingError(f"stored: got {memory} for {register}; allowed: {register}, or uint16 for float32")
    return True


def _words(vector):
    return ir.VectorType(ir.IntType(16), vector.lanes)


def _widen(builder, words, vector):
    """Emit the float32 whose upper halves `words` are."""
    wide = ir.VectorType(I32, vector.lanes)
    upper = builder.shl(builder.zext(words, wide), ir.Constant(wide, [16] * vector.lanes))
    return builder.bitcast(upper, llvm_vector(vector))


def load_part_from(builder, place, count, vector, bf16):
    """Emit the load of the first `count` elements of a vector; the others are zero."""
    memory, size = (_words(vector), 2) if bf16 else (llvm_vector(vector), vector.itemsize)
    value = load_masked(builder, place, memory, size, lane_mask(builder, vector.lanes, count))
    return _widen(builder, value, vector) if bf16 else value


@emitted
def stored_bytes(nbytes, stored, dtype):
    """Return the bytes in memory of what takes `nbytes` as elements of `dtype`."""
    bf16 = is_bf16(stored, dtype)

    def emit(builder, nbytes, *_):
        return builder.ashr(nbytes, ir.Constant(I64, 1)) if bf16 else nbytes

    return types.int64(types.int64, stored, dtype), emit


@emitted
def vload_stored(place, stored, dtype):
    """Load a whole vector."""
    vector, bf16 = VectorType(dtype_of(dtype)), is_bf16(stored, dtype)

    def emit(builder, place, *_):
        if bf16:
            return _widen(builder, load_from(builder, place, _words(vector), 2), vector)
        return load_from(builder, place, llvm_vector(vector), vector.itemsize)

    return vector(types.int64, stored, dtype), emit


@emitted
def vload_part_stored(place, count, stored, dtype):
    """Load the first `count` elements; the other lanes are zero and their memory is not touched."""
    vector, bf16 = VectorType(dtype_of(dtype)), is_bf16(stored, dtype)

    def emit(builder, place, count, *_):
        return load_part_from(builder, place, count, vector, bf16)

    return vector(types.int64, types.int64, stored, dtype), emit


def _rounded(builder, value, bf16):
    """Emit a vector as it lies in memory, and the bytes of an element there."""
    if bf16:
        return rounded_half(builder, value), 2
    return value, 4 if isinstance(value.type.element, ir.FloatType) else 8


def _make_store(past_caches, doc):
    @emitted(doc=doc)
    def store(place, vector, stored):
        bf16 = is_bf16(stored, types.DType(vector.dtype))

        def emit(builder, place, value, _):
            words, size = _rounded(builder, value, bf16)
            if past_caches:
                stream_to(builder, words, place, size * vector.lanes)
            else:
                store_to(builder, words, place, size)

        return types.void(types.int64, vector, stored), emit

    return store


_store_whole = _make_store(False, "Store a vector.")
_store_stream = _make_store(True, "Store a vector past the caches, at a multiple of the bytes that it takes there.")


@emitted
def _store_part(place, vector, count, stored):
    bf16 = is_bf16(stored, types.DType(vector.dtype))

    def emit(builder, place, value, count, _):
        words, size = _rounded(builder, value, bf16)
        store_masked(builder, words, place, size, lane_mask(builder, vector.lanes, count))

    return types.void(types.int64, vector, types.int64, stored), emit


@device
def load_stored(place, count, stored, dt):
    """Load `count` elements."""
    if count == lanes(dt):
        return vload_stored(place, stored, dt)
    return vload_part_stored(place, count, stored, dt)


@device
def put_stored(place, value, count, stream, stored, dt):
    """Store the first `count` elements; a whole vector past the caches if `stream`."""
    if stream:
        _store_stream(place, value, stored)
    elif count == lanes(dt):
        _store_whole(place, value, stored)
    else:
        _store_part(place, value, count, stored)


@device
def load_either(place, count, bf16, dt):
    """Load `count` elements, bfloat16 if `bf16`: told at run time, for a kernel that is too large to compile twice."""
    if bf16:
        return load_stored(place, count, STORED, dt)
    return load_stored(place, count, dt, dt)


@device
def put_either(place, value, count, stream, bf16, dt):
    """Store the first `count` elements, as bfloat16 if `bf16`; else a whole vector past the caches if `stream`."""
    if bf16:
        put_stored(place, value, count, False, STORED, dt)
    else:
        put_stored(place, value, count, stream, dt, dt)


def bytes_of(x):
    """Return the bytes of an array for a kernel that is told at run time of what type they are."""
    return x.reshape(-1).view(np.uint8)


_FLOAT = np.empty(0, np.float32)  # for its type


@kernel
def convert_stored(begin, end, x, out, register):
    """Flat arrays, a chunk of elements a task."""
    dt = register.dtype
    width = lanes(dt)
    stop = min(end * TASK_ELEMENTS, x.size)
    for i in range(begin * TASK_ELEMENTS, stop, width):
        count = min(width, stop - i)
        value = load_stored(address(x) + i * itemsize(x.dtype), count, x.dtype, dt)
        put_stored(address(out) + i * itemsize(out.dtype), value, count, False, out.dtype, dt)


def convert(x, out):
    """Write `x` to `out`, one of them float32 and the other of the type `STORED`."""
    launch(convert_stored, -(-x.size // TASK_ELEMENTS), x.reshape(-1), out.reshape(-1), _FLOAT)


def widened(x, workspace):
    """Return `x`, or a copy in float32 of what is of the type `STORED`, for a kernel that cannot read that."""
    if x.dtype != STORED:
        return x
    wide = workspace.empty(x.shape, np.float32)
    convert(x, wide)
    return wide
