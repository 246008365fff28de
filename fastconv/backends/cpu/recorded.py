"""Arrays whose values are not there: what layers of somebody's own get while a step or a plan is captured.

Nothing is computed then but what Python and NumPy do themselves, and that no replay repeats. Views and shapes are free;
whatever would read or write values ends the capture, and each step is computed as it is written.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fastconv.kernels.cpu.runtime.launch import refuse_recording

_WITHOUT_VALUES = frozenset(
    getattr(np, name)
    for name in (
        *("empty_like", "zeros_like", "ones_like", "full_like", "may_share_memory", "shares_memory"),
        *("shape", "ndim", "size", "reshape", "ravel", "transpose", "moveaxis", "swapaxes", "squeeze", "expand_dims"),
        *("flip", "split", "array_split", "atleast_1d", "atleast_2d", "broadcast_to", "result_type", "can_cast"),
    )
)


class Recorded(np.ndarray):
    """A view of memory that kernels will have written when a replay comes to this place."""

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **more: Any) -> NoReturn:
        _refuse()

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        if function not in _WITHOUT_VALUES:
            _refuse()
        return super().__array_function__(function, types, args, kwargs)


def _refuse(*args: Any, **kwargs: Any) -> NoReturn:
    refuse_recording("what NumPy computes")
    raise RuntimeError("an array of a capture was kept: what it held is not there")


_READING = """
__setitem__ __float__ __int__ __bool__ __index__ __complex__ __copy__ __deepcopy__
all any argmax argmin argpartition argsort astype byteswap choose clip compress copy cumprod cumsum dot fill item max
mean min nonzero partition prod put repeat round searchsorted sort std sum take tobytes tofile tolist trace var
"""
for _name in _READING.split():
    setattr(Recorded, _name, _refuse)
