"""Parts of kernels are compiled once, into the kernel, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")
from fastconv.kernels.cpu.runtime.launch import device, kernel, launch


@device
def _times(x, factor):
    return x * factor


@kernel
def scaled_by_both(begin, end, x, factor, out):
    for i in range(begin, end):
        out[i] = _times(x[i], factor) + _times(x[i], 3)


@pytest.fixture(scope="module")
def scaled() -> np.ndarray:
    scaled_by_both._cache.disable()  # compiled here, whatever an earlier run left
    x, out = np.arange(8.0), np.empty(8)
    launch(scaled_by_both, 8, x, 2, out)
    return out


def test_parts_compute_inside_of_their_kernel(scaled: np.ndarray) -> None:
    np.testing.assert_array_equal(scaled, 5 * np.arange(8.0))


def test_a_number_in_the_code_is_no_type_of_its_own(scaled: np.ndarray) -> None:
    assert len(_times.overloads) == 1


def test_parts_have_no_machine_code(scaled: np.ndarray) -> None:
    (result,) = _times.overloads.values()
    with pytest.raises(TypeError, match="_times is a part of kernels"):
        result.entry_point(1.0, 2)
    with pytest.raises(TypeError, match="_times is a part of kernels"):
        _times(1.0, 2)
