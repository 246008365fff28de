"""A batch in pieces: the gradients of the whole, one step, captured, and done whole or not at all."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, random
from fastconv.errors import ArgumentError
from fastconv.losses import LOSSES, DeclaredLoss, SoftmaxCrossEntropy
from fastconv.optim import SGD, Adam, schedules
from fastconv.training import ClipGlobalNorm
from tests.backends.emulator.emulated import emulator_or_skip
from tests.training.trainers import assert_same_bits, count_calls, weights


def model_of(dtype=np.float64, out=3, seed=2):
    """Without what depends on other images of the batch."""
    return nn.Sequential(
        *(nn.Conv2d(4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 3), nn.GELU(), nn.Flatten()),
        nn.Dense(out),
    ).build((6, 6, 2), dtype, seed)


def trainer_of(loss, accumulate, dtype=np.float64, **keywords):
    model = model_of(dtype)
    optimizer = keywords.pop("optimizer", SGD)(model.parameters(), 0.1)
    return fc.Trainer(model, loss, optimizer, seed=1, accumulate=accumulate, **keywords)


def batch_of(rng, loss, rows, weighted, dtype=np.float64):
    x = rng.standard_normal((rows, 6, 6, 2)).astype(dtype)
    rest = ()
    if loss.function.over == "rows":
        y = rng.integers(0, 3, rows).astype(np.int32)
        if loss.ignore_index is not None:
            y[::3] = loss.ignore_index
            y[-1] = 1
    else:
        y = rng.uniform(0, 1, (rows, 3)).astype(dtype)
    if weighted:
        w = rng.uniform(0, 2, rows).astype(dtype)
        w[: rows // 2] *= rng.integers(0, 2, rows // 2)
        w[-1] = 1
        rest = (fc.asarray(w),)
    return (fc.asarray(x), fc.asarray(y), *rest)


SETTINGS = [
    (name, settings, weighted)
    for name in LOSSES
    for settings in (
        {},
        {"reduction": "sum"},
        *(
            ({"class_weight": (0.5, 2.0, 1.0)}, {"ignore_index": -100, "class_weight": (0.5, 2.0, 1.0)})
            if LOSSES[name].function.over == "rows"
            else ()
        ),
    )
    for weighted in (False, True)
]


@pytest.mark.float64
@pytest.mark.parametrize(
    ("rows", "pieces"), [(7, 3), *(pytest.param(*n, marks=pytest.mark.slow) for n in ((12, 3), (5, 8)))]
)
@pytest.mark.parametrize(("name", "settings", "weighted"), SETTINGS)
def test_gradients_are_those_of_the_whole(name, settings, weighted, rows, pieces, backend, rng):
    loss = LOSSES[name](**settings)
    batch, found = batch_of(rng, loss, rows, weighted), []
    for accumulate in (1, pieces):
        trainer = trainer_of(loss, accumulate)
        value = float(trainer.train_step(*batch))
        grads = {p.name: np.array(fc.to_numpy(p.grad)) for p in trainer.model.parameters()}
        found.append({**grads, "loss": np.array(value)})
    for key, value in found[0].items():
        np.testing.assert_allclose(found[1][key], value, rtol=1e-10, atol=1e-12, err_msg=key)


def own(predictions, targets):
    """A function: the mean of squares."""
    backend = fc.get_backend()
    d = fc.to_numpy(predictions) - fc.to_numpy(targets)
    return backend.asarray(np.array((d**2).mean())), backend.asarray(2 * d / d.size)


class Own(DeclaredLoss):
    reduction = "sum"

    def settings(self):
        return {}

    def checked_targets(self, targets, shape, dtype):
        return targets

    def __call__(self, predictions, targets):
        value, grad = own(predictions, targets)
        return value * targets.size, grad * targets.size


@pytest.mark.float64
@pytest.mark.parametrize("loss", [own, Own()], ids=["mean", "sum"])
def test_a_loss_of_ones_own(loss, backend, rng):
    x, y = fc.asarray(rng.standard_normal((7, 6, 6, 2))), fc.asarray(rng.uniform(0, 1, (7, 3)))
    found = []
    for accumulate in (1, 3):
        trainer = trainer_of(loss, accumulate, capture=False)
        found.append([float(trainer.train_step(x, y)), *(np.array(p.grad) for p in trainer.model.parameters())])
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-10, atol=1e-12)
    with pytest.raises(ArgumentError, match="sample_weight: got weights with accumulate"):
        trainer.train_step(x, y, fc.asarray(np.ones(7)))


@pytest.mark.parametrize("backend", ["numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def test_captured_and_replayed(backend, rng, monkeypatch):
    if backend == "cuda-emulator":
        emulator_or_skip()
    with fc.use_backend(backend):
        loss, results = SoftmaxCrossEntropy(), []
        batches = [batch_of(rng, loss, rows, False, np.float32) for rows in (7, 7, 7, 5, 7, 7)]
        for capture in (False, True):
            with monkeypatch.context() as patch:
                forwards = count_calls(patch, nn.Sequential, "forward")
                trainer = trainer_of(loss, 3, np.float32, capture=capture, clip=ClipGlobalNorm(0.1), optimizer=Adam)
                losses = [float(trainer.train_step(*batch)) for batch in batches]
            results.append((losses, weights(trainer.model), trainer.gradient_norm))
            assert len(forwards) == (6 if capture else 18)  # those of the capture and of the batch that came once
        assert trainer._captured.works
        assert results[0][0] == results[1][0]
        assert results[0][2] == results[1][2]
        assert_same_bits(results[0][1], results[1][1])


def test_a_batch_is_a_step(backend, rng):
    """Counters, schedules and callbacks count batches, the last and smaller one too; dropout draws anew for a piece."""
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Dense(3)).build((6, 6, 2))
    rates, keys = [], []
    schedule = schedules.Step(0.1, [1], 0.5)
    trainer = fc.Trainer(
        *(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1)),
        schedule=lambda step: rates.append(step) or schedule(step),
        accumulate=2,
        capture=False,
    )
    with pytest.MonkeyPatch.context() as patch:
        real = random.next_key
        patch.setattr(random, "next_key", lambda: keys.append(real()) or keys[-1])
        x, y = rng.standard_normal((10, 6, 6, 2)).astype(np.float32), rng.integers(0, 3, 10).astype(np.int32)
        history = trainer.fit((x, y), 1, batch_size=4)
    assert trainer.step == trainer.optimizer.steps == 3
    assert rates == [0, 1, 2]
    assert history.epochs == 1
    drawn = [(key.step, key.stream) for key in keys]
    assert sorted(set(drawn)) == [(step, piece) for step in range(3) for piece in range(2)]


@pytest.mark.float64
def test_batch_norm_sees_pieces(backend, rng):
    model = nn.Sequential(nn.BatchNorm2d(), nn.Flatten(), nn.Dense(3)).build((6, 6, 2), np.float64)
    trainer = fc.Trainer(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1), accumulate=2)
    x, y = rng.standard_normal((6, 6, 6, 2)), rng.integers(0, 3, 6).astype(np.int32)
    trainer.train_step(fc.asarray(x), fc.asarray(y))
    mean = np.zeros(2)
    for piece in (x[:3], x[3:]):
        mean = 0.9 * mean + 0.1 * piece.mean((0, 1, 2))
    np.testing.assert_allclose(fc.to_numpy(model.layers[0].running_mean.data), mean, rtol=1e-12)


def test_it_takes_less_memory(rng):
    with fc.use_backend("numba"):
        x, y = rng.standard_normal((64, 32, 32, 3)).astype(np.float32), rng.integers(0, 3, 64).astype(np.int32)
        held = []
        for accumulate in (1, 8):
            model = nn.Sequential(
                *(nn.Conv2d(16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, padding=1), nn.ReLU()),
                *(nn.GlobalAvgPool2d(), nn.Dense(3)),
            ).build((32, 32, 3))
            trainer = fc.Trainer(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.1), accumulate=accumulate)
            trainer.train_step(x, y)
            held.append(trainer._captured._replay.args[1].nbytes)
        assert held[1] < held[0] / 4


def test_refuses():
    with fc.use_backend("numpy"):
        for accumulate in (0, -1, 1.5, "2", None):
            with pytest.raises(ArgumentError, match="accumulate: got"):
                trainer_of(SoftmaxCrossEntropy(), accumulate)


@pytest.mark.peer
@pytest.mark.parametrize("case", range(20))
def test_same_as_pytorch(backend, case):
    """PyTorch's loop: the loss of each micro-batch divided by their number, backward, one step."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(case)
    pieces, size, width = int(rng.integers(2, 6)), int(rng.integers(1, 5)), int(rng.integers(2, 20))
    model = nn.Sequential(nn.Dense(7), nn.Tanh(), nn.Dense(4)).build((width,), np.float64, seed=case)
    peers = [torch.nn.Parameter(torch.tensor(np.array(fc.to_numpy(p.data)))) for p in model.parameters()]
    optimizer = torch.optim.SGD(peers, 0.3, 0.9)
    x, y = rng.standard_normal((3, pieces * size, width)), rng.integers(0, 4, (3, pieces * size))
    trainer = fc.Trainer(model, SoftmaxCrossEntropy(), SGD(model.parameters(), 0.3, 0.9), accumulate=pieces)
    for step in range(3):
        trainer.train_step(fc.asarray(x[step]), fc.asarray(y[step].astype(np.int32)))
        optimizer.zero_grad()
        for part in range(pieces):
            rows = slice(part * size, part * size + size)
            w1, b1, w2, b2 = peers
            out = torch.tanh(torch.tensor(x[step][rows]) @ w1 + b1) @ w2 + b2
            (torch.nn.functional.cross_entropy(out, torch.tensor(y[step][rows])) / pieces).backward()
        optimizer.step()
    for p, peer in zip(model.parameters(), peers, strict=True):
        np.testing.assert_allclose(fc.to_numpy(p.data), peer.detach().numpy(), rtol=1e-10, atol=1e-13)
