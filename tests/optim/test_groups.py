"""Groups of parameters: settings and rates of their own, and what is refused."""

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, optim
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.optim import SGD, Adam, Muon, layer_groups, no_decay_groups, split_groups
from fastconv.training import named
from tests.optim.listed import OPTIMIZERS
from tests.optim.test_optim import give_grads, model_of, values


@pytest.mark.float64
def test_each_group_has_its_settings(backend):
    model = model_of()
    begin, ours = values(model), model.parameters()
    optimizer = SGD(
        [{"params": [ours[0], ours[2]], "lr": 0.5}, {"params": [ours[1], ours[3]], "weight_decay": 0.0}],
        0.1,
        weight_decay=0.2,
    )
    give_grads(model, 0)
    grads = [fc.to_numpy(p.grad).copy() for p in ours]
    optimizer.step()
    for i, value in enumerate(values(model)):
        want = begin[i] - (0.5 * (grads[i] + 0.2 * begin[i]) if i in (0, 2) else 0.1 * grads[i])
        np.testing.assert_allclose(value, want, rtol=1e-13)


def test_a_group_of_a_hundred_pieces_is_one_launch():
    """Weights of layers with biases between them, and a bias that is longer than a piece."""
    with fc.use_backend("numba") as backend:
        model = nn.Sequential(*(nn.Dense(20) for _ in range(6)), nn.Dense(5000)).build((20,), np.float32, seed=0)
        optimizer = Adam(no_decay_groups(model.parameters()), weight_decay=0.1)
        give_grads(model, 1)
        names = []
        with backend.trace(names.append):
            optimizer.step()
        assert names.count("adam_update") == 2


@pytest.mark.float64
def test_the_groups_together_are_the_whole(backend):
    """Of the same settings, they give the bits that one group gives."""
    results = []
    for groups in (False, True):
        model = model_of()
        ours = list(model.parameters())
        optimizer = Adam([{"params": ours[::2]}, {"params": ours[1::2]}] if groups else ours, 0.1, weight_decay=0.1)
        for step in range(3):
            give_grads(model, step)
            optimizer.step()
        results.append(values(model))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_rates_of_groups_follow_schedules():
    class ByEpoch:
        by = "epoch"

        def __call__(self, epoch):
            return 1.0 + epoch

    with fc.use_backend("numpy"):
        model = model_of()
        ours = list(model.parameters())
        groups = [{"params": ours[:1], "lr": lambda step: 0.1 * step}, {"params": ours[1:2], "lr": ByEpoch()}]
        optimizer = SGD([*groups, {"params": ours[2:3], "lr": 0.25}, {"params": ours[3:]}], 0.5)
        assert optimizer.rates() == [0.0, 1.0, 0.25, 0.5]
        give_grads(model, 0)
        optimizer.step()
        optimizer.epoch, optimizer.lr = 2, 0.125
        assert optimizer.rates() == [0.1, 3.0, 0.25, 0.125]
        optimizer.groups[2].lr = 0.75
        assert optimizer.rates()[2] == 0.75


def test_rates_of_groups_are_taken_up_again():
    with fc.use_backend("numpy"):
        model = model_of()
        ours = list(model.parameters())
        makes = [SGD([{"params": ours[:1], "lr": rate}, {"params": ours[1:]}], 0.5) for rate in (0.25, 0.125)]
        makes[0].groups[0].lr = 0.75
        makes[1].load_state_dict(makes[0].state_dict())
        assert makes[1].rates() == [0.75, 0.5]
        with pytest.raises(CheckpointError, match="state: got that of 2 groups; allowed: that of 3"):
            SGD([{"params": [p]} for p in ours[:3]], 0.5).load_state_dict(makes[0].state_dict())


def test_changed_settings_of_a_group_count():
    with fc.use_backend("numba"):
        model = model_of()
        optimizer = SGD(no_decay_groups(model.parameters()), 0.1, weight_decay=0.1)
        give_grads(model, 0)
        optimizer.step()
        begin, last = values(model), optimizer.groups[1]
        last.own["weight_decay"] = 0.5
        model.zero_grad()
        optimizer.step()
        for p, value, before in zip(model.parameters(), values(model), begin, strict=True):
            factor = 1 - 0.1 * (0.1 if len(p.shape) > 1 else 0.5)
            np.testing.assert_allclose(value, before * factor, rtol=1e-13)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("weight_decay", "x", "weight_decay: got 'x'; allowed: a finite number at least 0"),
        ("weight_decay", -1, "weight_decay: got -1; allowed"),
        ("wd", 0.5, r"groups\[1\]\.own: got the setting 'wd'; allowed: .*weight_decay"),
        ("nesterov", True, "nesterov: got True without momentum"),
        ("momentum", 0.9, r"groups\[1\]\.own: .*allowed: a new SGD .* has the state for it"),
    ],
)
def test_changed_settings_of_a_group_are_checked(backend, name, value, message):
    """In the next step, which does nothing then."""
    with fc.use_backend(backend):
        model = model_of()
        optimizer = SGD(no_decay_groups(model.parameters()), 0.1)
        give_grads(model, 0)
        optimizer.step()
        begin = values(model)
        optimizer.groups[1].own[name] = value
        with pytest.raises(ArgumentError, match=message):
            optimizer.step()
        assert optimizer.steps == 1
        np.testing.assert_equal(values(model), begin)
        del optimizer.groups[1].own[name]
        optimizer.groups[1].own["weight_decay"] = 1
        optimizer.step()
        assert optimizer.steps == 2


def test_groups_of_helpers():
    with fc.use_backend("numpy"):
        model = nn.Sequential(nn.Conv2d(4, 3), nn.BatchNorm2d(), nn.Flatten(), nn.Dense(3)).build((5, 5, 2), seed=0)
    ours = model.parameters()
    decayed, others = no_decay_groups(ours, lr=0.5)
    assert [p.name for p in decayed["params"]] == ["0.weight", "3.weight"]
    assert [p.name for p in others["params"]] == ["0.bias", "1.gamma", "1.beta", "3.bias"]
    assert (others["weight_decay"], others["lr"]) == (0.0, 0.5)
    assert "weight_decay" not in decayed
    layers = layer_groups(ours, 0.1, 0.5)
    assert [[p.name for p in group["params"]] for group in layers][1] == ["1.gamma", "1.beta"]
    assert [group["lr"] for group in layers] == [0.025, 0.05, 0.1]
    assert len(split_groups(ours, lambda p: True, lr=0.1)) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: SGD([{"params": p[:2]}, {"params": p[1:]}]), r"twice, 0.bias, in the groups 0 and 1; allowed"),
        (lambda p: SGD([{"params": p, "momentun": 0.9}]), r"\[0\]: got the setting 'momentun'.*nearest: 'momentum'"),
        (lambda p: Adam([{"params": p, "betas": (0, 0)}]), "nearest: 'beta1', 'beta2'"),
        (lambda p: SGD([{"params": p[:1]}, {"params": []}]), r"parameters\[1\]\['params'\]: got none"),
        (lambda p: SGD([{"lr": 0.1}]), r"parameters\[0\]: got no 'params'"),
        (lambda p: SGD([{"params": p[:1]}, p[1]]), r"parameters\[1\]: got Parameter among dicts"),
        (lambda p: SGD([{"params": ["weight"]}]), "got str among them"),
        (lambda p: SGD([{"params": 3}]), "got int"),
        (lambda p: SGD([{"params": p, "lr": -1}]), "lr: got -1"),
        (lambda p: SGD([{"params": p, "weight_decay": -1}]), "weight_decay: got -1"),
        (lambda p: SGD([{"params": p, "nesterov": True}]), "nesterov: got True without momentum"),
        (lambda p: SGD(p, momentum=0.9, nesterov=True, dampening=0.1), "nesterov: got True with dampening"),
        (lambda p: layer_groups(p, 0.1, -1), "factor: got -1"),
        (
            lambda p: layer_groups(model_of(), 0.1, 0.5),
            "parameters: got Sequential; allowed: parameters, as in model.par",
        ),
        (
            lambda p: no_decay_groups(model_of()),
            "parameters: got Sequential; allowed: parameters, as in model.parameters",
        ),
        (lambda p: split_groups(model_of(), lambda p: True), "parameters: got Sequential"),
        (lambda p: split_groups([p[0], "weight"], lambda p: True), "parameters: got str among them"),
        (lambda p: split_groups(p, 1), "chosen: got 1; allowed: a function of a Parameter"),
        (lambda p: no_decay_groups(p, 0.1), "arguments: got 2 without a name for no_decay_groups; allowed: 1, as in"),
        (lambda p: Muon(p), "parameters: got 0.bias of shape"),
        (lambda p: Muon(p[:1], adjust_lr_fn="best"), "adjust_lr_fn: got 'best'; allowed: None, original"),
        (lambda p: Muon(p[:1], ns_steps=0), "ns_steps: got 0"),
        (lambda p: Muon(p[:1], ns_coefficients=(1, 2)), "ns_coefficients: got"),
        (lambda p: optim.Combined(SGD(p)), "optimizers: got 1; allowed: two or more"),
        (lambda p: optim.Combined(SGD(p[:2]), SGD(p[1:])), "optimizers: got 0.bias in two of them"),
        (lambda p: optim.Lookahead(p), "optimizer: got Parameters; allowed: an optimizer"),
        (lambda p: optim.Lookahead(SGD(p), k=0), "k: got 0"),
        (lambda p: optim.Lookahead(SGD(p), alpha=1.5), "alpha: got 1.5"),
        (lambda p: optim.EMA(SGD(p), decay=1.0), "decay: got 1.0"),
    ],
)
def test_refuses(make, message):
    with fc.use_backend("numpy"):
        parameters = model_of().parameters()
        with pytest.raises(ArgumentError, match=message):
            make(parameters)


@pytest.mark.parametrize("cls", OPTIMIZERS.values(), ids=lambda cls: cls.__name__)
def test_l1_is_a_setting_or_refused_with_the_reason(cls):
    """Given to all, to a group, or by name: the same reason, and none of a wrong spelling."""
    ways = (
        lambda p: cls(p, l1=0.1),
        lambda p: cls([{"params": p, "l1": 0.1}]),
        lambda p: named.build("optimizer", {"name": cls.__name__, "l1": 0.1}, {"parameters": p}),
    )
    weights = nn.Dense(2, bias=False).build((3,)).parameters()
    for make in ways:
        if "l1" in [setting.name for setting in cls.scalars]:
            make(weights)
            continue
        with pytest.raises(ArgumentError, match="l1") as caught:
            make(weights)
        assert f"({cls.absent['l1']})" in str(caught.value)
        assert "nearest" not in str(caught.value)
