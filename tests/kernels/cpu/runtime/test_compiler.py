"""Parts of kernels are compiled once, into the kernel, and nowhere else."""

from __future__ import annotations

import resource
import sys

import numpy as np
import pytest

pytest.importorskip("numba")
from fastconv.kernels import update_rules
from fastconv.kernels.cpu.elementwise import optimizer
from fastconv.kernels.cpu.runtime.launch import device, kernel, launch
from fastconv.kernels.cpu.vector.memory import copy_elements
from fastconv.kernels.cpu.vector.simd import address


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


def test_kernels_of_this_package_count_no_references() -> None:
    """An array out of a tuple was counted in the innermost loop of the update rules: half of SGD's speed."""
    rule = update_rules.UPDATE_RULES["sgd"](0.9)
    made = optimizer._make_update("sgd", optimizer._sgd_numbers, optimizer._sgd)
    made._cache.disable()
    flat, pieces = [np.ones(100, np.float32) for _ in range(3)], np.array([[0, 100]])
    lr, step = np.array([0.5]), np.array([1])
    launch(made, 1, flat[0], flat[1], (flat[2],), pieces, lr, step, rule.values)
    np.testing.assert_allclose(flat[0], 0.05, rtol=1e-6)
    (code,) = made.inspect_asm().values()
    assert "prefetchw" in code or "prfm" in code  # the loop is in it
    assert "NRT_incref" not in code
    assert "NRT_decref" not in code


def test_a_kernel_from_elsewhere_may_allocate_and_frees_it() -> None:
    @device
    def four_of(x, i):
        found = np.empty(4, x.dtype)
        found[:] = x[i]
        return found

    @kernel
    def summed(begin, end, pair, out):
        for i in range(begin, end):
            parts = four_of(pair[0], i)
            copy_elements(address(out) + 32 * i, address(parts), 4, out.dtype)

    x, out = np.arange(100_000.0), np.empty((100_000, 4))
    counts = [sys.getrefcount(array) for array in (x, out)]
    launch(summed, 100, (x, x), out)  # compiled
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(20):
        launch(summed, 100_000, (x, x), out)
    np.testing.assert_array_equal(out, np.repeat(x[:, None], 4, 1))
    assert [sys.getrefcount(array) for array in (x, out)] == counts
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40_000  # kilobytes; what was made is 64 MB
