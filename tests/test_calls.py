"""Calls that do not fit are refused in words, for constructors, methods and functions alike."""

from __future__ import annotations

import copy
import pickle
import sys

import numpy as np
import pytest

import fastconv as fc
from fastconv import losses, metrics, nn, optim
from fastconv.errors import ArgumentError, DTypeError
from fastconv.optim import schedules
from tests.training.trainers import trainer_of

_INFERRED = r"\(how many channels come in is not said: build\(input_shape\) infers it\)$"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(3, 32, 3, padding=1), r"got 3 without a name for Conv2d; allowed: 2, as in Conv2d\(out"),
        (lambda: nn.Conv2d(16, 3, 1, 1), rf"got 4 without a name for Conv2d; .*kernel_size, \*, stride=1.*{_INFERRED}"),
        (lambda: nn.ConvTranspose2d(16, 8, 3, 2), rf"got 4 without a name for ConvTranspose2d; .*{_INFERRED}"),
        (lambda: nn.Dense(3, 4), rf"got 2 without a name for Dense; allowed: 1, .*{_INFERRED}"),
        (lambda: nn.BatchNorm2d(32), rf"got 1 without a name for BatchNorm2d; allowed: none, .*{_INFERRED}"),
        (lambda: nn.GroupNorm(2, 8), rf"got 2 without a name for GroupNorm; allowed: 1, .*{_INFERRED}"),
        (lambda: nn.MaxPool2d(2, 2), r"got 2 without a name for MaxPool2d; .*, \*, stride=.*ceil_mode=False\)$"),
        (lambda: nn.Residual(nn.ReLU(), None, 1), r"got 3 without a name for Residual; allowed: 2, .*shortcut=None\)$"),
        (lambda: nn.Dropout(0.5, True), "got 2 without a name for Dropout; allowed: 1, "),
        (lambda: nn.ReLU(True), r"got 1 without a name for ReLU; allowed: none, as in ReLU\(\)$"),
        (lambda: nn.Flatten(1), "got 1 without a name for Flatten; allowed: none, "),
        (lambda: optim.Adam([], 0.1, (0.9, 0.999)), r"got 3 without a name for Adam; .*lr=0.001, \*, beta1=0.9"),
        (lambda: optim.SGD([], 0.1, 0.9, True, 0.1, 0.1, 0.1), "got 7 without a name for SGD; allowed: 5, "),
        (lambda: losses.Huber(1.0, "mean"), "got 2 without a name for Huber; allowed: 1, "),
        (lambda: metrics.Accuracy("acc"), "got 1 without a name for Accuracy; allowed: none, "),
        (lambda: schedules.Step(0.1, (3,), 0.1, 4, 5), "got 5 without a name for Step; allowed: 4, "),
        (lambda: fc.training.ClipNorm(1.0, 2.0), r"got 2 without a name for ClipNorm; allowed: 1, as in ClipNorm\("),
        (lambda: fc.parallel.Timeline(1), "got 1 without a name for Timeline; allowed: none, "),
        (lambda: fc.models.resnet20(10, (8, 8, 3)), r"got 2 without a name for resnet20; .*dtype=\.\.\."),
        (lambda: fc.models.resnet20.unbuilt(10, 3), "got 2 without a name for resnet20; allowed: 1"),
    ],
)
def test_too_many_arguments_without_a_name_are_told(make, message):
    # Not None in every process: a tracer that raises within contextlib (tests/interrupts.py) leaves CPython 3.11 one.
    before = sys.exc_info()[1]
    with pytest.raises(ArgumentError, match=f"^arguments: {message}") as caught:
        make()
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is before


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Conv2d(3), r"kernel_size: got nothing for Conv2d; allowed: Conv2d\(out_channels, kernel_size, \*"),
        (lambda: nn.Conv2d(), "out_channels, kernel_size: got nothing for Conv2d; "),
        (lambda: nn.Conv2d(kernel_size=3), "out_channels: got nothing for Conv2d; "),
        (lambda: nn.Dense(), "out_features: got nothing for Dense; "),
        (lambda: optim.SGD(), "parameters: got nothing for SGD; "),
        (lambda: schedules.Cosine(0.1), "total_steps: got nothing for Cosine; "),
        (lambda: fc.Trainer(), "model, loss, optimizer: got nothing for Trainer; "),
        (lambda: fc.models.load("lenet5"), "weights: got nothing for load; "),
        (lambda: fc.models.fine_tune(), "model, num_classes: got nothing for fine_tune; "),
    ],
)
def test_what_is_missing_is_told(make, message):
    with pytest.raises(ArgumentError, match=f"^{message}"):
        make()


def test_two_values_for_one_argument_are_told():
    with pytest.raises(ArgumentError, match="out_channels: got two values for Conv2d; allowed: one, as in Conv2d"):
        nn.Conv2d(32, 3, out_channels=3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fc.data.cifar10(train=True), "train: got it for cifar10, .*split='train' or split='test'"),
        (lambda: fc.data.mnist(root="x"), r"root: got it for mnist, .*allowed: directory, split \(directory\)"),
        (lambda: fc.models.resnet20(pretrained=True), r"pretrained: got it for resnet20, .*seed \(fc.models.load\("),
        (lambda: fc.models.mlp.unbuilt(clases=3), "clases: got it for mlp, "),
        (lambda: fc.training.ClipGlobalNorm(max_norm=1.0), "max_norm: got it for ClipGlobalNorm, .*nearest: 'limit'"),
        (lambda: losses.SoftmaxCrossEntropy(from_logits=True), "from_logits: got it .*predictions are logits"),
        (lambda: losses.Huber(beta=2.0), r"beta: got it .*Huber\(delta\) is delta times SmoothL1Loss\(beta=delta\)"),
        (lambda: fc.optim.Adam([], clipnorm=1.0), r"clipnorm: got it .*clip=fc.training.ClipNorm\(limit\)"),
        (lambda: fc.optim.AdamW([], global_clipnorm=1.0), r"global_clipnorm: got it .*ClipGlobalNorm\(limit\)"),
        (
            lambda: fc.optim.SGD([], gradient_accumulation_steps=2),
            r".*accumulate=n\), which cuts each batch into n pieces",
        ),
        (lambda: fc.optim.Muon([], use_ema=True), r"use_ema: got it .*fc.optim.EMA\(optimizer"),
        (lambda: fc.optim.RMSProp([], rho=0.9), "rho: got it .*nearest: 'alpha'"),
        (
            lambda: fc.data.DataLoader(None, num_workers=2),
            "num_workers: got it for DataLoader, .*nothing: a batch is one",
        ),
        (lambda: fc.data.DataLoader(None, transform=[]), r"transform: got it .*augmentation=\["),
        (lambda: nn.Conv2d(32, 3, activation="relu"), r"activation: got it for Conv2d, .*after it, .*nn.ReLU\(\)"),
        (lambda: nn.Conv2d(32, 3, input_shape=(28, 28, 1)), r"input_shape: got it .*model.build\(input_shape, dtype\)"),
        (lambda: nn.BatchNorm2d(num_features=3), f"num_features: got it .*{_INFERRED}"),
        (lambda: nn.Conv2d(8, 3, padding_mode="reflect"), "padding_mode: .*nothing: what is around is zeros"),
        (lambda: nn.Softmax(dim=1), "dim: .*nothing: channels are the last axis"),
        (lambda: nn.Upsample(2, mode="bilinear"), "mode: .*nothing: each pixel is repeated"),
        (lambda: fc.training.ModelCheckpoint("x", save_best_only=True), "save_best_only: .*best.safetensors has"),
        (lambda: nn.ReLU(inplace=True), "inplace: got it for ReLU, .*nothing: memory is used again"),
    ],
)
def test_arguments_of_elsewhere_are_told(make, message):
    with pytest.raises(ArgumentError, match=f"^{message}"):
        make()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t, x, y: t.evaluate(x, y), r"arguments: got 2 without a name for Trainer.evaluate; .*\(evaluate\("),
        (lambda t, x, y: t.fit((x, y)), r"epochs: got nothing for Trainer.fit; allowed: Trainer.fit\(train, epochs, "),
        (lambda t, x, y: t.fit(x, y, 3), r"train: got ndarray; allowed: a pair of arrays in one argument, \(x, y\)"),
        (lambda t, x, y: t.train_step(x), "y: got nothing for Trainer.train_step; "),
        (lambda t, x, y: t.model.predict(), "x: got nothing for Sequential.predict; "),
        (lambda t, x, y: t.model.build(), "input_shape: got nothing for Sequential.build; "),
        (
            lambda t, x, y: t.model.to(dtype="float16"),
            r"dtype: got it for Sequential.to, .*build\(input_shape, dtype\)",
        ),
        (lambda t, x, y: t.model.to(device="cuda"), r"device: got it for Sequential.to, .*to\(\"cupy\"\)"),
        (lambda t, x, y: t.model.load_weights("x", strict=False), "strict: got it .*names and shapes must fit"),
        (lambda t, x, y: t.model.save_weights("x", overwrite=True), "overwrite: got it .*of that name is replaced"),
        (lambda t, x, y: t.model.save_weights("x", True), r"arguments: got 2 .*save_weights\(path, \*, sparse=False\)"),
        (lambda t, x, y: t.model.summary(input_size=(3,)), r"input_size: got it .*summary\(input_shape\)"),
        (lambda t, x, y: t.model.zero_grad(set_to_none=True), "set_to_none: got it for Sequential.zero_grad"),
        (lambda t, x, y: t.model(x, training=True), r"training: got it for Sequential.__call__, .*model.forward\(x, "),
    ],
)
def test_methods_tell_it_too(call, message):
    with fc.use_backend("numpy"):
        trainer = trainer_of(nn.Sequential(nn.Dense(2)).build((3,)))
        with pytest.raises(ArgumentError, match=f"^{message}"):
            call(trainer, np.ones((4, 3), np.float32), np.zeros(4, np.int32))


def test_a_mistake_within_is_told_as_it_was():
    class Odd(nn.Dropout):
        def __init__(self, p):
            super().__init__(p)
            len(3)

    with pytest.raises(TypeError, match="has no len") as caught:
        Odd(0.5)
    assert not isinstance(caught.value, ArgumentError)
    with fc.use_backend("numpy"), pytest.raises(DTypeError):
        nn.Dense(2).build((3,)).predict([[1, 2, 3]])


def test_functions_that_tell_are_pickled_and_copied():
    for function in (fc.data.cifar10, fc.models.load, fc.models.resnet20):
        assert pickle.loads(pickle.dumps(function)) is function
        assert copy.deepcopy(function) is function


def test_schedules_are_copied_and_their_signatures_shown():
    schedule = schedules.Cosine(0.1, 10)
    assert pickle.loads(pickle.dumps(schedule)) == copy.deepcopy(schedule) == schedule
    assert pickle.loads(pickle.dumps(fc.training.ClipNorm(1.0))) == fc.training.ClipNorm(1.0)
