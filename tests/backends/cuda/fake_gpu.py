"""A plugin, ``python -m pytest -p tests.backends.cuda.fake_gpu``: a CuPy made of the emulator instead of the real one.

So the tests that need a GPU are themselves run where there is none.
"""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True, scope="session")
def _fake_gpu(tmp_path_factory: pytest.TempPathFactory):
    import fastconv.backends as registry
    from fastconv.backends.cuda.cupy import CupyBackend
    from tests.backends.cuda.fake_cupy import FakeCupy, install

    with pytest.MonkeyPatch.context() as patch:
        install(patch, FakeCupy(), tmp_path_factory.mktemp("cubins"))
        patch.setitem(registry._instances, "cupy", CupyBackend())
        yield
