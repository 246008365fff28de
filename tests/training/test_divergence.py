"""What the error of a training that diverged says."""

import math

import pytest

from fastconv.errors import DivergenceError
from fastconv.training import Callback
from fastconv.training.divergence import check_finite

from .trainers import model_of, trainer_of


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
