"""Recipes: what tables may hold, and that a trainer is what they say."""

import tomllib

import numpy as np
import pytest

import fastconv as fc
from fastconv.data import FlipCrop, shapes10
from fastconv.errors import ArgumentError
from fastconv.metrics import F1
from fastconv.optim import schedules
from fastconv.training import ModelCheckpoint, toml
from fastconv.training.recipe import Recipe

WHOLE = {
    "run": {"epochs": 4, "seed": 3, "dtype": "float32"},
    "data": {"name": "shapes10", "limit": 20},
    "loader": {"batch_size": 5},
    "model": {"name": "lenet5"},
    "optimizer": {"name": "sgd", "lr": 0.25, "momentum": 0.5},
    "schedule": {"name": "step"},
    "loss": {"name": "SoftmaxCrossEntropy", "label_smoothing": 0.25},
    "augmentation": [{"name": "FlipCrop", "pad": 2}],
    "metrics": [{"name": "F1", "average": "weighted"}],
    "callbacks": [{"name": "ModelCheckpoint", "directory": "somewhere"}],
}


def changed(**tables):
    return {**WHOLE, **tables}


def test_a_trainer_is_what_the_tables_say():
    with fc.use_backend("numpy"):
        recipe = Recipe.of(WHOLE)
        data = shapes10(size=20)
        loader = recipe.make_loader(data)
        model = recipe.make_model((32, 32, 3), 7)
        trainer = recipe.make_trainer(model, len(loader), ())
    assert (loader.batch_size, loader.augmentation, loader.seed, len(loader)) == (5, FlipCrop(pad=2), 3, 4)
    assert model.infer((32, 32, 3)) == (7,)
    assert (trainer.optimizer.lr, trainer.optimizer.momentum, trainer.seed) == (0.25, 0.5, 3)
    assert trainer.schedule == schedules.Step(0.25, (8, 12))
    assert trainer.loss.label_smoothing == 0.25
    assert [type(metric) for metric in trainer.metrics] == [F1]
    assert [type(callback) for callback in trainer.callbacks] == [ModelCheckpoint]


def test_the_complete_form_is_a_fixed_point_that_a_file_holds():
    recipe = Recipe.of(WHOLE)
    assert recipe.tables["optimizer"] == {
        **{"name": "SGD", "lr": 0.25, "momentum": 0.5, "weight_decay": 0.0},
        **{key: value for key, value in recipe.tables["optimizer"].items() if key not in WHOLE["optimizer"]},
    }
    assert "total_steps" not in recipe.tables["schedule"]  # it follows from the epochs, which may become others
    again = Recipe.of(tomllib.loads(toml.dumps(recipe.tables)))
    assert again == recipe


def test_another_number_of_epochs_is_another_schedule():
    recipe = Recipe.of(changed(schedule={"name": "Cosine"})).changed("run", epochs=10)
    with fc.use_backend("numpy"):
        model = recipe.make_model((32, 32, 3), 10)
        trainer = Recipe.of(recipe.tables | {"callbacks": []}).make_trainer(model, 3, ())
    assert trainer.schedule == schedules.Cosine(0.25, 30)


def test_without_a_schedule_or_metrics_there_are_none():
    tables = {key: value for key, value in WHOLE.items() if key not in ("schedule", "metrics", "callbacks")}
    with fc.use_backend("numpy"):
        recipe = Recipe.of(tables)
        trainer = recipe.make_trainer(recipe.make_model((32, 32, 1), 2), 3, ())
    assert (trainer.schedule, trainer.metrics, trainer.callbacks) == (None, None, ())


def test_settings_of_a_model_arrive():
    with fc.use_backend("numpy"):
        run = {"epochs": 1, "seed": 0, "dtype": "float64"}
        recipe = Recipe.of(changed(model={"name": "resnet9", "width": 8}, run=run))
        model = recipe.make_model((32, 32, 3), 10)
    assert model.dtype == np.float64
    assert model.parameters().count < 200_000


WRONG = {
    "table": ({"optimiser": {}}, r"recipe: got the table 'optimiser'; allowed: .*\(nearest: 'optimizer'\)"),
    "entry": ({"run": {"epoch": 1}}, r"run: got the entry 'epoch'; allowed: epochs.*\(nearest: 'epochs'\)"),
    "name": ({"model": {"name": "resnet"}}, r"model: got 'resnet'; allowed: .*\(nearest: 'resnet"),
    "no name": ({"loss": {}}, "loss: got None; allowed: "),
    "setting": ({"optimizer": {"name": "SGD", "momentom": 1}}, r"got the setting 'momentom'.*\(nearest: 'momentum'\)"),
    "loader": ({"loader": {"batchsize": 1}}, r"loader: got the setting 'batchsize'.*\(nearest: 'batch_size'\)"),
    "loader's own": ({"loader": {"seed": 1}}, "loader: got the setting 'seed'; allowed: "),
    "of the data": ({"model": {"name": "mlp", "num_classes": 3}}, "model mlp: got the setting 'num_classes'"),
    "no table": ({"run": 3}, r"run: got 3; allowed: a table, \[run\]"),
    "no list": ({"metrics": ["F1"]}, r"metrics: got \['F1'\]; allowed: tables, \[\[metrics\]\]"),
    "format": ({"format": 2}, "format: got 2; allowed: 1"),
    "type": ({"run": {"epochs": "3"}}, "run.epochs: got '3'; allowed: "),
    "fraction": ({"run": {"epochs": 2.5}}, "run.epochs: got 2.5; allowed: "),
    "zero": ({"run": {"epochs": 0}}, "run.epochs: got 0; allowed: "),
    "dtype": ({"run": {"dtype": "float16"}}, "run.dtype: got 'float16'; allowed: float32, float64"),
    "sides": ({"data": {"image_size": [3]}}, r"data.image_size: got \[3\]; allowed: \[height, width\]"),
    "side": ({"data": {"image_size": [3, 0]}}, "data.image_size: got 0"),
    "truth": ({"data": {"skip_broken": 1}}, "data.skip_broken: got 1; allowed: True, False"),
    "text": ({"data": {"images": 3}}, "data.images: got 3; allowed: a string"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_what_is_allowed(name):
    tables, message = WRONG[name]
    with pytest.raises(ArgumentError, match=message):
        Recipe.of(tables)


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        ({"optimizer": {"name": "SGD", "lr": -1}}, "optimizer SGD: lr: got -1"),
        ({"schedule": {"name": "OneCycle", "peak": 3}}, "schedule OneCycle: peak: got 3"),
        ({"trainer": {"capture": True}}, "trainer: capture: got True on the backend 'numpy'"),
        ({"trainer": {"capture": "False"}}, "trainer: capture: got 'False'; allowed: None, True, False"),
        ({"metrics": [{"name": "F1"}, {"name": "f1"}]}, "trainer: metrics: got two that are called 'f1'"),
    ],
)
def test_what_a_constructor_refuses_is_said_of_its_table(tables, message):
    with fc.use_backend("numpy"):
        recipe = Recipe.of({**WHOLE, **tables})
        with pytest.raises(ArgumentError, match=message):
            recipe.make_trainer(recipe.make_model((32, 32, 3), 10), 4, ())
    for wrong in (0, -1, "128", 2.5, True):
        with pytest.raises(ArgumentError, match=f"loader: batch_size: got {wrong!r}; allowed: an int of at least 1"):
            Recipe.of(changed(loader={"batch_size": wrong}))


def test_a_recipe_of_several_processes_says_how_they_share():
    recipe = Recipe.of(changed(parallel={"shards": 4}))
    assert recipe.tables["parallel"]["deterministic"] is True
    with fc.use_backend("numpy"):
        trainer = recipe.make_trainer(recipe.make_model((32, 32, 3), 10), 4, ())
    assert trainer.parallel.shards == 4
    assert "parallel" not in Recipe.of(WHOLE).tables
    with pytest.raises(ArgumentError, match=r"parallel: got the setting 'shard'.*shards"):
        Recipe.of(changed(parallel={"shard": 4}))


def test_an_optimizer_without_a_rate_is_named():
    recipe = Recipe.of({**WHOLE, "optimizer": {"name": "Pruning"}})
    with pytest.raises(ArgumentError, match=r"^optimizer Pruning: got no lr; allowed: with lr$"):
        _ = recipe.learning_rate
