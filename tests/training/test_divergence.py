"""What the error of a training that diverged says."""

import math

import numpy as np
import pytest

import fastconv as fc
from fastconv.errors import DivergenceError
from fastconv.training import Callback
from fastconv.training.divergence import check_finite

from .trainers import data_of, model_of, trainer_of


class Says(Callback):
    def __init__(self, text):
        self.text = text

    def on_divergence(self, trainer):
        return self.text


def test_callbacks_have_a_say():
    trainer = trainer_of(model_of())
    check_finite(trainer, [Says("no")], 1.0, "")
    with pytest.raises(DivergenceError, match=r"^loss: got nan in batch 3 of epoch 1, .*may help\); one; two$"):
        check_finite(trainer, [Says("one"), Says(""), Callback(), Says("two")], math.nan, "batch 3 of ")


class Spoils(Callback):
    def on_step_begin(self, trainer, x, y):
        trainer.model.parameters()[0].data = np.full(trainer.model.parameters()[0].shape, np.nan)


@pytest.mark.parametrize(("on_host", "where"), [(True, "in batch 1 of epoch 1"), (False, "in epoch 1")])
def test_where_a_look_at_each_loss_would_wait_that_of_the_epoch_is_looked_at(rng, monkeypatch, on_host, where):
    with fc.use_backend("numpy") as backend:
        monkeypatch.setattr(type(backend), "on_host", on_host)
        trainer = trainer_of(model_of(), callbacks=Spoils())
        with pytest.raises(DivergenceError, match=f"^loss: got nan {where}, "):
            trainer.fit(data_of(rng, 8), 1, batch_size=4)
