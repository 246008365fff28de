"""What is set on an object once it is made: taken as ``__init__`` takes it, or refused."""

from __future__ import annotations

import dataclasses
import inspect

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn, training
from fastconv.errors import ArgumentError, FastconvError

REQUIRED = {
    "out_channels": 4,
    "kernel_size": 3,
    "factor": 2.0,
    "num_groups": 2,
    "output_size": 2,
    "scale_factor": 2,
    "pieces": 2,
    "units": 3,
    "out_features": 3,
    "size": 3,
}
SHAPES = {"Dense": (4,), "Softmax": (4,)}


def _made():
    """Return an object of each layer that has no layers inside."""
    found = []
    for name in nn.__all__:
        cls = getattr(nn, name)
        if not isinstance(cls, type) or not issubclass(cls, nn.Layer) or inspect.isabstract(cls):
            continue
        parameters = inspect.signature(cls).parameters.values()
        needed = [p.name for p in parameters if p.default is p.empty and p.kind is not p.VAR_POSITIONAL]
        if any(p.kind is p.VAR_POSITIONAL for p in parameters) or set(needed) - set(REQUIRED):
            continue
        found.append(cls(**{name: REQUIRED[name] for name in needed}))
    return found


LAYERS = {type(layer).__name__: layer for layer in _made()}
SETTINGS = [(name, setting) for name, layer in LAYERS.items() for setting in inspect.signature(type(layer)).parameters]


def _built(layer):
    shape = SHAPES.get(type(layer).__name__, (4, 4, 4))
    copied = type(layer)(**layer.settings())
    return copied.build(shape, seed=0)


def test_what_is_tried():
    assert {"Conv2d", "ConvTranspose2d", "MaxPool2d", "BatchNorm2d", "Dropout", "Scale", "LeakyReLU"} <= set(LAYERS)
    assert len(SETTINGS) > 60


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_a_setting_of_a_layer(name, setting):
    layer = LAYERS[name]
    for odd in ("odd", [], object(), -7, float("nan")):
        fresh = type(layer)(**layer.settings())
        before = dict(fresh.settings())
        try:
            right = type(layer)(**{**before, setting: odd}).settings()
        except FastconvError:
            with pytest.raises(FastconvError, match=setting):
                setattr(fresh, setting, odd)
            assert dict(fresh.settings()) == before
        else:
            setattr(fresh, setting, odd)
            assert dict(fresh.settings()) == right


@pytest.mark.parametrize(("name", "setting"), SETTINGS)
def test_a_setting_of_a_built_layer(name, setting):
    """What is no float decides shapes, parameters and plans, which stand."""
    layer = _built(LAYERS[name])
    value = layer.settings()[setting]
    if isinstance(value, float) and setting != "init":
        setattr(layer, setting, value / 2)
        assert layer.settings()[setting] == value / 2
    else:
        with pytest.raises(FastconvError, match=f"^{setting}: got .*allowed: "):
            setattr(layer, setting, value)


def test_a_pair_is_kept_as_a_pair():
    layer = nn.Conv2d(4, 3)
    layer.stride = 2
    assert layer.stride == (2, 2)
    assert layer.build((8, 8, 3)).infer((8, 8, 3)) == (3, 3, 4)


def test_a_float_is_heeded_by_captured_steps_and_plans():
    x = np.random.default_rng(0).standard_normal((16, 6)).astype(np.float32)
    y = np.arange(16, dtype=np.int32) % 3

    def trained(steps_before, momentum):
        model = nn.Sequential(nn.Dense(5), nn.BatchNorm2d(), nn.ReLU(), nn.Dense(3)).build((6,), seed=0)
        trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), lr=0.1))
        for _ in range(steps_before):
            trainer.train_step(x, y)
        model.layers[1].momentum = momentum
        for _ in range(3):
            trainer.train_step(x, y)
        return model.layers[1].running_mean.data

    assert not np.allclose(trained(3, 0.5), trained(3, 0.1))
    assert np.array_equal(trained(0, 0.1), trained(0, 0.1))


def test_what_a_container_is_made_of():
    block = nn.Parallel(nn.Identity(), nn.Identity(), mode="concatenate")
    with pytest.raises(ArgumentError, match=r"mode: got .*a new Parallel with mode='sum'"):
        block.mode = "sum"


@pytest.mark.parametrize("rule", ["SGD", "Adam", "AdamW", "NAdam", "RMSProp", "Adagrad", "Adadelta"])
def test_a_setting_of_an_optimizer(rule):
    layer = nn.Dense(2).build((3,), seed=0)
    optimizer = getattr(fc.optim, rule)(layer.parameters(), lr=0.1)
    for scalar in optimizer.scalars:
        before = optimizer.settings()
        for odd in ("odd", -1.0, float("nan")):
            message = _refusal(lambda name=scalar.name, odd=odd: type(optimizer)(layer.parameters(), **{name: odd}))
            if message:
                assert _refusal(lambda name=scalar.name, odd=odd: setattr(optimizer, name, odd)) == message
        assert optimizer.settings() == before
        setattr(optimizer, scalar.name, before[scalar.name])
    optimizer.step()


def test_state_that_was_not_needed():
    layer = nn.Dense(2).build((3,), seed=0)
    optimizer = fc.optim.SGD(layer.parameters(), lr=0.1)
    with pytest.raises(ArgumentError, match=r"^momentum: got .*a new SGD with momentum=0\.9"):
        optimizer.momentum = 0.9
    with_momentum = fc.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    with_momentum.momentum = 0.5
    with pytest.raises(ArgumentError, match="nesterov"):
        fc.optim.SGD(layer.parameters(), lr=0.1, nesterov=True)
    with_momentum.nesterov = True
    with pytest.raises(ArgumentError, match="nesterov"):
        with_momentum.momentum = 0.0
    assert with_momentum.momentum == 0.5


def _refusal(call):
    try:
        call()
    except ArgumentError as error:
        return str(error)
    return ""


def _optimizers(layer):
    inner = fc.optim.SGD(layer.parameters(), lr=0.1, momentum=0.9)
    yield inner
    yield fc.optim.Muon([layer.weight], lr=0.1)
    yield fc.optim.EMA(fc.optim.SGD(layer.parameters(), lr=0.1), decay=0.9)
    yield fc.optim.Lookahead(fc.optim.SGD(layer.parameters(), lr=0.1))
    yield fc.optim.Pruning(fc.optim.SGD(layer.parameters(), lr=0.1), target=0.5, begin=0, end=4)


def test_what_an_optimizer_was_made_of():
    layer = nn.Dense(2).build((3,), seed=0)
    for optimizer in _optimizers(layer):
        fixed = [n for n in vars(optimizer) if not n.startswith("_") and n not in ("lr", "steps", "epoch", "backend")]
        fixed = [n for n in fixed if n not in {*(scalar.name for scalar in optimizer.scalars), *optimizer.adjusted}]
        assert fixed
        for name in {*fixed, "parameters", "groups"}:
            with pytest.raises(ArgumentError, match=f"^{name}: got .*a new {type(optimizer).__name__}"):
                setattr(optimizer, name, getattr(optimizer, name))
    with pytest.raises(ArgumentError, match=r"^parameters: got .*a new Group"):
        optimizer.groups[0].parameters = ()
    with pytest.raises(ArgumentError, match=r"^own: got .*a new Group"):
        optimizer.groups[0].own = {}


def test_a_loader():
    x, y = np.zeros((10, 3), np.float32), np.zeros(10, np.int32)
    loader = fc.data.DataLoader((x, y), 4)
    for name in ("dataset", "sampling", "augmentation", "mean", "std", "dtype"):
        with pytest.raises(ArgumentError, match=f"^{name}: got .*a new DataLoader"):
            setattr(loader, name, getattr(loader, name))
    odd = {"batch_size": 0, "shuffle": "no", "drop_last": None, "seed": -1, "epoch": 0.5}
    for name, value in odd.items():
        before = getattr(loader, name)
        with pytest.raises(ArgumentError, match=f"{name}: got"):
            setattr(loader, name, value)
        assert getattr(loader, name) == before
    loader.batch_size, loader.drop_last = 3, True
    assert [len(labels) for _, labels in loader] == [3, 3, 3]
    drawn = fc.data.DataLoader((x, y), 4, sampling="balanced")
    with pytest.raises(ArgumentError, match="sampling"):
        drawn.shuffle = False


def test_other_parts():
    stopping = training.EarlyStopping("loss", patience=3)
    with pytest.raises(ArgumentError, match=r"^patience: got .*a new EarlyStopping with patience=5"):
        stopping.patience = 5
    top = fc.metrics.TopKAccuracy(3)
    with pytest.raises(ArgumentError, match=r"^k: got .*a new TopKAccuracy"):
        top.k = 5


@pytest.mark.parametrize("cls", [training.ClipValue, training.ClipNorm, training.ClipGlobalNorm])
def test_a_limit_stays(cls):
    clip = cls(1.0)
    for name in ("limit", "max_norm"):
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(clip, name, 2.0)


def test_a_class_of_ones_own_does_what_it_likes():
    class Mine(nn.Layer):
        def __init__(self, size):
            self.size = size

        def forward(self, x, *, training):
            return x, None

        def backward(self, grad_output, context, *, needs_input_grad=True):
            return grad_output

    layer = Mine(3).build((2,))
    layer.size = "anything"
    assert layer.size == "anything"


@pytest.mark.parametrize(
    ("make", "name", "value", "odd"),
    [
        (lambda inner: fc.optim.EMA(inner, decay=0.9), "decay", 0.1, 1.0),
        (lambda inner: fc.optim.EMA(inner, decay=0.9), "warmup", True, "yes"),
        (lambda inner: fc.optim.Lookahead(inner, k=1), "alpha", 0.9, 1.5),
        (lambda inner: fc.optim.Lookahead(inner, k=1), "k", 2, 0),
    ],
)
def test_what_each_step_reads_may_be_set(make, name, value, odd):
    def trained(change):
        layer = nn.Dense(2).build((3,), np.float64, seed=0)
        optimizer = make(fc.optim.SGD(layer.parameters(), lr=0.1))
        if change:
            with pytest.raises(ArgumentError, match=f"^{name}: got "):
                setattr(optimizer, name, odd)
            setattr(optimizer, name, value)
        for _ in range(3):
            for parameter in layer.parameters():
                parameter.add_grad(np.ones(parameter.shape))
            optimizer.step()
            optimizer.zero_grad()
        if isinstance(optimizer, fc.optim.EMA):
            with optimizer.averaged():
                return np.array(layer.weight.data)
        return np.array(layer.weight.data)

    assert not np.array_equal(trained(True), trained(False))


def test_settings_of_muon():
    layer = nn.Dense(2).build((3,), seed=0)
    optimizer = fc.optim.Muon([layer.weight], lr=0.1)
    for name, value, odd in (
        ("ns_steps", 3, 0),
        ("normalize", True, 1),
        ("adjust_lr_fn", "none", "other"),
        ("ns_coefficients", (1.0, 2.0, 3.0), (1.0,)),
        ("ns_coefficients", (1.0, 2.0, 3.0), 3),
    ):
        with pytest.raises(ArgumentError, match=f"^{name}: got "):
            setattr(optimizer, name, odd)
        setattr(optimizer, name, value)
        assert optimizer.settings()[name] == (list(value) if isinstance(value, tuple) else value)


def test_a_class_that_computes_as_fastconvs_does():
    class MyDropout(nn.Dropout):
        """Another name."""

    class Percent(nn.Dropout):
        """Other arguments."""

        def __init__(self, percent):
            super().__init__(percent / 100)
            self.percent = percent

    for layer in (MyDropout(0.5), Percent(50)):
        for odd in (7, "x"):
            with pytest.raises(ArgumentError, match=r"^p: got"):
                layer.p = odd
        layer.p = 0.25
        assert layer.p == 0.25
    layer.percent = "anything"

    class MyStopping(training.EarlyStopping):
        """Another name."""

    with pytest.raises(ArgumentError, match=r"^patience: got .*a new MyStopping"):
        MyStopping("loss").patience = "x"


def test_what_follows_from_a_setting_follows_it():
    layer = nn.MaxPool2d(3)
    layer.kernel_size = 2
    assert (layer.kernel_size, layer.stride) == ((2, 2), (2, 2))
    strided = nn.MaxPool2d(3, stride=1)
    strided.kernel_size = 2
    assert strided.stride == (1, 1)


def test_initial_values_are_drawn_when_it_is_built():
    layer = nn.PReLU()
    layer.init = 0.5
    layer.build((4,))
    assert layer.init == 0.5
    with pytest.raises(ArgumentError, match=r"^init: got .*before build"):
        layer.init = 0.9
