"""Optimizers: against the formulas written down again, against PyTorch, their state, and what they refuse."""

import inspect

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, BackendMismatchError, CheckpointError
from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim import OPTIMIZERS, SGD, Adam

MAKERS = {
    "sgd": lambda p: SGD(p, 0.1),
    "sgd-decay": lambda p: SGD(p, 0.1, weight_decay=0.01),
    "momentum": lambda p: SGD(p, 0.1, 0.9),
    "nesterov": lambda p: SGD(p, 0.1, 0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: Adam(p, 0.01),
    "adam-decay": lambda p: Adam(p, 0.01, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1),
}


def model_of(dtype=np.float64):
    return nn.Sequential(nn.Dense(5), nn.Tanh(), nn.Dense(3)).build((4,), dtype, seed=1)


def give_grads(model, seed):
    rng = np.random.default_rng(seed)
    model.zero_grad()
    for p in model.parameters():
        p.add_grad(fc.asarray(rng.standard_normal(p.shape).astype(p.array.dtype)))


def values(model):
    return [fc.to_numpy(p.data).copy() for p in model.parameters()]


def reference(name, p, grads):
    """The update rules, one parameter and one step after the other."""
    v = m = np.zeros_like(p)
    for t, g in enumerate(grads, start=1):
        if name.startswith("adam"):
            b1, b2, eps, decay, lr = (
                (0.8, 0.95, 1e-6, 0.1, 0.01) if name.endswith("decay") else (0.9, 0.999, 1e-8, 0, 0.01)
            )
            g = g + decay * p
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g * g
            p = p - lr * (m / (1 - b1**t)) / (np.sqrt(v / (1 - b2**t)) + eps)
        else:
            g = g + (0.01 * p if name in ("sgd-decay", "nesterov") else 0)
            v = 0.9 * v + g
            p = p - 0.1 * (g + 0.9 * v if name == "nesterov" else v if name == "momentum" else g)
    return p


@pytest.mark.parametrize("name", MAKERS)
def test_formula(backend, name):
    model = model_of()
    optimizer = MAKERS[name](model.parameters())
    begin, grads = values(model), []
    for step in range(4):
        give_grads(model, step)
        grads.append([fc.to_numpy(p.grad).copy() for p in model.parameters()])
        optimizer.step()
    for i, (p, value) in enumerate(zip(model.parameters(), begin, strict=True)):
        want = reference(name, value, [g[i] for g in grads])
        np.testing.assert_allclose(fc.to_numpy(p.data), want, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", MAKERS)
def test_state_is_taken_up_again(backend, name):
    straight, broken, other = model_of(), model_of(), model_of()
    optimizers = [MAKERS[name](model.parameters()) for model in (straight, broken)]
    for step in range(3):
        for model, optimizer in zip((straight, broken), optimizers, strict=True):
            give_grads(model, step)
            optimizer.step()
    resumed = MAKERS[name](other.parameters())
    resumed.load_state_dict(optimizers[1].state_dict())
    for p, q in zip(other.parameters(), broken.parameters(), strict=True):
        p.data = q.data
    for model, optimizer in ((straight, optimizers[0]), (other, resumed)):
        give_grads(model, 9)
        optimizer.step()
    for a, b in zip(values(straight), values(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert resumed.steps == 4


@pytest.mark.parametrize("name", MAKERS)
def test_the_rate_is_taken_up_again(backend, name):
    """Into an optimizer that was made with another rate: the rate itself, and the one that the kernels use."""
    straight, other = model_of(), model_of()
    optimizer, resumed = MAKERS[name](straight.parameters()), MAKERS[name](other.parameters())
    optimizer.lr, resumed.lr = 0.037, 0.5
    give_grads(straight, 0)
    optimizer.step()
    resumed.load_state_dict(optimizer.state_dict())
    assert resumed.lr == 0.037
    for p, q in zip(other.parameters(), straight.parameters(), strict=True):
        p.data = q.data
    before = values(other)
    for model, each in ((straight, optimizer), (other, resumed)):
        give_grads(model, 1)
        each.step()
    for a, b, begin in zip(values(straight), values(other), before, strict=True):
        np.testing.assert_array_equal(a, b)
        assert (a != begin).any()


def test_state_of_something_else_is_refused(backend):
    model = model_of()
    optimizer = Adam(model.parameters())
    give_grads(model, 0)
    optimizer.step()
    before = optimizer.state_dict()
    cases = [
        SGD(model.parameters(), 0.1, 0.9).state_dict(),
        Adam(model.parameters()[:2]).state_dict(),
        Adam(model_of(np.float32).parameters()).state_dict(),
        Adam(nn.Sequential(nn.Dense(6), nn.Tanh(), nn.Dense(3)).build((4,), np.float64).parameters()).state_dict(),
    ]
    for state in cases:
        with pytest.raises(CheckpointError, match="state: got"):
            optimizer.load_state_dict(state)
    for name, array in optimizer.state_dict()["tensors"].items():
        np.testing.assert_array_equal(array, before["tensors"][name])


def test_lr_may_be_set_at_any_time(backend):
    model = model_of()
    optimizer = SGD(model.parameters(), 1.0)
    begin = values(model)[0]
    give_grads(model, 0)
    optimizer.lr = 0.25
    optimizer.step()
    want = begin - 0.25 * fc.to_numpy(model.parameters()[0].grad)
    np.testing.assert_allclose(values(model)[0], want, rtol=1e-14)
    for bad in (-1.0, float("inf"), "fast"):
        with pytest.raises(ArgumentError, match="lr"):
            optimizer.lr = bad


def test_parameters_without_gradient_are_not_moved_by_an_old_one(backend):
    model = model_of()
    optimizer = SGD(model.parameters(), 0.1)
    give_grads(model, 0)
    optimizer.step()
    kept = values(model)
    model.zero_grad()
    optimizer.step()
    for a, b in zip(values(model), kept, strict=True):
        np.testing.assert_array_equal(a, b)


def test_some_parameters_only(backend):
    model = model_of()
    chosen = [model.parameters()[0], model.parameters()[3]]
    optimizer = Adam(chosen, 0.1)
    begin, versions = values(model), [p.version for p in model.parameters()]
    give_grads(model, 0)
    optimizer.step()
    moved = [not np.array_equal(a, b) for a, b in zip(values(model), begin, strict=True)]
    assert moved == [True, False, False, True]
    assert [p.version > v for p, v in zip(model.parameters(), versions, strict=True)] == moved


def test_gaps_between_parameters_stay_zero(backend):
    model = model_of()
    optimizer = Adam(model.parameters(), 0.1, weight_decay=0.1)
    for step in range(3):
        give_grads(model, step)
        optimizer.step()
    arena = model.parameters()[0].arena
    inside = np.zeros(arena.data.size, bool)
    for p in model.parameters():
        inside[p.offset : p.offset + p.size] = True
    assert not inside.all()
    assert not fc.to_numpy(arena.data)[~inside].any()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD([], 0.1), "parameters: got none"),
        (lambda p: SGD([p[0], p[0]], 0.1), "twice"),
        (lambda p: SGD(p, -0.1), "lr"),
        (lambda p: SGD(p, 0.1, momentum=1.0), "momentum"),
        (lambda p: SGD(p, 0.1, nesterov=True), "nesterov"),
        (lambda p: SGD(p, 0.1, weight_decay=-1), "weight_decay"),
        (lambda p: Adam(p, beta1=1.0), "beta1"),
        (lambda p: Adam(p, beta2=-0.1), "beta2"),
        (lambda p: Adam(p, beta2=1.0), "beta2"),
        (lambda p: Adam(p, eps=0), "eps"),
    ],
)
def test_refuses(make, message):
    with fc.use_backend("numpy"), pytest.raises(ArgumentError, match=message):
        make(model_of().parameters())


def test_rebuilt_models_are_refused():
    with fc.use_backend("numpy"):
        model = model_of()
        optimizer = SGD(model.parameters(), 0.1)
        model.build((4,), np.float64)
        with pytest.raises(ArgumentError, match="built again"):
            optimizer.step()
        SGD(model.parameters(), 0.1).step()


def test_model_on_another_backend_is_refused():
    if "numba" not in fc.available_backends():
        pytest.skip("the backend numba is not there")
    with fc.use_backend("numpy"):
        model = model_of()
        optimizer = SGD(model.parameters(), 0.1)
        model.to("numba")
        with pytest.raises(BackendMismatchError, match=r"'numba'.*'numpy'"):
            optimizer.step()


def test_every_rule_has_an_optimizer_with_its_settings_and_defaults():
    assert set(OPTIMIZERS) == set(UPDATE_RULES)
    for name, rule in UPDATE_RULES.items():
        given = inspect.signature(OPTIMIZERS[name].__init__).parameters
        assert {key: p.default for key, p in given.items() if key not in ("self", "parameters", "lr")} == {
            setting.name: setting.default for setting in rule.settings
        }
        assert OPTIMIZERS[name].state_names == rule.state


def test_every_optimizer_is_compared_with_its_formula():
    made = {type(make(model_of().parameters())) for make in MAKERS.values()}
    assert made == set(OPTIMIZERS.values())


@pytest.mark.peer
@pytest.mark.parametrize("name", MAKERS)
def test_same_as_pytorch(backend, name):
    torch = pytest.importorskip("torch")
    model = model_of()
    peers = [torch.nn.Parameter(torch.tensor(value)) for value in values(model)]
    peer = {
        "sgd": lambda: torch.optim.SGD(peers, 0.1),
        "sgd-decay": lambda: torch.optim.SGD(peers, 0.1, weight_decay=0.01),
        "momentum": lambda: torch.optim.SGD(peers, 0.1, 0.9),
        "nesterov": lambda: torch.optim.SGD(peers, 0.1, 0.9, nesterov=True, weight_decay=0.01),
        "adam": lambda: torch.optim.Adam(peers, 0.01),
        "adam-decay": lambda: torch.optim.Adam(peers, 0.01, (0.8, 0.95), 1e-6, 0.1),
    }[name]()
    optimizer = MAKERS[name](model.parameters())
    for step in range(5):
        give_grads(model, step)
        for q, p in zip(peers, model.parameters(), strict=True):
            q.grad = torch.tensor(fc.to_numpy(p.grad).copy())
        optimizer.step()
        peer.step()
    for q, p in zip(peers, model.parameters(), strict=True):
        np.testing.assert_allclose(fc.to_numpy(p.data), q.detach().numpy(), rtol=1e-10, atol=1e-13)
