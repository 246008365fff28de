"""Limits of gradients: PyTorch's formulas, captured with the step, and what they do with what is not finite."""

from __future__ import annotations

import copy

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, DivergenceError
from fastconv.losses import MeanSquaredError
from fastconv.optim import SGD
from fastconv.training import ClipGlobalNorm, ClipNorm, ClipValue
from tests.backends.emulator.emulated import emulator_or_skip
from tests.training.trainers import assert_same_bits, count_calls, data_of, model_of, trainer_of, weights

KINDS = (ClipValue, ClipNorm, ClipGlobalNorm)
LIMITS = {ClipValue: (1e-3, 0.02, 10.0), ClipNorm: (1e-3, 0.1, 10.0), ClipGlobalNorm: (1e-3, 0.5, 100.0)}
CHOSEN = [(kind, limit) for kind in KINDS for limit in LIMITS[kind]]


def by_hand(kind, limit, grads):
    """The formulas, once more."""
    if kind is ClipValue:
        return {name: np.clip(g, -limit, limit) for name, g in grads.items()}
    norms = {name: np.sqrt((g**2).sum()) for name, g in grads.items()}
    if kind is ClipGlobalNorm:
        norms = dict.fromkeys(grads, np.sqrt(sum(norm**2 for norm in norms.values())))
    return {name: g * min(1, limit / (norms[name] + 1e-6)) for name, g in grads.items()}


def grads_of(trainer):
    return {p.name: np.array(fc.to_numpy(p.grad)) for p in trainer.model.parameters() if not p.is_frozen}


@pytest.mark.float64
@pytest.mark.parametrize("frozen", [(), ("4",)], ids=["all", "some-frozen"])
@pytest.mark.parametrize(("kind", "limit"), CHOSEN)
def test_formula(backend, kind, limit, frozen, rng):
    x, y = data_of(rng, 24, np.float64)
    found = []
    for clip in (None, kind(limit)):
        model = model_of(dtype=np.float64)
        if frozen:
            model.freeze(*frozen)
        trainer = trainer_of(model, SGD(model.parameters(), 0.1), seed=1, clip=clip)
        before = weights(model)
        trainer.train_step(x, y)
        found.append(grads_of(trainer))
    wanted = by_hand(kind, limit, found[0])
    for name, grad in wanted.items():
        np.testing.assert_allclose(found[1][name], grad, rtol=1e-12, atol=1e-15, err_msg=name)
        np.testing.assert_allclose(weights(model)[name], before[name] - 0.1 * grad, rtol=1e-12, atol=1e-15)
    norm = np.sqrt(sum((g**2).sum() for g in found[0].values()))
    if kind is ClipValue:
        assert trainer.gradient_norm is None
    else:
        np.testing.assert_allclose(trainer.gradient_norm, norm, rtol=1e-12)


@pytest.mark.parametrize("backend", ["numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
@pytest.mark.parametrize("kind", KINDS)
def test_captured_and_replayed(backend, kind, rng, monkeypatch):
    if backend == "cuda-emulator":
        emulator_or_skip()
    with fc.use_backend(backend):
        x, y = data_of(rng, 8)
        batches = [(x[i : i + 4], y[i : i + 4]) for i in (0, 4)] * 2
        results = []
        for capture in (False, True):
            trainer = trainer_of(model_of(), seed=1, clip=kind(LIMITS[kind][1]), capture=capture)
            with monkeypatch.context() as patch:
                calls = count_calls(patch, kind, "apply")
                results.append([float(trainer.train_step(*batch)) for batch in batches])
            results[-1].append(trainer.gradient_norm)
            assert len(calls) == (1 if capture else 4)
        assert trainer._captured.works
        assert results[0] == results[1]


def test_a_change_is_captured_anew(rng):
    with fc.use_backend("numba"):
        x, y = data_of(rng, 8)
        results = []
        for capture in (False, True):
            trainer, found = trainer_of(model_of(), seed=1, capture=capture), []
            for clip in (None, ClipValue(0.01), ClipValue(0.02), ClipGlobalNorm(0.02), None):
                trainer.clip = clip
                found += [float(trainer.train_step(x, y)) for _ in range(2)]
            results.append((found, weights(trainer.model)))
        assert results[0][0] == results[1][0]
        assert_same_bits(results[0][1], results[1][1])
        assert trainer.gradient_norm is None


@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_finite(backend, kind, bad):
    """As PyTorch has it, but that zeros stay zero; and so do the gaps between parameters."""
    model = nn.Sequential(nn.Dense(3), nn.Dense(2)).build((5,), seed=1)
    for p in model.parameters():
        p.add_grad(fc.asarray(np.ones(p.shape, np.float32)))
    values = np.array([1, 0, bad], np.float32)
    model.layers[0].bias.zero_grad()
    model.layers[0].bias.add_grad(fc.asarray(values))
    kind(0.5).apply(model.backend, list(model.parameters()))
    got, others = fc.to_numpy(model.layers[0].bias.grad), fc.to_numpy(model.layers[1].weight.grad)
    if kind is ClipValue:
        np.testing.assert_array_equal(got, [0.5, 0, np.clip(bad, -0.5, 0.5)])
        assert (others == 0.5).all()
    else:
        factor = np.float32(0 if np.isinf(bad) else np.nan)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(got, [factor, 0, np.float32(bad) * factor])
        wanted = np.float32(0.5 / (np.sqrt(6) + 1e-6)) if kind is ClipNorm else factor
        np.testing.assert_allclose(others, np.full(others.shape, wanted), rtol=1e-6)
    flat = fc.to_numpy(model.layers[0].weight.arena.grad)
    inside = np.zeros(flat.shape, bool)
    for p in model.parameters():
        inside[p.offset : p.offset + p.size] = True
    assert not flat[~inside].any()


@pytest.mark.parametrize("capture", [False, True])
def test_a_norm_that_is_not_finite_ends_training(capture):
    """The loss is still finite."""
    with fc.use_backend("numba"):
        model = nn.Sequential(nn.Dense(2, init="zeros")).build((2,))
        x = np.full((4, 2), 1e30, np.float32)
        y = np.full((4, 2), 1e10, np.float32)
        optimizer = SGD(model.parameters(), 0.1)
        trainer = fc.Trainer(model, MeanSquaredError(), optimizer, clip=ClipGlobalNorm(1.0), capture=capture)
        with pytest.raises(DivergenceError, match=r"norm of gradients: got inf in batch 1 of epoch 1, before step 2"):
            trainer.fit((x, y), 1)


def test_the_norm_counts_what_the_optimizer_trains(backend, rng):
    x, y = data_of(rng, 8)
    model = model_of()
    mine = model.parameters()[:2]
    trainer = trainer_of(model, SGD(mine, 0.1), seed=1, clip=ClipGlobalNorm(1e-3))
    trainer.train_step(x, y)
    grads = grads_of(trainer)
    np.testing.assert_allclose(np.sqrt(sum((grads[p.name] ** 2).sum() for p in mine)), 1e-3, rtol=1e-2)
    assert np.sqrt((grads["7.weight"] ** 2).sum()) > 1e-2


def test_refuses():
    for kind in KINDS:
        for limit in (0, -1, np.nan, np.inf, None):
            with pytest.raises(ArgumentError, match="limit: got"):
                kind(limit)
    with fc.use_backend("numpy"):
        model = model_of()
        for clip in (1.0, ClipValue, "norm"):
            with pytest.raises(ArgumentError, match=r"clip: got .*; allowed: None, ClipValue\(1.0\)"):
                trainer_of(model, clip=clip)
        trainer = trainer_of(model)
        with pytest.raises(ArgumentError, match="clip: got"):
            trainer.clip = 5


def test_is_a_value():
    assert ClipNorm(1) == ClipNorm(1.0) != ClipGlobalNorm(1.0)
    assert copy.deepcopy(ClipNorm(2.0)) == ClipNorm(2.0)
    assert repr(ClipGlobalNorm(2.0)) == "ClipGlobalNorm(limit=2.0)"


@pytest.mark.peer
@pytest.mark.parametrize("case", range(30))
@pytest.mark.parametrize("kind", KINDS)
def test_same_as_pytorch(backend, kind, case):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(case)
    sizes = [int(rng.integers(1, 30)) for _ in range(int(rng.integers(1, 5)))]
    model = nn.Sequential(*(nn.Dense(size, bias=bool(rng.integers(2))) for size in sizes))
    model.build((int(rng.integers(1, 20)),), np.float64)
    limit = float(10 ** rng.uniform(-2, 2))
    peers = []
    for p in model.parameters():
        grad = 10 ** rng.uniform(-2, 1) * rng.standard_normal(p.shape)
        p.add_grad(fc.asarray(grad))
        peers.append(torch.nn.Parameter(torch.zeros(p.shape, dtype=torch.float64)))
        peers[-1].grad = torch.tensor(grad)
    squares = kind(limit).apply(model.backend, list(model.parameters()))
    if kind is ClipValue:
        torch.nn.utils.clip_grad_value_(peers, limit)
    elif kind is ClipGlobalNorm:
        norm = torch.nn.utils.clip_grad_norm_(peers, limit)
        np.testing.assert_allclose(np.sqrt(fc.to_numpy(squares).sum()), float(norm), rtol=1e-12)
    else:
        for peer in peers:
            torch.nn.utils.clip_grad_norm_([peer], limit)
    for p, peer in zip(model.parameters(), peers, strict=True):
        np.testing.assert_allclose(fc.to_numpy(p.grad), peer.grad.numpy(), rtol=1e-10, atol=1e-14)
