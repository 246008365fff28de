"""The traffic of a tensor-core kernel: the emulator counts it on a few images, and it is scaled to the launch."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.cuda_launches import turns
from fastconv.backends import use_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.cuda.launches import Launch
from fastconv.backends.emulator.settings import Settings, using

SECTOR = 32
_PIXELS = 128  # of a tile: so many at least go through the emulator


@dataclass(frozen=True)
class Traffic:
    """What a launch does to memory.

    Attributes
    ----------
    wavefronts : of shared memory
    read, written : sectors of global memory
    copies : of 16 bytes a lane from global memory, by warps
    conflicts, excess : wavefronts and sectors, as multiples of those needed
    """

    wavefronts: float
    read: float
    written: float
    copies: float
    conflicts: float
    excess: float


_counted: dict[Any, tuple[Launch, Traffic]] = {}


def traffic_of(launch: Launch) -> Traffic:
    """Return the traffic of a launch: what main loops do grows with their turns, what is written with the blocks."""
    with use_backend("cuda-emulator") as backend, using(Settings(checks=True)):
        small = shrunk(backend, launch)
        sizes = tuple(int(a) for a in small.args if isinstance(a, np.int32))
        key = (small.kernel, small.grid, sizes)
        if key not in _counted:
            device: Any = backend.device
            with device.counting() as counters:
                device.submit(small)
            _counted[key] = (
                replace(small, args=tuple(a for a in small.args if isinstance(a, np.int32))),
                _sums(counters),
            )
    small, few = _counted[key]
    loops, blocks = turns(launch) / turns(small), math.prod(launch.grid) / math.prod(small.grid)
    scaled = {name: loops * getattr(few, name) for name in ("wavefronts", "read", "copies")}
    return replace(few, **scaled, written=blocks * few.written)


def _sums(counters: list[Any]) -> Traffic:
    shared = [c for c in counters if c.shared]
    read, written = ([c for c in counters if not c.shared and c.write is kind] for kind in (False, True))
    total, best = (
        [sum(getattr(c, name) for c in part) for part in (shared, read, written)] for name in ("taken", "best")
    )
    copies = sum(c.requests for c in read if c.bytes == 16)
    return Traffic(*total, copies, total[0] / best[0], sum(total[1:]) / sum(best[1:]))


def shrunk(backend: Backend, launch: Launch) -> Launch:
    """Return a launch of the same variant on so few images that they fill a tile, with columns of one tile.

    A 1x1 convolution's gradient of the weight takes all images as one row of pixels: then the row is cut.
    """
    macros: dict[str, Any] = dict(launch.kernel.defines)
    weight = launch.kernel.name == "conv2d_weight"
    numbers = [int(a) for a in launch.args if isinstance(a, np.int32)][1:]  # behind a function or steps
    batch, height, width, out_height, out_width, *before = numbers
    row = weight and batch == height == 1 and width == out_width > _PIXELS
    whole, few = (width, 2 * _PIXELS) if row else (batch, max(1, -(-_PIXELS // (out_height * out_width))))
    if whole < few:
        whole, few = batch, batch
    numbers = [1, 1, few, 1, few, *before] if row else [few, *numbers[1:]]
    out_height, out_width = numbers[3:5]
    images = {0, 1} if weight else {0, *range(4, 8)}

    def smaller(index: int, array: np.ndarray) -> Any:
        parts = array.shape[0] if weight and index == 2 else 1
        size = array.size // whole * few if index in images else array.size // parts
        made = backend.empty((max(size, 1),), array.dtype)
        made[...] = 1
        return made

    arrays = [smaller(i, a) if isinstance(a, np.ndarray) else a for i, a in enumerate(launch.args)]
    steps, grid = [a for a in arrays if isinstance(a, np.int32)][:1], launch.grid
    if weight:
        strips = numbers[0] * out_height * -(-out_width // macros["STRIP"])
        steps, grid = [np.int32(-(-strips * macros["STRIP"] // macros["PIXELS"]))], (1, launch.grid[1], 1)
    elif launch.kernel.name == "conv2d_halo":
        tiles = zip((numbers[0], out_height, out_width), ("TILE_IMAGES", "TILE_H", "TILE_W"), strict=True)
        grid = (math.prod(-(-n // macros[name]) for n, name in tiles), 1, launch.grid[2])
    else:
        stride = (macros["STRIDE_H"], macros["STRIDE_W"]) if macros["BACKWARD"] else (1, 1)
        places = numbers[0] * -(-out_height // stride[0]) * -(-out_width // stride[1])
        grid = (-(-places // macros["TILE_M"]), 1, launch.grid[2])
    kept = [a for a in arrays if not isinstance(a, np.int32)]
    return replace(launch, grid=grid, args=(*kept, *steps, *(np.int32(n) for n in numbers)))
