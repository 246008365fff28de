"""bfloat16 instructions imitated, so that "fast" precision can be computed, slowly, on any CPU with AVX-512.

AVX512_BF16 is asked for by three intrinsics of LLVM; here functions that do the same stand in their place: rounding to
nearest even, subnormals as zero, NaN kept; the dot product adds the upper product of a pair first, each by one fused
multiply-add, where the instruction rounds a little differently. What is compiled so goes to a cache of its own.
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

_NAME = "llvm.x86.avx512bf16."


def imitate() -> None:
    """Let Numba compile as for a CPU with AVX512_BF16; before the first kernel is imported."""
    import numba
    from llvmlite import binding as llvm
    from numba.core import cgutils

    own = os.environ.get("FASTCONV_CACHE_DIR")
    os.environ["FASTCONV_CACHE_DIR"] = str(Path(own) / "imitated") if own else tempfile.mkdtemp(prefix="imitated-")
    Path(os.environ["FASTCONV_CACHE_DIR"]).mkdir(mode=0o700, parents=True, exist_ok=True)
    numba.config.CPU_FEATURES = f"{llvm.get_host_cpu_features().flatten()},+avx512bf16"
    declare = cgutils.get_or_insert_function

    def get_or_insert_function(module: Any, function_type: Any, name: str) -> Any:
        if not name.startswith(_NAME):
            return declare(module, function_type, name)
        return _defined(module, function_type, name)

    cgutils.get_or_insert_function = get_or_insert_function


def _defined(module: Any, function_type: Any, name: str) -> Any:
    """Return a function of the module that does what the instruction does."""
    from llvmlite import ir

    own = "imitated_" + name.removeprefix(_NAME).replace(".", "_")
    if own in module.globals:
        return module.globals[own]
    function = ir.Function(module, function_type, own)
    function.linkage = "internal"
    function.attributes.add("alwaysinline")
    builder = ir.IRBuilder(function.append_basic_block())
    bodies: dict[str, Callable[..., Any]] = {
        "cvtneps2bf16.512": lambda b, x: _rounded(b, x),
        "cvtne2ps2bf16.512": lambda b, high, low: _joined(b, _rounded(b, low), _rounded(b, high)),
        "dpbf16ps.512": _dot,
    }
    value = bodies[name.removeprefix(_NAME)](builder, *function.args)
    builder.ret(builder.bitcast(value, function_type.return_type))
    return function


def _lanes(value: int, bits: int = 32) -> Any:
    from llvmlite import ir

    return ir.Constant(ir.VectorType(ir.IntType(bits), 16), [value] * 16)


def _rounded(builder: Any, value: Any) -> Any:
    """Emit the upper halves of 16 float32, rounded to nearest even, as 16-bit words."""
    from llvmlite import ir

    bits = builder.bitcast(value, _lanes(0).type)
    odd = builder.and_(builder.lshr(bits, _lanes(16)), _lanes(1))
    nearest = builder.add(builder.add(bits, odd), _lanes(0x7FFF))
    magnitude = builder.and_(bits, _lanes(0x7FFFFFFF))
    is_nan = builder.icmp_unsigned(">", magnitude, _lanes(0x7F800000))
    is_tiny = builder.icmp_unsigned("<", magnitude, _lanes(0x00800000))
    found = builder.select(is_nan, builder.or_(bits, _lanes(0x00400000)), nearest)
    found = builder.select(is_tiny, builder.and_(bits, _lanes(0x80000000)), found)
    return builder.trunc(builder.lshr(found, _lanes(16)), ir.VectorType(ir.IntType(16), 16))


def _joined(builder: Any, low: Any, high: Any) -> Any:
    from llvmlite import ir

    order = ir.Constant(ir.VectorType(ir.IntType(32), 32), list(range(32)))
    return builder.shuffle_vector(low, high, order)


def _dot(builder: Any, total: Any, left: Any, right: Any) -> Any:
    """Emit ``total + left . right`` of pairs."""
    from llvmlite import ir

    floats = ir.VectorType(ir.FloatType(), 16)
    pairs = [builder.bitcast(value, _lanes(0).type) for value in (left, right)]
    upper = [builder.bitcast(builder.and_(pair, _lanes(0xFFFF0000)), floats) for pair in pairs]
    lower = [builder.bitcast(builder.shl(pair, _lanes(16)), floats) for pair in pairs]
    name, function_type = "llvm.fma.v16f32", ir.FunctionType(floats, [floats] * 3)
    fma = builder.module.globals.get(name) or ir.Function(builder.module, function_type, name)
    return builder.call(fma, [*lower, builder.call(fma, [*upper, total])])
