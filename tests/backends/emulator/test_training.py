"""Training on the emulated GPU follows the curve of the CPU."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.models import lenet5
from fastconv.optim import SGD, Adam, Combined, Muon
from fastconv.training import Trainer
from tests.backends.emulator.emulated import emulator_or_skip

pytestmark = pytest.mark.slow


def curve(
    backend: str, make_model, make_optimizer, x: np.ndarray, y: np.ndarray, steps: int, capture: bool | None = None
) -> list[float]:
    """Losses of some steps on two batches in turn, with the weights and random numbers that all backends share."""
    with fc.use_backend(backend):
        model = make_model()
        trainer = Trainer(
            model, SoftmaxCrossEntropy(label_smoothing=0.1), make_optimizer(model), seed=3, capture=capture
        )
        batches = [(fc.asarray(x[i::2].copy()), fc.asarray(y[i::2].copy())) for i in range(2)]
        return [float(fc.to_numpy(trainer.train_step(*batches[step % 2]))) for step in range(steps)]


def images(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of shapes10 and their labels."""
    dataset = fc.data.shapes10("train", seed=0, size=count)
    return dataset.images.astype(np.float32) / 255 - 0.5, dataset.labels


# TF32 has 10 bits of mantissa: a product is off by 2**-10 of its size, and a loss by much less.
@pytest.mark.parametrize(("precision", "bound"), [("strict", 2e-6), ("default", 1e-3)])
def test_lenet5_on_shapes10(precision: str, bound: float) -> None:
    emulator_or_skip()
    x, y = images(16)
    with fc.precision(precision):
        expected, got = (
            curve(name, lambda: lenet5(seed=1), lambda model: SGD(model.parameters(), 0.1, momentum=0.9), x, y, 6)
            for name in ("numba", "cuda-emulator")
        )
    for step, (a, b) in enumerate(zip(expected, got, strict=True)):
        assert b == pytest.approx(a, rel=bound * (step + 1))
    assert got[-1] < got[0]


def _every_kind_of_layer() -> nn.Layer:
    return nn.Sequential(
        *(nn.Conv2d(8, 3, padding=1, bias=False), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.2)),
        *(nn.Conv2d(12, 3, stride=2, padding=1), nn.GELU(), nn.AvgPool2d(2), nn.GlobalAvgPool2d(), nn.Dense(10)),
    ).build((16, 16, 3), seed=2)


def test_captured_steps_give_the_same_bits() -> None:
    emulator_or_skip()
    x, y = images(16)
    x = x[:, ::2, ::2].copy()
    plain, captured = (
        curve("cuda-emulator", _every_kind_of_layer, lambda model: Adam(model.parameters(), 0.01), x, y, 4, capture)
        for capture in (False, True)
    )
    assert captured == plain
    assert len(set(captured)) == 4


def test_other_layers_and_adam() -> None:
    emulator_or_skip()
    x, y = images(16)
    x = x[:, ::2, ::2].copy()
    with fc.precision("strict"):
        expected, got = (
            curve(name, _every_kind_of_layer, lambda model: Adam(model.parameters(), 0.01), x, y, 5)
            for name in ("numba", "cuda-emulator")
        )
    for step, (a, b) in enumerate(zip(expected, got, strict=True)):
        assert b == pytest.approx(a, rel=2e-5 * (step + 1))
    assert got[-1] < got[0]


def _like_airbench() -> nn.Layer:
    """Its layers in small; the weight of the first is frozen."""
    layers = [nn.Conv2d(6, 2), nn.GELU(), nn.Conv2d(8, 3, padding="same", bias=False, init="dirac"), nn.MaxPool2d(2)]
    head = [nn.Flatten(), nn.Dense(10, bias=False, init="unit_std"), nn.Scale(1 / 8)]
    norm = nn.BatchNorm2d(eps=1e-12, momentum=0.4, scale=False)
    return nn.Sequential(*layers, norm, nn.GELU(), nn.MaxPool2d(3), *head).build((16, 16, 3), seed=2).freeze("0.weight")


def test_normalized_muon_and_what_has_no_scale() -> None:
    """As `benchmarks/speedrun.py` trains, captured."""
    emulator_or_skip()
    x, y = images(16)
    x = x[:, ::2, ::2].copy()

    def optimizer(model: nn.Layer) -> Combined:
        filters = [p for p in model.parameters() if len(p.shape) == 4 and not p.is_frozen]
        others = [p for p in model.parameters() if len(p.shape) != 4]
        muon = Muon(filters, 0.1, momentum=0.6, weight_decay=0, ns_steps=3, adjust_lr_fn="none", normalize=True)
        return Combined(muon, SGD(others, 0.05, momentum=0.85, nesterov=True, weight_decay=0.01))

    with fc.precision("strict"):
        expected, got = (
            curve(name, _like_airbench, optimizer, x, y, 5, capture=True) for name in ("numba", "cuda-emulator")
        )
    for step, (a, b) in enumerate(zip(expected, got, strict=True)):
        assert b == pytest.approx(a, rel=2e-5 * (step + 1))
    assert got[-1] < got[0]
