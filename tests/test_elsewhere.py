"""Names of elsewhere are told what they are called here."""

from __future__ import annotations

import copy
import inspect
import operator
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fastconv as fc
from fastconv._elsewhere import NAMES
from fastconv.errors import UnknownAttributeError
from tests.test_namespace import NAMES as PUBLIC

_ROOMS = [
    room
    for room in (*PUBLIC, "data", "functional", "optim.schedules")
    if room not in ("random", "training.diagnostics")
]


def _room(name):
    return operator.attrgetter(name)(fc) if name else fc


@pytest.mark.parametrize(
    ("room", "name", "here"),
    [
        ("nn", "Linear", r"fc.nn.Dense\(out_features\)"),
        ("nn", "Conv2D", "nearest: 'Conv2d'"),
        ("nn", "BatchNormalization", r"fc.nn.BatchNorm2d\(\)"),
        ("nn", "MaxPooling2D", "nearest: 'MaxPool2d'"),
        ("nn", "AvgPooling2D", "nearest: 'AvgPool2d'"),
        ("nn", "AveragePooling2D", "fc.nn.AvgPool2d"),
        ("nn", "CrossEntropyLoss", "fc.losses.SoftmaxCrossEntropy"),
        ("nn", "Module", "fc.nn.Layer"),
        ("nn", "functional", "fc.functional"),
        ("nn", "Adam", "fc.optim.Adam"),
        ("losses", "CrossEntropyLoss", "fc.losses.SoftmaxCrossEntropy"),
        ("losses", "MSELoss", "fc.losses.MeanSquaredError"),
        ("losses", "BCEWithLogitsLoss", "fc.losses.BinaryCrossEntropy"),
        ("losses", "SparseCategoricalCrossentropy", "fc.losses.SoftmaxCrossEntropy"),
        ("optim", "RMSprop", "nearest: 'RMSProp'"),
        ("optim", "lr_scheduler", "fc.optim.schedules"),
        ("optim.schedules", "StepLR", "fc.optim.schedules.Step"),
        ("optim.schedules", "CosineAnnealingLR", "fc.optim.schedules.Cosine"),
        ("optim.schedules", "OneCycleLR", "fc.optim.schedules.OneCycle"),
        ("metrics", "CategoricalAccuracy", r"fc.metrics.Accuracy\(\)"),
        ("data", "CIFAR10", "nearest: 'cifar10'"),
        ("data", "RandomRotation", r"fc.data.Affine\(degrees"),
        ("losses", "categorical_crossentropy", "fc.losses.SoftmaxCrossEntropy"),
        ("metrics", "f1_score", r"fc.metrics.F1\(\)"),
        ("models", "ResNet18", "nearest: 'resnet18'"),
        ("functional", "cross_entropy", "fc.losses.SoftmaxCrossEntropy"),
        ("training", "clip_grad_norm_", r"fc.training.ClipGlobalNorm\(limit\)"),
        ("training", "clip_grad_value_", r"fc.training.ClipValue\(limit\)"),
        ("training", "ReduceLROnPlateau", "fc.optim.schedules.ReduceOnPlateau"),
        ("training", "EarlyStoping", "nearest: 'EarlyStopping'"),
        ("", "Conv2d", "fc.nn.Conv2d"),
        ("", "optimizers", "fc.optim"),
        ("nn", "DataParallel", r"fc.parallel.DataParallel\(\), given to fc.Trainer as parallel"),
        ("nn", "LayerNorm", r"fc.nn.GroupNorm\(num_groups\), 1: all of an image together"),
        ("nn", "InstanceNorm2d", r"fc.nn.GroupNorm\(num_groups\), a group for each channel"),
        ("nn", "init", "an argument of layers"),
        ("nn", "Swish", r"fc.nn.SiLU\(\)"),
        ("losses", "SmoothL1Loss", r"fc.losses.Huber\(delta\), which is delta times SmoothL1Loss\(beta=delta\)"),
        ("losses", "MultiMarginLoss", "fc.losses.MulticlassHinge.*not divided by the number of classes"),
        ("losses", "KLDivLoss", "fc.losses.SoftmaxCrossEntropy.*the same gradient"),
        ("optim.schedules", "CosineDecay", r"fc.optim.schedules.Cosine\(lr, total_steps, final_lr=alpha \* lr\)"),
        ("optim.schedules", "LambdaLR", "fc.optim.schedules.Function.*the rate itself"),
        ("metrics", "BinaryAccuracy", "fc.metrics.Accuracy.*two scores"),
        ("data", "random_split", r"dataset.split\(count\)"),
        ("data", "RandomVerticalFlip", r"fc.data.Flip\(\) mirrors left and right only"),
        ("training", "TerminateOnNaN", "fc.training.diagnostics.TerminateOnNaN"),
        ("", "autocast", "fc.precision"),
        ("", "zeros", r"NumPy's, and fc.asarray\(array\)"),
        ("functional", "softmax", r"fc.nn.Softmax\(\)"),
    ],
)
def test_a_name_of_elsewhere_is_told(room, name, here):
    full = f"fastconv.{room}".removesuffix(".")
    with pytest.raises(AttributeError) as caught:
        getattr(_room(room), name)
    assert isinstance(caught.value, UnknownAttributeError)
    assert re.fullmatch(rf"{name}: got a name that {full} has not; allowed: its own \({here}.*\)", str(caught.value))


def test_what_is_told_is_there():
    for name, here in NAMES.items():
        for found in re.findall(r"\bfc((?:\.\w+)+)", here):
            assert operator.attrgetter(found[1:])(fc) is not None, name


@pytest.mark.parametrize("room", _ROOMS)
def test_what_tools_ask_for_is_not_there(room):
    module = _room(room)
    for name in ("__wrapped__", "__path__x", "_repr_html_", "_x", "pytest_plugins", "Linearr"):
        assert not hasattr(module, name)
    assert getattr(module, "__wrapped__", 3) == 3
    with pytest.raises(AttributeError) as caught:
        _ = module.__wrapped__
    assert type(caught.value) is AttributeError


def test_what_is_told_takes_the_arguments_that_it_names():
    called = [call for told in NAMES.values() for call in re.findall(r"fc\.([\w.]+)\(([^()]+)\)", told)]
    assert len(called) > 30
    for path, arguments in called:
        taken = inspect.signature(operator.attrgetter(path)(fc)).parameters
        named = re.findall(r"(?:^|, )([a-z]\w*)", arguments)
        assert set(named) <= set(taken), (path, arguments)


def test_every_name_in_the_guide_is_told_or_there():
    """docs/moving.md promises it: of what stands on the left, what is a class or function of a room."""
    text = (Path(__file__).parents[1] / "docs" / "moving.md").read_text(encoding="utf-8")
    rooms = {"layers": "nn", "nn": "nn", "losses": "losses", "optim": "optim", "optimizers": "optim"}
    rooms |= {"lr_scheduler": "optim.schedules", "callbacks": "training"}
    left = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    found = [pair for cell in left for pair in re.findall(r"`(\w+)\.(\w+)", cell) if pair[0] in rooms]
    assert len(found) > 20
    for room, name in found:
        try:
            getattr(_room(rooms[room]), name)
        except AttributeError as error:
            assert str(error).endswith(")"), (room, name)  # noqa: PT017


def test_to_ask_whether_a_name_is_there_loads_nothing():
    code = (
        "import sys, fastconv; before = set(sys.modules); hasattr(fastconv, 'Conv2d'); hasattr(fastconv, '__x__');"
        "print(*sorted(name for name in set(sys.modules) - before if 'fastconv' in name))"
    )
    got = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert got.stdout.split() == ["fastconv._attributes", "fastconv._calls", "fastconv._elsewhere"]


def test_the_error_is_copied():
    with pytest.raises(AttributeError) as caught:
        _ = fc.nn.Linear
    for other in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert type(other) is UnknownAttributeError
        assert "fc.nn.Dense(out_features)" in str(other)


@pytest.mark.parametrize(
    ("words", "here"),
    [
        ("from fastconv.nn import Linear", r"\(fc.nn.Dense\(out_features\)\)"),
        ("from fastconv.nn import ReLU, Conv2D", r"\(nearest: 'Conv2d'\)"),
        ("from fastconv.losses import CrossEntropyLoss", r"\(fc.losses.SoftmaxCrossEntropy\(\), .*\)"),
        ("from fastconv.optim import RMSprop", r"\(nearest: 'RMSProp'\)"),
        ("from fastconv.data import ImageFolder", r"\(fc.data.image_folder\(directory\)\)"),
        ("from fastconv.training import ReduceLROnPlateau", r"\(fc.optim.schedules.ReduceOnPlateau.*\)"),
        ("from fastconv import Linear", r"\(fc.nn.Dense\(out_features\)\)"),
    ],
)
def test_an_import_is_told_too(words, here):
    name = words.split()[-1]
    with pytest.raises(ImportError, match=rf"^{name}: got a name that fastconv\S* has not; allowed: its own {here}$"):
        exec(words, {})


def test_what_is_there_is_imported():
    names = {}
    exec("from fastconv.nn import Dense\nfrom fastconv import cli, nn\nfrom fastconv.nn import core", names)
    assert names["Dense"] is fc.nn.Dense
    with pytest.raises(ImportError, match=r"^cannot import name '_x' from 'fastconv.nn'"):
        exec("from fastconv.nn import _x", {})
