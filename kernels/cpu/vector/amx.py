"""The tile registers of Intel's Advanced Matrix Extensions: products of bfloat16 matrices, added in float32.

A tile register holds 16 rows of 64 bytes. ``tdpbf16ps`` adds to 16 x 16 float32 the product of 16 x 32 bfloat16 with
32 x 16 of them stored as 16 rows of pairs (Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2,
TDPBF16PS). Registers are named by constants 0 to 7. A thread configures them before use and releases them after it,
so that nothing of them is left to save when the thread is switched.
"""

import ctypes
import functools
import platform

import numba
import numpy as np
from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import types

from ..runtime.emitted import call, emitted
from .bf16 import DOT

_I8 = ir.IntType(8)
_BYTES = _I8.as_pointer()
_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA = 158, 0x1023, 18  # of Linux on x86-64

TILE_ROWS = 16
TILE_ROW_BYTES = 64


def _configuration():
    """Palette 1, all eight registers whole."""
    words = np.zeros(64, np.uint8)
    words[0] = 1
    words[16:32].view(np.uint16)[:] = TILE_ROW_BYTES
    words[48:56] = TILE_ROWS
    return words


CONFIGURATION = _configuration()


@functools.cache
def usable():
    """Tell whether code is compiled for a CPU with these instructions and the kernel lets this process use them."""
    wanted = ("amx-tile", "amx-bf16")
    name, features = numba.config.CPU_NAME, numba.config.CPU_FEATURES
    if not DOT or platform.system() != "Linux" or (name and name != llvm.get_host_cpu_name()):
        return False
    if features is not None:
        found = {feature[1:] for feature in features.split(",") if feature.startswith("+")}
    else:
        found = {feature for feature, on in llvm.get_host_cpu_features().items() if on}
    if not found.issuperset(wanted):
        return False
    system = ctypes.CDLL(None)
    return system.syscall(_SYS_ARCH_PRCTL, _ARCH_REQ_XCOMP_PERM, _XFEATURE_XTILEDATA) == 0


def _call(builder, name, *arguments):
    call(builder, f"llvm.x86.{name}", ir.VoidType(), arguments)


def _register(number):
    return ir.Constant(_I8, number.literal_value)


@emitted
def amx_configure(place):
    """Configure this thread's registers by the 64 bytes at `place`."""
    return types.void(types.int64), lambda builder, at: _call(builder, "ldtilecfg", builder.inttoptr(at, _BYTES))


@emitted
def amx_release():
    """Give this thread's registers back."""
    return types.void(), lambda builder: _call(builder, "tilerelease")


@emitted(constants=True)
def amx_zero(register):
    """Clear a register."""
    return types.void(register), lambda builder, _: _call(builder, "tilezero", _register(register))


def _transfer(name, doc):
    @emitted(constants=True, doc=doc)
    def transfer(register, place, step):
        def emit(builder, _, place, step):
            _call(builder, name, _register(register), builder.inttoptr(place, _BYTES), step)

        return types.void(register, types.int64, types.int64), emit

    return transfer


amx_load = _transfer("tileloadd64", "Load a register: row i from the address ``place + i * step``.")
amx_store = _transfer("tilestored64", "Store a register: row i to the address ``place + i * step``.")


@emitted(constants=True)
def amx_multiply_add(total, a, b):
    """Add the product of the registers `a` (rows of bfloat16) and `b` (rows of pairs) to `total` (float32)."""
    registers = total, a, b
    return types.void(*registers), lambda builder, *_: _call(builder, "tdpbf16ps", *map(_register, registers))
