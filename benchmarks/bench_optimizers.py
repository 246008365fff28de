"""Steps of the optimizers over the parameters of keras_cnn, against NumPy and the fastest of PyTorch's ways.

Bound by memory: the bytes are those of the parameters, their gradients, and the state, read and written once each.
"""

import numpy as np
import pytest

import fastconv as fc
from benchmarks.measure import Peer, compare
from fastconv import optim

# Ours, its settings beside the rate, PyTorch's name, and the arrays of the size of the parameters read and written.
RULES = {
    "sgd": (lambda p: optim.SGD(p, 1e-4), "SGD", {}, 3),
    "momentum": (lambda p: optim.SGD(p, 1e-4, 0.9, nesterov=True), "SGD", {"momentum": 0.9, "nesterov": True}, 5),
    "adagrad": (lambda p: optim.Adagrad(p, 1e-4), "Adagrad", {}, 5),
    "adadelta": (lambda p: optim.Adadelta(p, 1e-4), "Adadelta", {}, 7),
    "rmsprop": (lambda p: optim.RMSProp(p, 1e-4), "RMSprop", {}, 5),
    "rmsprop-all": (
        *(
            lambda p: optim.RMSProp(p, 1e-4, momentum=0.9, centered=True),
            "RMSprop",
            {"momentum": 0.9, "centered": True},
        ),
        9,
    ),
    "adam": (lambda p: optim.Adam(p, 1e-4), "Adam", {}, 7),
    "amsgrad": (lambda p: optim.Adam(p, 1e-4, amsgrad=True), "Adam", {"amsgrad": True}, 9),
    "adamw": (lambda p: optim.AdamW(p, 1e-4), "AdamW", {}, 7),
    "adamw-groups": (lambda p: optim.AdamW(optim.no_decay_groups(p), 1e-4), "AdamW", {}, 7),
    "nadam": (lambda p: optim.NAdam(p, 1e-4), "NAdam", {}, 7),
    "lookahead": (lambda p: optim.Lookahead(optim.SGD(p, 1e-4)), None, {}, 3),
    "ema": (lambda p: optim.EMA(optim.SGD(p, 1e-4)), None, {}, 6),
    "pruning": (lambda p: optim.Pruning(optim.SGD(p, 1e-4), 0, target=0.9), "SGD", {}, 9),
}


def _model(backend: str, name: str = "keras_cnn"):
    with fc.use_backend(backend):
        model = getattr(fc.models, name)(seed=0)
        rng = np.random.default_rng(0)
        for parameter in model.parameters():
            parameter.add_grad(fc.asarray(rng.standard_normal(parameter.shape).astype(np.float32)))
    return model


def _torch_steps(torch, model, name, settings, *, masks=False):
    """Yield the ways in which PyTorch does the step: fused where it has that, foreach, and one by one."""
    for way in ({"fused": True}, {"foreach": True}, {"foreach": False}):
        peers = [torch.nn.Parameter(torch.tensor(np.array(p.data))) for p in model.parameters()]
        for peer, parameter in zip(peers, model.parameters(), strict=True):
            peer.grad = torch.tensor(np.array(parameter.grad))
        try:
            optimizer = getattr(torch.optim, name)(peers, lr=1e-4, **settings, **way)
        except TypeError:  # it has no such way
            continue
        pruned = [(p, (torch.rand_like(p) > 0.9).float()) for p in peers if p.ndim > 1]
        yield Peer(
            f"torch {next(iter(way))}={next(iter(way.values()))}", _masked(torch, optimizer, pruned if masks else [])
        )


def _masked(torch, optimizer, pruned):
    """Return a step between masks, as `torch.nn.utils.prune` has them in backward and forward: two products."""
    if not pruned:
        return optimizer.step
    weights, masks = map(list, zip(*pruned, strict=True))

    grads = [weight.grad for weight in weights]

    def step():
        torch._foreach_mul_(grads, masks)
        optimizer.step()
        with torch.no_grad():
            torch._foreach_mul_(weights, masks)

    return step


@pytest.mark.parametrize("rule", RULES)
def bench_optimizer_step(benchmark, torch, rule):
    make, theirs, settings, arrays = RULES[rule]
    model, plain = _model("numba"), _model("numpy")
    optimizer, reference = make(model.parameters()), make(plain.parameters())
    for _ in range(5):
        optimizer.step()
        reference.step()
    pairs = zip(model.parameters(), plain.parameters(), strict=True)
    error = max(np.abs(np.subtract(ours.data, others.data)).max() for ours, others in pairs)
    assert error < 1e-4
    peers = [Peer("numpy", reference.step, rounds=2)]
    if torch is not None and theirs is not None:
        peers += _torch_steps(torch, model, theirs, settings, masks=rule == "pruning")
    size = sum(parameter.size for parameter in model.parameters())
    compare(benchmark, optimizer.step, peers, bytes=4 * arrays * size, error=float(error))


def bench_muon_step(benchmark, torch):
    """Of the matrices of the LeNet: keras_cnn's first dense layer takes PyTorch seconds a step in bfloat16."""
    model, plain = _model("numba", "lenet5"), _model("numpy", "lenet5")
    matrices, others = ([p for p in each.parameters() if len(p.shape) > 1] for each in (model, plain))
    optimizer, reference = optim.Muon(matrices, 1e-4), optim.Muon(others, 1e-4)
    optimizer.step()
    reference.step()
    error = max(np.abs(np.subtract(p.data, q.data)).max() for p, q in zip(matrices, others, strict=True))
    assert error < 1e-6
    peers = [Peer("numpy", reference.step, rounds=2)]
    if torch is not None:
        weights = [torch.nn.Parameter(torch.tensor(np.array(p.data).reshape(-1, p.shape[-1]).T)) for p in matrices]
        for weight, parameter in zip(weights, matrices, strict=True):
            grad = np.array(parameter.grad).reshape(-1, parameter.shape[-1]).T
            weight.grad = torch.tensor(grad)
        peers.append(Peer("torch", torch.optim.Muon(weights, 1e-4).step))
    compare(benchmark, optimizer.step, peers, error=float(error))
