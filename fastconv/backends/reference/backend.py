"""The reference: every operation of the contract in plain NumPy, written to be read and compared with.

It shares no code with the kernels. `fastconv.backends.contract` documents each operation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastconv.backends.contract.converting import computable
from fastconv.backends.contract.types import Array
from fastconv.backends.memory import Pool, idle_limit
from fastconv.backends.reference.conv import NumpyConv
from fastconv.backends.reference.elementwise import NumpyElementwise
from fastconv.backends.reference.losses import NumpyLosses
from fastconv.backends.reference.norm import NumpyNorm
from fastconv.backends.reference.pointwise import NumpyPointwise
from fastconv.backends.reference.pool import NumpyPool
from fastconv.backends.reference.training import NumpyTraining
from fastconv.backends.reference.transforms import NumpyTransforms
from fastconv.backends.reference.update import NumpyUpdate


class NumpyBackend(
    NumpyConv,
    NumpyPool,
    NumpyNorm,
    NumpyPointwise,
    NumpyElementwise,
    NumpyLosses,
    NumpyTraining,
    NumpyTransforms,
    NumpyUpdate,
):
    """The NumPy reference."""

    name = "numpy"
    on_host = True

    def __init__(self) -> None:
        self.pool = Pool(idle_limit())

    def owns(self, array: Any) -> bool:
        return isinstance(array, np.ndarray)

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        return computable(array, dtype)

    def to_numpy(self, array: Array) -> np.ndarray:
        result: np.ndarray = array
        return result
