"""Optimizers: against the formulas written down again, their state, and what they refuse."""

import copy
import inspect

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import ArgumentError, BackendMismatchError, CheckpointError
from fastconv.kernels.update_rules import UPDATE_RULES
from fastconv.optim import (
    EMA,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    Combined,
    Lookahead,
    Muon,
    NAdam,
    Pruning,
    RMSProp,
    no_decay_groups,
)
from tests.optim.listed import OPTIMIZERS

MAKERS = {
    "sgd": lambda p: SGD(p, 0.1),
    "sgd-decay": lambda p: SGD(p, 0.1, weight_decay=0.01),
    "momentum": lambda p: SGD(p, 0.1, 0.9),
    "nesterov": lambda p: SGD(p, 0.1, 0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p: Adam(p, 0.01),
    "adam-decay": lambda p: Adam(p, 0.01, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1),
}


def combined(p):
    matrices, others = [q for q in p if len(q.shape) > 1], [q for q in p if len(q.shape) < 2]
    return Combined(Muon(matrices, 0.02), AdamW(others, 0.01))


def falling(step):
    return 0.1 / (1 + step)


ALL = {
    **MAKERS,
    "dampened": lambda p: SGD(p, 0.1, 0.9, dampening=0.3),
    "l1": lambda p: SGD(p, 0.1, l1=0.01),
    "adagrad": lambda p: Adagrad(p, 0.1, lr_decay=0.1, initial_accumulator_value=0.3),
    "adadelta": lambda p: Adadelta(p, 0.5),
    "rmsprop": lambda p: RMSProp(p, 0.01, centered=True, momentum=0.9),
    "amsgrad": lambda p: Adam(p, 0.01, amsgrad=True, l1=0.01),
    "adamw": lambda p: AdamW(p, 0.01),
    "nadam": lambda p: NAdam(p, 0.01),
    "groups": lambda p: SGD(no_decay_groups(p, lr=0.05), 0.1, 0.9, weight_decay=0.1),
    "schedule": lambda p: Adam([{"params": p[:1], "lr": falling}, {"params": p[1:]}], 0.01),
    "muon": combined,
    "muon-normalized": lambda p: Combined(Muon([q for q in p if len(q.shape) > 1], normalize=True), SGD(p[1::2])),
    "lookahead": lambda p: Lookahead(SGD(p, 0.1, 0.9), k=2),
    "pruned": lambda p: Pruning(
        Lookahead(SGD(p, 0.1, 0.9), k=2), 6, target=0.6, begin=1, frequency=2, initial=0.2, exponent=2.0
    ),
    "pruned-part": lambda p: Combined(
        Pruning(EMA(Adam(p[:2], 0.01)), 4, frequency=1, scope="global"), AdamW(p[2:], 0.01)
    ),
    "ema": lambda p: EMA(Lookahead(Adam(p, 0.01), k=3), decay=0.9, warmup=True),
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


def orthogonal(x, steps=3):
    x = x / np.linalg.norm(x)
    for _ in range(steps):
        gram = x.T @ x
        x = 3.4445 * x + x @ (-4.7750 * gram + 2.0315 * gram @ gram)
    return x


@pytest.mark.float64
def test_muon_normalizes_before_it_steps(backend, rng):
    """As airbench94_muon does: the norm of a weight is the root of its outputs, and its length has no say."""
    model = nn.Sequential(nn.Conv2d(5, 2), nn.Flatten(), nn.Dense(4, bias=False)).build((3, 3, 2), np.float64, seed=1)
    weights = [p for p in model.parameters() if len(p.shape) > 1]
    weights[1].data = 1e-3 * fc.to_numpy(weights[1].data)
    settings = {"momentum": 0.6, "weight_decay": 0.0, "ns_steps": 3, "adjust_lr_fn": "none"}
    optimizer = Muon(weights, 0.24, **settings, normalize=True)
    want, momenta = values(model), [0.0, 0.0]
    want = [value for value in want if value.ndim > 1]
    for step in range(3):
        give_grads(model, step)
        for i, p in enumerate(weights):
            grad = fc.to_numpy(p.grad).reshape(-1, p.shape[-1])
            momenta[i] = 0.6 * momenta[i] + grad
            change = orthogonal(grad + 0.6 * momenta[i]).reshape(p.shape)
            want[i] = want[i] * p.shape[-1] ** 0.5 / (np.linalg.norm(want[i]) + 1e-6) - 0.24 * change
        optimizer.step()
    for p, value in zip(weights, want, strict=True):
        np.testing.assert_allclose(fc.to_numpy(p.data), value, rtol=1e-9, atol=1e-11)


def noting(calls, method):
    def noted(*args, **settings):
        calls.append(method.__name__)
        return method(*args, **settings)

    return noted


@pytest.mark.parametrize("steps", [1, 2, 3, 4])
def test_muon_launches_two_updates_a_group_and_copies_no_matrix(monkeypatch, steps):
    """With any number of steps the last product is where the second update reads it; but for one step."""
    with fc.use_backend("numpy"):
        model = model_of()
        weights = [p for p in model.parameters() if len(p.shape) > 1]
        optimizer = Muon([{"params": [p]} for p in weights], 1.0, weight_decay=0, ns_steps=steps, adjust_lr_fn="none")
        give_grads(model, 1)
        calls, grads = [], [fc.to_numpy(p.grad).copy() for p in weights]
        before = [fc.to_numpy(p.data).copy() for p in weights]
        for name in ("update", "copy"):
            monkeypatch.setattr(optimizer.backend, name, noting(calls, getattr(optimizer.backend, name)))
        optimizer.update()
    for p, start, grad in zip(weights, before, grads, strict=True):
        np.testing.assert_allclose(start - fc.to_numpy(p.data), orthogonal(grad, steps), rtol=1e-10, atol=1e-12)
    of_the_number = 1
    assert calls.count("update") == 4
    assert calls.count("copy") == of_the_number + (2 if steps == 1 else 0)


@pytest.mark.float64
@pytest.mark.parametrize("name", ALL)
def test_state_is_taken_up_again(backend, name):
    straight, broken, other = model_of(), model_of(), model_of()
    optimizers = [ALL[name](model.parameters()) for model in (straight, broken)]
    for step in range(3):
        for model, optimizer in zip((straight, broken), optimizers, strict=True):
            give_grads(model, step)
            optimizer.step()
    resumed = ALL[name](other.parameters())
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


@pytest.mark.parametrize("make", [lambda p: SGD(p, 0.1), lambda p: EMA(SGD(p, 0.1))], ids=["plain", "nested"])
def test_the_backend_of_an_optimizer_is_not_set(make):
    optimizer = make(nn.Dense(2).build((3,)).parameters())
    for value in ("numpy", None):
        with pytest.raises(ArgumentError, match=r"^backend: got a new value for the \w+, made with another"):
            optimizer.backend = value
    assert optimizer.backend is fc.get_backend()


def test_model_on_another_backend_is_refused():
    if "numba" not in fc.available_backends():
        pytest.skip("the backend numba is not there")
    with fc.use_backend("numpy"):
        model = model_of()
        optimizer = SGD(model.parameters(), 0.1)
        model.to("numba")
        with pytest.raises(BackendMismatchError, match=r"'numba'.*'numpy'"):
            optimizer.step()


def test_muon_scales_its_steps_by_the_sizes_of_the_matrix():
    with fc.use_backend("numpy"):
        (weight, _) = nn.Dense(8).build((2,)).parameters()
        ratios = [Muon([weight], adjust_lr_fn=word)._ratio(weight) for word in ("original", "match_rms_adamw", "none")]
    assert ratios == [2.0, 0.2 * 8**0.5, 1.0]


def test_every_rule_has_an_optimizer_with_its_settings_and_defaults():
    rules = {name: rule for name, rule in UPDATE_RULES.items() if rule.optimizes}
    assert set(OPTIMIZERS) == set(rules)
    for name, rule in rules.items():
        given = inspect.signature(OPTIMIZERS[name].__init__).parameters
        more = ("ns_coefficients", "ns_steps", "adjust_lr_fn", "normalize") if name == "muon" else ()
        assert {key: p.default for key, p in given.items() if key not in ("self", "parameters", "lr", *more)} == {
            setting.name: setting.default for setting in OPTIMIZERS[name].scalars
        }
        assert OPTIMIZERS[name].state_names == (rule.state or ("momentum",))


@pytest.mark.parametrize("name", ALL)
def test_a_training_step_is_replayed(name):
    """And gives the bits of the step that is not captured."""
    x, y = np.random.default_rng(2).standard_normal((6, 4)).astype(np.float32), np.arange(6) % 3
    with fc.use_backend("numba"):
        results = []
        for capture in (False, True):
            model = model_of(np.float32)
            trainer = fc.Trainer(
                model, fc.losses.SoftmaxCrossEntropy(), ALL[name](model.parameters()), seed=1, capture=capture
            )
            for _ in range(4):
                trainer.train_step(x, y)
            assert (trainer._captured is not None and trainer._captured.works) == capture
            tensors = trainer.optimizer.state_dict()["tensors"]
            results.append(values(model) + [tensors[key] for key in sorted(tensors)])
    for plain, replayed in zip(*results, strict=True):
        np.testing.assert_array_equal(plain, replayed)


@pytest.mark.float64
@pytest.mark.parametrize("name", ALL)
def test_copies_go_on_alike(backend, name):
    model = model_of()
    optimizer = ALL[name](model.parameters())
    give_grads(model, 0)
    optimizer.step()
    other, copied = copy.deepcopy((model, optimizer))
    for each, stepped in ((model, optimizer), (other, copied)):
        give_grads(each, 1)
        stepped.step()
    for a, b in zip(values(model), values(other), strict=True):
        np.testing.assert_array_equal(a, b)


def test_every_optimizer_is_tried():
    """Those that go around others too: all that can be chosen by name, and what is made of several."""
    with fc.use_backend("numpy"):
        made, waiting = set(), [make(model_of().parameters()) for make in ALL.values()]
    while waiting:
        each = waiting.pop()
        made.add(type(each))
        waiting += getattr(each, "optimizers", ())
    exported = {getattr(fc.optim, name) for name in fc.optim.__all__} - {fc.optim.Optimizer}
    assert {each for each in exported if isinstance(each, type) and issubclass(each, fc.optim.Optimizer)} == made


def test_calls_of_elsewhere_are_told_what_to_write():
    model = nn.Dense(2).build((3,))
    for optimizer in (SGD(model.parameters(), 0.1), EMA(SGD(model.parameters(), 0.1))):
        for call in (lambda o=optimizer: o.step(lambda: 1.0), lambda o=optimizer: o.step(closure=None)):
            with pytest.raises(
                ArgumentError, match=r"\(step\(\) after model.backward\(...\), which writes the gradients\)$"
            ):
                call()
        with pytest.raises(
            ArgumentError, match=r"^set_to_none: got it for \w+.zero_grad, .*\(nothing: gradients are forg"
        ):
            optimizer.zero_grad(set_to_none=True)
        assert optimizer.steps == 0


@pytest.mark.parametrize(
    ("make", "gradient"),
    [
        (lambda p: Adam(p, 0.1), 3e20),
        (lambda p: Adam(p, 0.1, amsgrad=True), 3e20),
        (lambda p: AdamW(p, 0.1), 3e20),
        (lambda p: NAdam(p, 0.1), 3e20),
        (lambda p: RMSProp(p, 0.1), 1e20),
        (lambda p: Adadelta(p, 1.0), 1e17),
        (lambda p: Adadelta(p, 1.0), 2e19),
    ],
)
def test_large_gradients_move_what_their_average_of_squares_can_hold(backend, make, gradient):
    """Squares, quotients and corrections on the way left float32 before the average did, and nothing moved."""
    found = []
    for name, dtype in ((backend.name, np.float32), ("numpy", np.float64)):
        with fc.use_backend(name):
            layer = nn.Sequential(nn.Dense(1, bias=False)).build((19,), dtype, seed=0)
            (parameter,) = layer.parameters()
            parameter.data = fc.asarray(np.zeros((19, 1), dtype))
            optimizer = make([parameter])
            for _ in range(3):
                layer.zero_grad()
                parameter.add_grad(fc.asarray(np.full((19, 1), gradient, dtype)))
                optimizer.step()
            found.append(fc.to_numpy(parameter.data))
    np.testing.assert_allclose(*found, rtol=1e-4)
