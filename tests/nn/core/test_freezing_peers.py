"""Frozen layers beside PyTorch's."""

from __future__ import annotations

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.losses import SoftmaxCrossEntropy
from fastconv.optim import SGD


def _torch_twin(torch, model):
    """The model of `test_same_as_pytorch` with the same values, and for each of our tensors theirs as an array."""
    conv1, norm1, _, conv2, norm2, *_, dense = model.layers
    parts = [
        torch.nn.Conv2d(2, 5, 3, padding=1),
        torch.nn.BatchNorm2d(5),
        torch.nn.ReLU(),
        torch.nn.Conv2d(5, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Tanh(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(4, 3),
    ]
    twin = torch.nn.Sequential(*parts).double()
    pairs = []
    for ours, theirs in ((conv1, parts[0]), (conv2, parts[3]), (dense, parts[8])):
        axes = (3, 2, 0, 1) if ours is not dense else (1, 0)
        pairs += [(ours.weight, theirs.weight, axes), (ours.bias, theirs.bias, (0,))]
    for ours, theirs in ((norm1, parts[1]), (norm2, parts[4])):
        pairs += [(ours.gamma, theirs.weight, (0,)), (ours.beta, theirs.bias, (0,))]
        pairs += [(ours.running_mean, theirs.running_mean, (0,)), (ours.running_var, theirs.running_var, (0,))]
    with torch.no_grad():
        for ours, theirs, axes in pairs:
            theirs.copy_(torch.tensor(np.array(fc.to_numpy(ours.data)).transpose(axes)))
    return twin, parts, pairs


@pytest.mark.peer
@pytest.mark.parametrize("case", range(40))
def test_same_as_pytorch(backend, case):
    """``requires_grad_(False)``, normalisations in evaluation mode where they are frozen; others at each step."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(case)
    model = nn.Sequential(
        *(nn.Conv2d(5, 3, padding=1), nn.BatchNorm2d(), nn.ReLU(), nn.Conv2d(4, 3), nn.BatchNorm2d(), nn.Tanh()),
        *(nn.GlobalAvgPool2d(), nn.Flatten(), nn.Dense(3)),
    ).build((6, 6, 2), np.float64, seed=case)
    twin, parts, pairs = _torch_twin(torch, model)
    settings = {"momentum": 0.9, "weight_decay": 0.01} if case % 2 else {}
    optimizer, peer = SGD(model.parameters(), 0.1, **settings), torch.optim.SGD(twin.parameters(), 0.1, **settings)
    trainer = fc.Trainer(model, SoftmaxCrossEntropy(), optimizer)
    layers = {0: parts[0], 1: parts[1], 3: parts[3], 4: parts[4], 8: parts[8]}
    for _ in range(4):
        frozen = {number for number in layers if rng.random() < 0.5} - {rng.choice(list(layers))}
        twin.train()
        model.unfreeze()
        for number, part in layers.items():
            part.requires_grad_(number not in frozen)
            if number in frozen:
                model.layers[number].freeze()
                part.eval()
        x, y = rng.standard_normal((4, 6, 6, 2)), rng.integers(0, 3, 4)
        loss = trainer.train_step(fc.asarray(x), fc.asarray(y.astype(np.int32)))
        peer.zero_grad()
        theirs = torch.nn.functional.cross_entropy(twin(torch.tensor(x.transpose(0, 3, 1, 2))), torch.tensor(y))
        theirs.backward()
        peer.step()
        np.testing.assert_allclose(float(loss), theirs.item(), rtol=1e-10)
    for mine, other, axes in pairs:
        value = np.array(fc.to_numpy(mine.data)).transpose(axes)
        np.testing.assert_allclose(value, other.detach().numpy(), rtol=1e-10, atol=1e-12, err_msg=mine.name)
