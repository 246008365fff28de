"""Whether the results of Winograd's transforms can be trusted, or must be computed in another way."""

import numpy as np

from ...elementwise.finite import all_finite, expect_finite
from ...runtime.launch import is_recording
from ...vector.bf16_storage import widened


def in_range(found, workspace, *arrays):
    """Tell whether results are right: finite, if `found` is, or else because one of the factors is not.

    The transforms add numbers that are larger than the result by their factors (kernels/NUMERICS.md), and may overflow
    where the formula does not. What is being recorded breaks off then.
    """
    if is_recording():
        expect_finite(found)
        return True
    if np.isfinite(found).all():
        return True
    return not all(all_finite(widened(array, workspace)) for array in arrays)
