"""What a trainer is made of is checked when it is set."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import (
    ArgumentError,
)
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD, Adam, schedules
from fastconv.training import Callback, EarlyStopping
from tests.training.trainers import data_of, model_of, trainer_of


def test_what_a_trainer_is_made_of_is_checked():
    with fc.use_backend("numpy"):
        model, other = model_of(), model_of()
        loss, optimizer = SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1)
        unbuilt = nn.Sequential(nn.Dense(2))
        heads = nn.Graph({"a": (nn.Dense(2), "input"), "b": (nn.Dense(3), "input")}, outputs=("a", "b"))
        ended = nn.Sequential(nn.Flatten(), heads).build((8, 8, 3))
        unbuilt, stopping = nn.Sequential(nn.Dense(2)), EarlyStopping()
        cases = [
            ((ended, loss, SGD(ended.parameters(), 0.1)), "model: got Sequential with 2 outputs; allowed: .* with one"),
            ((ended, lambda y, t: (y[0], y), SGD(ended.parameters(), 0.1)), "model: got Sequential with 2 outputs"),
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
            (
                (model, loss, optimizer, None, [stopping, Callback(), stopping]),
                r"callbacks: got Early.* twice, .*: once$",
            ),
        ]
        for arguments, message in cases:
            with pytest.raises(ArgumentError, match=message):
                fc.Trainer(*arguments)
        rebuilt = SGD(model.parameters(), 0.1)
        model.build((8, 8, 2))
        with pytest.raises(ArgumentError, match="no longer, of this model"):
            fc.Trainer(model, loss, rebuilt)
        fc.Trainer(model, loss, SGD([*model.parameters()][2:4], 0.1), None, Callback())


def test_another_model_needs_another_optimizer():
    with fc.use_backend("numpy"):
        trainer, other = trainer_of(model_of()), model_of()
        before = trainer.model
        with pytest.raises(ArgumentError, match=r"model: got .*a new Trainer, with an optimizer of its parameters"):
            trainer.model = other
        assert trainer.model is before
        trainer.model = longer = nn.Sequential(before).build(before.input_shape)  # with the same parameters
        assert trainer.model is longer


@pytest.mark.parametrize(
    ("function", "got"),
    [
        (lambda: 0.1, "a function of nothing"),
        (lambda **more: 0.1, "a function of nothing"),
        (lambda step, lr: 0.1, "a function of step, lr"),
        (lambda step, *, lr: 0.1, "a function of step, lr"),
        (lambda *, step: 0.1, "a function of nothing"),
    ],
)
def test_a_schedule_of_something_else_is_refused(function, got):
    model = nn.Sequential(nn.Dense(2)).build((3,))
    with pytest.raises(ArgumentError, match=f"schedule: got {got}; allowed: "):
        trainer_of(model, schedule=function)
    with pytest.raises(ArgumentError, match=f"function: got {got}; allowed: "):
        schedules.Function(function)
    with pytest.raises(ArgumentError, match=f"lr: got {got}; allowed: "):
        SGD([{"params": model.parameters(), "lr": function}], 0.1)


def test_a_schedule_may_have_defaults():
    model = nn.Sequential(nn.Dense(2)).build((3,))
    for function in (lambda step, low=0.1: low, lambda *steps: 0.1, lambda step, **more: 0.1, float):
        if function is not float:
            trainer_of(model, schedule=function)
            assert schedules.Function(function)(3) == 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, data: t.fit(data, 1, callbacks=[]), r"callbacks: got it for Trainer.fit.*Trainer\(..., callbacks"),
        (lambda t, data: t.fit(data, 1, verbose=2), r"verbose: got it for Trainer.fit, .*ProgressDisplay\(\)"),
        (lambda t, data: t.fit(x=data[0], y=data[1], epochs=1), r"x: got it for Trainer.fit, .*fit\(\(x, y\), epochs"),
        (lambda t, data: t.fit(data, epoch=1), r"epoch: got it for Trainer.fit, .*nearest: 'epochs'"),
        (lambda t, data: t.evaluate(data, verbose=0), r"verbose: got it for Trainer.evaluate"),
        (
            lambda t, data: t.model.compile(optimizer="adam"),
            r"optimizer: got it for Sequential.compile",
        ),
        (lambda t, data: t.model.predict(data[0], verbose=0), r"verbose: got it for Sequential.predict"),
        (lambda t, data: t.model.build(input_dim=3), r"input_dim: got it for Sequential.build, .*build\(\(features,\)"),
    ],
)
def test_arguments_of_elsewhere_are_told(call, message):
    with fc.use_backend("numpy"):
        data = np.ones((4, 3), np.float32), np.zeros(4, np.int32)
        trainer = trainer_of(nn.Sequential(nn.Dense(2)).build((3,)))
        with pytest.raises(ArgumentError, match=message):
            call(trainer, data)
        assert trainer.step == 0


@pytest.mark.parametrize("name", ["loss", "step", "epoch", "seconds", "val_f1", "top,5", "a\nb", 'a"b', "", 3])
def test_a_metric_may_not_have_the_name_of_something_else(name):
    class Mine(fc.metrics.Accuracy):
        """By another name."""

        def __init__(self):
            super().__init__()
            self.name = name

    metric = Mine()
    model = nn.Sequential(nn.Dense(2)).build((3,))
    with pytest.raises(ArgumentError, match=r"metrics: got one that is called .*; allowed: a name without commas"):
        trainer_of(model, metrics=metric)


@pytest.mark.parametrize("capture", ["no", "False", 2, 0, [], 1.0])
def test_whether_steps_are_captured_is_none_true_or_false(capture):
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Dense(2)).build((3,))
        with pytest.raises(ArgumentError, match=r"^capture: got .*; allowed: None, True, False$"):
            trainer_of(model, capture=capture)
        for good in (None, False, np.False_):
            trainer_of(model, capture=good)


@pytest.mark.parametrize("name", ["step", "epoch"])
@pytest.mark.parametrize("value", [-1, 1.5, "3", None, True])
def test_counters_are_counts(name, value):
    """Of trainer and optimizer: a text ended in Python's words, and steps went on from -5 and 1.5."""
    with fc.use_backend("numpy"):
        trainer = trainer_of(model_of())
        for owner, counter in ((trainer, name), (trainer.optimizer, name if name == "epoch" else "steps")):
            with pytest.raises(ArgumentError, match=f"^{counter}: got .*; allowed: an int of at least 0$"):
                setattr(owner, counter, value)
            assert getattr(owner, counter) == 0
            setattr(owner, counter, np.int64(3))
            assert type(getattr(owner, counter)) is int


def test_a_history_is_one():
    with fc.use_backend("numpy"):
        trainer = trainer_of(model_of())
        with pytest.raises(ArgumentError, match=r"^history: got \{\}; allowed: a fastconv\.History"):
            trainer.history = {}
        trainer.history = fc.History({"loss": [1.0]})
        assert trainer.history.epochs == 1


def test_a_train_step_of_ones_own_is_not_left_out_by_fit(rng):
    """As in Keras, where `fit` does it."""

    class Own(fc.Trainer):
        def train_step(self, x, y, sample_weight=None):
            return super().train_step(x, y, sample_weight)

    x, y = data_of(rng, 8)
    with fc.use_backend("numpy"):
        model = model_of()
        own = Own(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1))
        own.train_step(x, y)
        replaced = trainer_of(model)
        replaced.train_step = own.train_step
        for trainer, name in ((own, "Own"), (replaced, "Trainer")):
            with pytest.raises(
                ArgumentError, match=rf"^fit: got a call of {name}, whose own train_step it does not do"
            ):
                trainer.fit((x, y), 1)
        assert (own.step, replaced.step) == (1, 0)


def test_an_evaluate_of_ones_own_is_not_left_out_by_fit(rng):
    class Own(fc.Trainer):
        def evaluate(self, data, *, batch_size=None):
            return {"own": 1.0}

    data = data_of(rng, 8)
    with fc.use_backend("numpy"):
        model = model_of()
        trainer = Own(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1))
        for validation in ({"validation_data": data}, {"validation_split": 0.5}):
            with pytest.raises(ArgumentError, match=r"^fit: got validation data for a Own, whose own evaluate"):
                trainer.fit(data, 1, **validation)
        assert trainer.fit(data, 1).epochs == 1


@pytest.mark.parametrize(
    ("loss", "last"), [("SoftmaxCrossEntropy", nn.Softmax), ("BinaryCrossEntropy", nn.Sigmoid)], ids=["rows", "each"]
)
def test_a_loss_of_logits_behind_probabilities_is_warned_of(loss, last):
    loss = getattr(fc.losses, loss)()
    told = rf"loss: got {type(loss).__name__} for a model whose last layer is {last.__name__}, which the loss does"
    with fc.use_backend("numpy"):
        for tail in ([last()], [nn.Sequential(nn.ReLU(), last())]):
            model = nn.Sequential(nn.Dense(2), *tail).build((4,))
            with pytest.warns(UserWarning, match=told) as caught:
                fc.Trainer(model, loss, SGD(model.parameters(), 0.1))
            assert [warning.filename for warning in caught] == [__file__]
        for others in ([nn.Sigmoid(), nn.Dense(2)], [nn.ReLU()], [nn.Tanh()]):
            model = nn.Sequential(nn.Dense(2), *others).build((4,))
            fc.Trainer(model, loss, SGD(model.parameters(), 0.1))
