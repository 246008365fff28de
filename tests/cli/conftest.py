"""Fixtures of the tests of the command."""

import pytest

import fastconv.backends as registry
from fastconv import random
from fastconv.cli import main
from fastconv.training import Trainer

from .commands import SMALL, files_of


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTCONV_BACKEND", raising=False)
    monkeypatch.setattr(random, "_default", random._default)


@pytest.fixture(scope="session")
def run_files(tmp_path_factory):
    """The files of a small run, made once."""
    folder = tmp_path_factory.mktemp("cli") / "run"
    with pytest.MonkeyPatch.context() as patch:  # what it sets for the process ends with it
        patch.setattr(random, "_default", random._default)
        patch.setattr(registry, "_default", registry._default)
        assert main(["train", *SMALL, "--output", str(folder)]) == 0
    return files_of(folder)


@pytest.fixture
def trained(run_files, tmp_path):
    """Weights of a small run, in a folder with its other files."""
    (tmp_path / "run").mkdir()
    for name, data in run_files.items():
        (tmp_path / "run" / name).write_bytes(data)
    return "run/weights.safetensors"


@pytest.fixture
def fitted(monkeypatch):
    """Let `Trainer.fit` do nothing but note what it got: {"trainer", "train", "test", "epochs"}."""
    seen = {}

    def fit(self, train, epochs, validation_data=None, **_):
        seen.update(trainer=self, train=train, test=validation_data, epochs=epochs)
        return self.history

    monkeypatch.setattr(Trainer, "fit", fit)
    return seen
