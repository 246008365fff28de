"""Fixtures of the tests of the command."""

import pytest

from fastconv import random
from fastconv.cli import main
from fastconv.training import Trainer

from .commands import SMALL


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FASTCONV_BACKEND", raising=False)
    monkeypatch.setattr(random, "_default", random._default)


@pytest.fixture
def trained(capsys):
    """Weights of a small run."""
    assert main(["train", *SMALL, "--output", "run"]) == 0
    capsys.readouterr()
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
