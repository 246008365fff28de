"""Launches that are noted and not run, as a device of some target would get them."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends.emulator.dry import DryBackend, dry_backend, kernels_of
from fastconv.errors import ArgumentError
from fastconv.kernels.cuda.runtime.device import SHARED_MEMORY


def test_kernels_are_listed_once_each_and_nothing_is_computed() -> None:
    x = np.ones((2, 3), np.float32)
    results = []

    def run() -> None:
        results.extend(fc.to_numpy(fc.functional.relu(fc.asarray(x))) for _ in range(2))

    (kernel,) = kernels_of(run, "sm_80")
    assert kernel.name == "relu_forward"
    assert all((result == 0).all() for result in results)


def test_the_backend_before_comes_back() -> None:
    before = fc.get_backend().name
    with dry_backend() as backend:
        assert fc.get_backend() is backend
    assert fc.get_backend().name == before


def test_a_device_has_the_shared_memory_of_its_target() -> None:
    found = {n: DryBackend(f"sm_{n}").device.shared_memory_per_block for n in SHARED_MEMORY}
    assert found == dict(SHARED_MEMORY)
    assert DryBackend("sm_90a").device.shared_memory_per_block == found[90]


@pytest.mark.parametrize("target", ["sm_75", "90", "sm_90b", ""])
def test_another_target_is_refused(target: str) -> None:
    with pytest.raises(ArgumentError, match=f"target: got '{target}'; allowed: sm_80, "):
        DryBackend(target)
