"""What the operations of the contract are called with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from fastconv.kernels.geometry import ConvGeometry, Pair, PoolWindows
from fastconv.kernels.prepared import PreparedWeight

__all__ = [
    "AlgorithmChoice",
    "Array",
    "ConvGeometry",
    "DType",
    "Direction",
    "Pair",
    "PoolWindows",
    "PrecisionChoice",
    "PreparedWeight",
    "RandomKey",
    "Shape",
    "Workspace",
]

Array = Any
"""An array of the backend: `numpy.ndarray` on the CPU, `cupy.ndarray` on the GPU."""
DType = np.dtype[Any]
Shape = tuple[int, ...]
Direction = Literal["forward", "backward_input"]
PrecisionChoice = Literal["strict", "default", "fast"]
AlgorithmChoice = Literal["shapes", "tuned", "winograd", "direct"]
"""What `fastconv.set_algorithm` takes; the last two name what is taken wherever it can be computed."""


class Workspace(Protocol):
    """Where an operation takes its scratch memory; an array goes back when its last reference dies."""

    def empty(self, shape: Shape, dtype: Any) -> Array:
        """Return an uninitialised C-contiguous array."""
        ...

    def release(self) -> int:
        """Give what is kept for coming arrays back to the system; return how many bytes."""
        ...


@dataclass(frozen=True)
class RandomKey:
    """Where a random number comes from: Philox4x32-10 (Salmon et al., SC 2011, https://doi.org/10.1145/2063384.2063405).

    The 64-bit `seed` is the key; `stream` and `step` (32 bits each) are the upper two words of the counter, the number
    of the block of four elements is the lower two. So a number depends on its place alone, and is equal on all
    backends. For what is captured `step` is a (1,) int64 array, read when the numbers are drawn.
    """

    seed: int
    stream: int
    step: int | Array
