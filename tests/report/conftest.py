"""A run, and the backend that looks at it."""

import pytest

import fastconv as fc
from fastconv.training.diagnostics import Machine, profile

from .made import make_run


@pytest.fixture(autouse=True)
def on_numpy(monkeypatch):
    for name in ("matplotlib", "jinja2", "PIL"):
        pytest.importorskip(name, reason="needs the extra 'report'")
    monkeypatch.setattr(profile, "measure_machine", lambda backend: Machine(1e9, 1e9))  # it takes its time
    with fc.use_backend("numpy"):
        yield


@pytest.fixture
def run(tmp_path):
    """The folder of a run that is complete."""
    return make_run(tmp_path / "first")
