"""What a trainer is made of is checked when it is set."""

import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import (
    ArgumentError,
)
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD, Adam, schedules
from fastconv.training import Callback
from tests.training.trainers import model_of, trainer_of


def test_what_a_trainer_is_made_of_is_checked():
    with fc.use_backend("numpy"):
        model, other = model_of(), model_of()
        loss, optimizer = SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1)
        unbuilt = nn.Sequential(nn.Dense(2))
        cases = [
            (("mlp", loss, optimizer), "model: got 'mlp'"),
            ((unbuilt, loss, optimizer), "not built"),
            ((nn.Sequential, loss, optimizer), "model: got the class Sequential"),
            ((model, "categorical_crossentropy", optimizer), r"loss: got 'cat.*SoftmaxCrossEntropy\(\)"),
            ((model, SoftmaxCrossEntropy, optimizer), r"loss: got the class .*such as SoftmaxCrossEntropy\(\)"),
            ((model, optimizer, loss), "loss: got .*SGD"),
            ((model, loss, "adam"), r"optimizer: got 'adam'; .*Adam\(model.parameters\(\)\)"),
            ((model, loss, Adam), "optimizer: got the class Adam"),
            ((model, loss, SGD(other.parameters(), 0.1)), r"SGD of 7 .* 7 of which are not, or no longer"),
            ((model, loss, SGD([*model.parameters()][:2] + [*other.parameters()][:1], 0.1)), "of 3 .* 1 of which"),
            ((model, loss, optimizer, 0.1), "schedule: got 0.1"),
            ((model, loss, optimizer, schedules.Cosine), "schedule: got the class Cosine"),
            ((model, loss, optimizer, lambda epoch: 0.1 / (1 + epoch)), "schedule: got a function of 'epoch'"),
            ((model, loss, optimizer, None, print), "callbacks: got .*print"),
            ((model, loss, optimizer, None, "EarlyStopping"), "callbacks: got 'EarlyStopping'"),
            ((model, loss, optimizer, None, [print]), "callbacks: got .*print.* among them"),
            ((model, loss, optimizer, None, Callback), "callbacks: got the class Callback"),
        ]
        for arguments, message in cases:
            with pytest.raises(ArgumentError, match=message):
                fc.Trainer(*arguments)
        rebuilt = SGD(model.parameters(), 0.1)
        model.build((8, 8, 2))
        with pytest.raises(ArgumentError, match="no longer, of this model"):
            fc.Trainer(model, loss, rebuilt)
        fc.Trainer(model, loss, SGD([*model.parameters()][2:4], 0.1), None, Callback())


def test_a_schedule_of_nothing_is_refused():
    with pytest.raises(ArgumentError, match="schedule: got a function of nothing"):
        trainer_of(nn.Sequential(nn.Dense(2)).build((3,)), schedule=lambda: 0.1)
