"""Whether all elements of an array are finite, now or, where launches are being recorded, whenever they run.

x is flat, (elements,), sums (chunks, lanes): a vector for each chunk of elements.
"""

import numpy as np

from ..runtime.launch import immediately, is_recording, kernel, launch, launch_condition, line_bytes
from ..vector.memory import TASK_ELEMENTS
from ..vector.simd import address, itemsize, lanes, vfma, vload_part, vsplat, vstore
from .maps import fill


@kernel
def times_zero(begin, end, x, sums):
    """For each chunk the sum of ``0 * x``: NaN if an element is not finite, else zero."""
    dt = x.dtype
    size = itemsize(dt)
    width = lanes(dt)
    zero = vsplat(0, dt)
    for task in range(begin, end):
        total = zero
        for i in range(task * TASK_ELEMENTS, min((task + 1) * TASK_ELEMENTS, x.size), width):
            total = vfma(zero, vload_part(address(x) + i * size, min(width, x.size - i), dt), total)
        vstore(address(sums) + task * width * size, total)


@kernel
def refuse_not_finite(begin, end, sums):
    """Raise if there is a number that is not finite."""
    for i in range(sums.size):
        if not np.isfinite(sums[i]):
            raise ValueError("not finite")


def _times_zero(array):
    chunks = -(-array.size // TASK_ELEMENTS)
    sums = line_bytes(chunks * 64).view(array.dtype)
    fill(0, out=sums)
    launch(times_zero, chunks, array, sums)
    return sums


def all_finite(array):
    """Tell whether every element of a contiguous array is finite; what is being recorded holds only as long as so."""
    if array.size <= TASK_ELEMENTS:
        finite = bool(np.isfinite(array).all())
    else:
        with immediately():
            finite = not np.isnan(_times_zero(array)).any()
    if finite:
        expect_finite(array)
    return finite


def expect_finite(array):
    """Where launches are being recorded: let the program go on only if every element is finite then."""
    if is_recording():
        launch_condition(refuse_not_finite, array.reshape(-1) if array.size <= TASK_ELEMENTS else _times_zero(array))
