"""A team of two threads."""

from collections.abc import Iterator

import pytest

from fastconv.kernels.cpu.runtime import launch


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = launch.get_num_threads()
    launch.set_num_threads(2)
    yield
    launch.set_num_threads(before)
