"""Parts of a run by name, from what the rooms export and their constructors take."""

import inspect
import re
import tomllib

import numpy as np
import pytest

import fastconv as fc
from fastconv import losses, metrics, models, optim
from fastconv.errors import ArgumentError
from fastconv.kernels.pointwise import POINTWISE
from fastconv.optim import schedules
from fastconv.training import named, toml

from .trainers import model_of


def test_all_that_the_rooms_export_can_be_chosen():
    found = named.choices("optimizer")
    assert {"SGD", "Adam"} <= set(found) <= set(optim.__all__) - {"Optimizer", "schedules"}
    assert all(issubclass(each, optim.Optimizer) for each in found.values())
    assert set(named.choices("loss")) == {name for name in losses.__all__ if inspect.isclass(getattr(losses, name))} - {
        "DeclaredLoss",
        "Loss",
    }
    assert set(named.choices("metric")) == set(metrics.__all__) - {"Metric", "Sums"}
    assert set(named.choices("model")) == set(models.__all__) - {"PrunedExport", "export_pruned", "fine_tune", "load"}
    assert {"Constant", "Cosine", "OneCycle", "Step"} <= set(named.choices("schedule"))
    assert "FlipCrop" in named.choices("augmentation")
    assert {"ModelCheckpoint", "ProgressDisplay"} <= set(named.choices("callback"))


@pytest.mark.parametrize("name", ["OneCycle", "one-cycle", "one_cycle", "ONECYCLE"])
def test_a_name_may_be_spelled_as_on_a_command_line(name):
    assert named.canonical("schedule", name) == "OneCycle"


@pytest.mark.parametrize(
    ("kind", "name", "nearest"),
    [
        ("optimizer", "adan", "Adam"),
        ("model", "lenet", "lenet5"),
        ("loss", "softmaxcrossentrpy", "SoftmaxCrossEntropy"),
    ],
)
def test_a_wrong_name_gets_the_nearest_one_and_all(kind, name, nearest):
    with pytest.raises(ArgumentError) as caught:
        named.canonical(kind, name)
    assert f"{kind}: got '{name}'; allowed: " in str(caught.value)
    assert f"(nearest: '{nearest}')" in str(caught.value)
    assert all(each in str(caught.value) for each in named.choices(kind))


def test_settings_and_what_is_given_arrive():
    parameters = model_of().parameters()
    made = named.build(
        "optimizer", {"name": "sgd", "momentum": 0.5}, {"parameters": parameters, "lr": 0.25, "total_steps": 3}
    )
    assert (type(made), made.lr, made.settings()["momentum"]) == (optim.SGD, 0.25, 0.5)
    made = named.build("schedule", {"name": "Step", "milestones": [3, 5]}, {"lr": 1.0, "milestones": (1,)})
    assert made == schedules.Step(1.0, (3, 5))


@pytest.mark.parametrize(
    ("kind", "spec", "message"),
    [
        ("optimizer", {"name": "Adam", "weight_decai": 1}, r"optimizer Adam: got .*\(nearest: 'weight_decay'\)"),
        ("schedule", {"name": "Cosine", "lr": 1.0}, "schedule Cosine: got no total_steps; allowed: with total_steps"),
        ("schedule", {"name": "Constant", "lr": -1}, "schedule Constant: lr: got -1"),
        ("schedule", {"name": "Constant", "lr": "fast"}, "schedule Constant: .*fast"),
        ("loss", {"name": "SoftmaxCrossEntropy", "label_smoothing": [1]}, "loss SoftmaxCross.*label_smoothing"),
        ("loss", {}, "loss: got None; allowed: "),
        ("metric", {"name": 3}, "metric: got 3; allowed: "),
    ],
)  # fmt: skip
def test_what_a_class_refuses_is_said_with_its_name(kind, spec, message):
    with pytest.raises(ArgumentError, match=message):
        named.build(kind, spec, {})


def test_the_resolved_form_has_the_defaults_and_gives_the_same():
    spec = named.resolved("schedule", {"name": "cosine", "lr": 0.5})
    assert spec == {"name": "Cosine", "lr": 0.5, "warmup_steps": 0, "final_lr": 0.0, "by": "step"}
    assert named.resolved("schedule", spec) == spec
    assert named.build("schedule", spec, {"total_steps": 4}) == schedules.Cosine(0.5, 4)


def test_the_name_of_an_activation_stands_for_its_class():
    """What takes a class as `activation` has it by name in a file, in any spelling."""
    spec = named.resolved("model", {"name": "mnist_cnn", "activation": "leaky-relu"})
    assert spec["activation"] == "LeakyReLU"
    model = named.build("model", spec, {"input_shape": (28, 28, 1), "seed": 0})
    assert [type(layer) for layer in model.layers].count(fc.nn.LeakyReLU) == 3
    assert set(named.choices("activation")) == {function.layer for function in POINTWISE.values()}
    with pytest.raises(ArgumentError, match=r"activation: got 'sigmoidal'; allowed: .*\(nearest: 'Sigmoid'\)"):
        named.resolved("model", {"name": "mnist_cnn", "activation": "sigmoidal"})


class Wrapped:
    def __init__(self, schedule, *, steps=3):
        self.schedule, self.steps = schedule, steps


def test_a_part_within_a_part_is_built_too(monkeypatch):
    monkeypatch.setattr(schedules, "Wrapped", Wrapped, raising=False)
    monkeypatch.setattr(Wrapped, "__module__", schedules.__name__)
    if hasattr(schedules, "__all__"):
        monkeypatch.setattr(schedules, "__all__", [*schedules.__all__, "Wrapped"])
    spec = {"name": "wrapped", "schedule": {"name": "constant"}}
    inner = {"name": "Constant", "by": "step"}
    assert named.resolved("schedule", spec) == {"name": "Wrapped", "steps": 3, "schedule": inner}
    made = named.build("schedule", spec, {"lr": 0.5})
    assert made.schedule == schedules.Constant(0.5)


@pytest.mark.parametrize(("given", "told"), [({}, "none"), ({"schedule": "Step"}, "'Step'")])
def test_a_part_that_goes_around_another_says_how_that_is_given(given, told):
    inner = given.get("schedule", "Cosine")
    advice = f"got {told}; allowed: a table of it, schedule.schedule with a name (--set schedule.schedule.name={inner})"
    with pytest.raises(ArgumentError, match=re.escape(f"schedule Warmup: schedule: {advice}")):
        named.build("schedule", {"name": "Warmup", "warmup_steps": 3, **given}, {})


@pytest.mark.parametrize("kind", ["loss", "metric", "augmentation"])
def test_every_part_is_built_from_its_resolved_form(kind):
    """Each class has settings that a file can hold, so that a run can be trained again from it."""
    for name in named.choices(kind):
        spec = tomllib.loads(toml.dumps(named.resolved(kind, {"name": name})))
        assert type(named.build(kind, spec, {})).__name__ == name


def test_an_optimizer_is_built_from_its_resolved_form():
    with fc.use_backend("numpy"):
        parameters = model_of(0, np.float32).parameters()
        for name in ("SGD", "Adam"):
            spec = tomllib.loads(toml.dumps(named.resolved("optimizer", {"name": name})))
            made = named.build("optimizer", spec, {"parameters": parameters, "lr": 0.1})
            assert (type(made).__name__, made.settings().items() <= spec.items()) == (name, True)
