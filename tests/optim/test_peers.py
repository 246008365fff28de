"""Every optimizer against PyTorch's, over random problems and settings, in float64 at 1e-10."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, optim
from tests.optim.listed import OPTIMIZERS

pytestmark = pytest.mark.peer

STEPS = 4
_PENALTY = {"weight_decay": (0.0, 0.01, 0.3)}
_BETAS = {"beta1": (0.9, 0.7), "beta2": (0.999, 0.9), "eps": (1e-8, 1e-3)}

# Our class, and the values of its settings; all combinations are compared, but for what both refuse.
SETTINGS: dict[str, dict[str, tuple[Any, ...]]] = {
    "SGD": {
        "momentum": (0.0, 0.5, 0.9),
        "dampening": (0.0, 0.3),
        "nesterov": (False, True),
        **_PENALTY,
        "lr": (1e-3, 0.1, 0.5),
    },
    "Adagrad": {
        **{"lr": (1e-2, 0.3), "lr_decay": (0.0, 0.1), "initial_accumulator_value": (0.0, 0.2), "eps": (1e-10, 1e-2)},
        **_PENALTY,
    },
    "Adadelta": {"lr": (1.0, 0.1), "rho": (0.9, 0.5, 0.99), "eps": (1e-6, 1e-2), **_PENALTY},
    "RMSProp": {
        **{"lr": (1e-2, 0.1), "alpha": (0.99, 0.5), "eps": (1e-8, 1e-2), "momentum": (0.0, 0.9)},
        **{"centered": (False, True), **_PENALTY},
    },
    "Adam": {"lr": (1e-3, 0.1), **_BETAS, "amsgrad": (False, True), **_PENALTY},
    "AdamW": {"lr": (1e-3, 0.1), **_BETAS, "amsgrad": (False, True), **_PENALTY},
    "NAdam": {
        **{"lr": (2e-3, 0.1), **_BETAS, "momentum_decay": (4e-3, 0.1), "decoupled_weight_decay": (False, True)},
        "weight_decay": (0.0, 0.01),
    },
    "Muon": {
        **{"lr": (1e-3, 0.1), "momentum": (0.95, 0.6), "nesterov": (True, False), "ns_steps": (5, 3)},
        **{"adjust_lr_fn": (None, "match_rms_adamw"), "weight_decay": (0.1, 0.0)},
    },
}


def _combinations() -> list[tuple[str, dict[str, Any]]]:
    found = []
    for name, values in SETTINGS.items():
        for chosen in itertools.product(*values.values()):
            settings = dict(zip(values, chosen, strict=True))
            if not (settings.get("nesterov") and name == "SGD" and (not settings["momentum"] or settings["dampening"])):
                found.append((name, settings))
    return found


COMBINATIONS = _combinations()


@pytest.fixture
def torch() -> Iterator[Any]:
    """PyTorch, which keeps the numbers of its NAdam in its default type."""
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield torch
    torch.set_default_dtype(before)


def model_of(name: str, seed: int) -> nn.Sequential:
    """Return a model of matrices alone for Muon, else with biases and a normalisation."""
    layers = [nn.Dense(5, bias=False), nn.Tanh(), nn.Dense(3, bias=False)]
    if name != "Muon":
        layers = [nn.Conv2d(3, 2), nn.BatchNorm2d(), nn.Flatten(), nn.Dense(3)]
    return nn.Sequential(*layers).build((4,) if name == "Muon" else (3, 3, 2), np.float64, seed=seed)


def torch_optimizer(torch: Any, name: str, parameters: list[Any], settings: dict[str, Any]) -> Any:
    """Return PyTorch's optimizer with these settings of ours."""
    settings = dict(settings)
    if "beta1" in settings:
        settings["betas"] = settings.pop("beta1"), settings.pop("beta2")
    return getattr(torch.optim, {"RMSProp": "RMSprop"}.get(name, name))(parameters, **settings)


def test_there_are_many_combinations() -> None:
    assert len(COMBINATIONS) >= 500
    assert set(SETTINGS) == {cls.__name__ for cls in OPTIMIZERS.values()}


@pytest.mark.parametrize(
    ("name", "settings"), COMBINATIONS, ids=[f"{name}-{'-'.join(map(str, s.values()))}" for name, s in COMBINATIONS]
)
def test_same_as_pytorch(torch: Any, name: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.Tensor, "bfloat16", torch.Tensor.clone)  # its Muon computes in bfloat16
    seed = zlib.crc32(repr((name, settings)).encode())
    rng = np.random.default_rng(seed)
    with fc.use_backend("numba") as backend:
        model = model_of(name, seed % 1000)
        optimizer = getattr(optim, name)(model.parameters(), **settings)
        # A matrix of ours is (in, out), one of theirs (out, in).
        start = [fc.to_numpy(p.data).T.copy() if name == "Muon" else fc.to_numpy(p.data) for p in model.parameters()]
        peers = [torch.nn.Parameter(torch.tensor(value)) for value in start]
        peer = torch_optimizer(torch, name, peers, settings)
        for _ in range(STEPS):
            model.zero_grad()
            for parameter, other in zip(model.parameters(), peers, strict=True):
                grad = rng.standard_normal(parameter.shape)
                parameter.add_grad(backend.asarray(grad))
                other.grad = torch.tensor(grad.T.copy() if name == "Muon" else grad)
            optimizer.step()
            peer.step()
        assert optimizer._captured is not None
        assert optimizer._captured[1] is not None, "not captured"
        for parameter, other in zip(model.parameters(), peers, strict=True):
            want = other.detach().numpy()
            got = fc.to_numpy(parameter.data)
            np.testing.assert_allclose(got, want.T if name == "Muon" else want, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("decay", [0.0, 0.01])
@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "Muon"])
def test_groups_are_those_of_pytorch(torch: Any, name: str, decay: float, rng: np.random.Generator) -> None:
    with fc.use_backend("numba") as backend:
        model = model_of(name, 3)
        ours = list(model.parameters())
        peers = [torch.nn.Parameter(torch.tensor(fc.to_numpy(p.data))) for p in ours]
        flat = [i for i, p in enumerate(ours) if len(p.shape) < 2]
        others = [i for i in range(len(ours)) if i not in flat]
        optimizer = getattr(optim, name)(
            [
                {"params": [ours[i] for i in others]},
                {"params": [ours[i] for i in flat], "lr": 0.03, "weight_decay": decay},
            ],
            lr=0.01,
            weight_decay=0.1,
        )
        groups = [
            {"params": [peers[i] for i in others]},
            {"params": [peers[i] for i in flat], "lr": 0.03, "weight_decay": decay},
        ]
        peer = torch_optimizer(torch, name, groups, {"lr": 0.01, "weight_decay": 0.1})
        for _ in range(STEPS):
            model.zero_grad()
            for parameter, other in zip(ours, peers, strict=True):
                grad = rng.standard_normal(parameter.shape)
                parameter.add_grad(backend.asarray(grad))
                other.grad = torch.tensor(grad)
            optimizer.step()
            peer.step()
        for parameter, other in zip(ours, peers, strict=True):
            np.testing.assert_allclose(fc.to_numpy(parameter.data), other.detach().numpy(), rtol=1e-10, atol=1e-11)


def test_averages_are_those_of_pytorch(torch: Any, rng: np.random.Generator) -> None:
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    with fc.use_backend("numba") as backend:
        model = model_of("SGD", 4)
        optimizer = optim.EMA(optim.SGD(model.parameters(), 0.1, 0.9), decay=0.9)
        peers = torch.nn.ParameterList(
            [torch.nn.Parameter(torch.tensor(fc.to_numpy(p.data))) for p in model.parameters()]
        )
        averaged = AveragedModel(peers, multi_avg_fn=get_ema_multi_avg_fn(0.9))
        averaged.update_parameters(peers)  # the first one copies
        peer = torch.optim.SGD(peers, 0.1, 0.9)
        for _ in range(STEPS):
            model.zero_grad()
            for parameter, other in zip(model.parameters(), peers, strict=True):
                grad = rng.standard_normal(parameter.shape)
                parameter.add_grad(backend.asarray(grad))
                other.grad = torch.tensor(grad)
            optimizer.step()
            peer.step()
            averaged.update_parameters(peers)
        with optimizer.averaged():
            for parameter, other in zip(model.parameters(), averaged.module, strict=True):
                np.testing.assert_allclose(fc.to_numpy(parameter.data), other.detach().numpy(), rtol=1e-10, atol=1e-12)
