"""What a launch of a CUDA kernel does, read from the launch alone: bytes, turns of main loops, multiply-adds."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastconv.backends.cuda.launches import Launch
from fastconv.kernels.cuda.runtime import build
from fastconv.kernels.cuda.runtime.device import Kernel

TENSOR_KERNELS = ("conv2d_gather", "conv2d_halo", "conv2d_weight")
# Arguments that only results that are not finite are computed from.
_SPARE = {"conv2d_gather": (2,), "conv2d_halo": (2,), "sum_splits": (1, 2)}
_UPDATES = ("optimizer.cu",)  # what these write they read before


@dataclass(frozen=True)
class Operand:
    """An array that a launch reads or writes: its address stands for it.

    Attributes
    ----------
    activation : whether it is a map of the batch in float32, or its gradient
    """

    key: int
    nbytes: int
    activation: bool = False


@functools.cache
def _written(kernel: Kernel) -> tuple[bool, ...]:
    """Return of each parameter of a kernel whether it is a pointer to what is not constant."""
    by_macro = rf"function##_{kernel.name.rpartition('_')[2]}"  # of pointwise.cu: a name, joined to each function's
    pattern = rf"__global__[^;{{]*?(?:\b{kernel.name}|{by_macro})\s*\(([^)]*)\)\s*\{{"
    found = re.search(pattern, build.source_text(kernel))
    assert found, f"{kernel.source} has no kernel {kernel.name}"
    return tuple("*" in word and "const" not in word for word in found[1].split(","))


def operands(launch: Launch, batch: int = 0) -> tuple[tuple[Operand, ...], tuple[Operand, ...]]:
    """Return the arrays that a launch reads, and those that it writes; `batch` tells which are activations."""
    kernel = launch.kernel
    written, spare = _written(replace(kernel, defines=())), _SPARE.get(kernel.name, ())
    reads: dict[int, Operand] = {}
    writes: dict[int, Operand] = {}
    for index, array in enumerate(launch.args):
        if not isinstance(array, np.ndarray) or index in spare:
            continue
        mine = array.dtype == np.float32 and array.ndim in (2, 4) and array.shape[0] == batch
        key = array.__array_interface__["data"][0]
        operand = Operand(key, array.nbytes, mine)
        (writes if written[index] else reads)[key] = operand
        if written[index] and kernel.source in _UPDATES:
            reads[key] = operand
    return tuple(reads.values()), tuple(writes.values())


def array_bytes(launch: Launch) -> int:
    """Return the bytes that a launch moves: each array once, and twice where it is read and written."""
    return sum(operand.nbytes for part in operands(launch) for operand in part)


def _numbers(launch: Launch) -> list[int]:
    """Return the sizes that a convolution gets: batch, height, width, out_height, out_width, ..."""
    return [int(a) for a in launch.args if isinstance(a, np.int32)][1:]  # behind a function or steps


def turns(launch: Launch) -> int:
    """Return how many turns the main loops of all blocks take."""
    macros: dict[str, Any] = dict(launch.kernel.defines)
    blocks = math.prod(launch.grid)
    taps = macros["KERNEL_H"] * macros["KERNEL_W"]
    if launch.kernel.name == "conv2d_weight":
        steps = next(int(a) for a in launch.args if isinstance(a, np.int32))
        return blocks * steps
    depth = macros["ROW_BYTES"] // element_bytes(launch)
    if macros.get("FLAT"):
        return blocks * -(-taps * macros["CHANNELS"] // depth)
    phases = macros["STRIDE_H"] * macros["STRIDE_W"] if macros["BACKWARD"] and "STRIDE_H" in macros else 1
    return blocks * taps * -(-macros["CHANNELS"] // depth) // phases  # each tap belongs to one phase


def multiply_adds(launch: Launch) -> int:
    """Return the multiply-adds that the tensor cores do for a launch, those of padding included."""
    macros: dict[str, Any] = dict(launch.kernel.defines)
    if launch.kernel.name == "conv2d_weight":
        a_turn = macros["PIXELS"] * macros["TILE_M"] * macros["TILE_N"] * macros["ROW_TAPS"]
    else:
        pixels = macros.get("TILE_M") or macros["TILE_IMAGES"] * macros["TILE_H"] * macros["TILE_W"]
        a_turn = pixels * macros["TILE_N"] * macros["ROW_BYTES"] // element_bytes(launch)
    return turns(launch) * int(a_turn)


def needed(launch: Launch) -> tuple[int, int]:
    """Return the multiply-adds of the convolution that a launch computes, and the elements of its three arrays."""
    macros: dict[str, Any] = dict(launch.kernel.defines)
    batch, height, width, out_height, out_width = _numbers(launch)[:5]
    read, written = batch * height * width, batch * out_height * out_width
    weight = macros["KERNEL_H"] * macros["KERNEL_W"] * macros["CHANNELS"] * macros["COLUMNS"]
    pixels = read if macros.get("BACKWARD") else written
    channels, columns = macros["GROUPS"] * macros["CHANNELS"], macros["GROUPS"] * macros["COLUMNS"]
    return pixels * weight * macros["GROUPS"], read * channels + written * columns + weight * macros["GROUPS"]


def element_bytes(launch: Launch) -> int:
    """Return the bytes of an element that the tensor cores multiply."""
    return 4 if dict(launch.kernel.defines)["MATH"] == "TF32" else 2


def warps(launch: Launch) -> int:
    """Return the warps of all blocks."""
    return math.prod(launch.grid) * -(-math.prod(launch.block) // 32)
