"""A plugin for ``python -m pytest -p tests.backends.fake_gpu``: a CuPy made of the emulator in place of the real one.

So the tests that need a GPU are themselves run where there is none.
"""

from __future__ import annotations

import sys

import pytest


@pytest.fixture(autouse=True, scope="session")
def _fake_gpu():
    import fastconv.backends as registry
    from fastconv.backends.cupy_backend import CupyBackend
    from tests.backends.fake_cupy import FakeCupy

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "cupy", FakeCupy())
        patch.setitem(registry._instances, "cupy", CupyBackend())
        yield
