"""What is captured in parts: each repeats its own operations, and all of them those of a capture in one."""

from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends import get_backend, use_backend
from tests.backends.usable import backend_or_skip


@pytest.mark.parametrize("name", ["numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def test_each_part_repeats_its_own(name):
    backend_or_skip(name)
    with use_backend(name) as backend:
        values, doubled, sums = (backend.asarray(np.full(100, value, np.float32)) for value in (1.0, 0.0, 0.0))

        def compute(cut):
            between = backend.empty((100,), np.float32)
            backend.scale(values, factor=2.0, out=between)
            backend.copy(between, out=doubled)
            cut()
            cut()  # a part of nothing
            backend.add(between, values, out=sums)

        parts = backend.capture_parts(compute)
        assert len(parts) == 3
        assert not backend.to_numpy(doubled).any()  # nothing was computed yet
        for round_ in (1.0, 5.0):
            backend.fill(round_, out=values)
            before = np.array(backend.to_numpy(sums))
            assert parts[0]()
            np.testing.assert_array_equal(backend.to_numpy(doubled), 2 * round_)
            np.testing.assert_array_equal(backend.to_numpy(sums), before)
            assert parts[1]()
            assert parts[2]()
            np.testing.assert_array_equal(backend.to_numpy(sums), 3 * round_)


def test_what_cannot_be_captured_has_no_parts():
    assert get_backend("numpy").capture_parts(lambda cut: cut()) is None
