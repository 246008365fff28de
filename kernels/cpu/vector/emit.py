"""The LLVM code of which the functions of this wing are made: what simd.py, tile.py and their like emit.

Addresses are integers; `align` and `size` are bytes. A tile is an array of its registers, row by row.
"""

from llvmlite import ir

from ..runtime.emitted import I32, I64, call


def pointer(builder, address, llvm_type):
    """Emit the conversion of an address to a pointer."""
    return builder.inttoptr(address, llvm_type.as_pointer())


def offset(builder, address, count):
    """Emit an address plus a constant."""
    return builder.add(address, ir.Constant(I64, count)) if count else address


def step_to(builder, address, step, count):
    """Emit an address plus a constant times a step."""
    return builder.add(address, builder.mul(step, ir.Constant(I64, count)))


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
    store.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(I32, 1)]))


def splat(builder, value, lanes):
    """Emit a vector with `value` in every lane."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def shuffle(builder, a, b, order):
    """Emit the vector of the lanes `order` of two vectors, those of `b` counted on from those of `a`."""
    return builder.shuffle_vector(a, b, ir.Constant(ir.VectorType(I32, len(order)), list(order)))


def suffix(vector):
    """Return how LLVM's functions for a type of vectors end."""
    kind = {"float": "f32", "double": "f64"}.get(str(vector.element), str(vector.element))
    return f"v{vector.count}{kind}"


def fused_multiply_add(builder, a, b, c):
    """Emit ``a * b + c``, rounded once."""
    return call(builder, f"llvm.fma.{suffix(a.type)}", a.type, [a, b, c])


def lane_mask(builder, lanes, count):
    """Emit the mask of the first `count` of `lanes` lanes."""
    numbers = ir.Constant(ir.VectorType(count.type, lanes), list(range(lanes)))
    return builder.icmp_signed("<", numbers, splat(builder, count, lanes))


def load_masked(builder, address, register, align, mask):
    """Emit the load of the lanes of a vector that `mask` has; the others are zero, and their memory is not touched."""
    arguments = [pointer(builder, address, register), ir.Constant(I32, align), mask, ir.Constant(register, None)]
    return call(builder, f"llvm.masked.load.{suffix(register)}.p0", register, arguments)


def store_masked(builder, value, address, align, mask):
    """Emit the store of the lanes of a vector that `mask` has."""
    arguments = [value, pointer(builder, address, value.type), ir.Constant(I32, align), mask]
    call(builder, f"llvm.masked.store.{suffix(value.type)}.p0", ir.VoidType(), arguments)


def map_registers(builder, tile, value, function):
    """Emit a tile with ``function(register, p, v)`` in place of the register v of each row p."""
    for p in range(tile.rows):
        for v in range(tile.vectors):
            i = p * tile.vectors + v
            value = builder.insert_value(value, function(builder.extract_value(value, i), p, v), i)
    return value


def each_register(builder, tile, value, function):
    """Emit what ``function(register, p, v)`` does for the register v of each row p, one after the other."""
    for p in range(tile.rows):
        for v in range(tile.vectors):
            function(builder.extract_value(value, p * tile.vectors + v), p, v)


def add_products(builder, tile, value, left, columns, add):
    """Emit a tile to whose registers ``add(register, left(p), columns[v])`` has added a product."""
    for p in range(tile.rows):
        row = left(p)
        for v in range(tile.vectors):
            i = p * tile.vectors + v
            value = builder.insert_value(value, add(builder.extract_value(value, i), row, columns[v]), i)
    return value
