"""Folders of runs, written without training."""

import numpy as np

import fastconv as fc
from fastconv.data import shapes10
from fastconv.training.environment import environment
from fastconv.training.history import History
from fastconv.training.recipe import Recipe
from fastconv.training.run_folder import RunFolder

COUNT = 40  # test images
HISTORY = History({
    "loss": [2.25, 1.5, 0.7512345678],
    "accuracy": [0.1, 0.5, 0.75],
    "val_loss": [2.5, 1.75, 1.25],
    "val_accuracy": [0.125, 0.375, 0.625],
    "learning_rate": [0.1, 0.05, 0.01],
    "seconds": [1.0, 1.0, 1.0],
    "images_per_second": [100.0, 120.0, 110.0],
})  # fmt: skip
TABLES = {
    "run": {"epochs": 3, "seed": 0, "dtype": "float32", "backend": "numpy", "save_every_steps": 0},
    "data": {"name": "shapes10", "limit": COUNT},
    "loader": {"batch_size": 4},
    "model": {"name": "lenet5"},
    "optimizer": {"name": "SGD", "lr": 0.1},
    "schedule": {"name": "Constant"},
    "loss": {"name": "SoftmaxCrossEntropy"},
}


LOSSES = History({name: HISTORY.history[name] for name in ("loss", "val_loss")})


def make_run(directory, history=LOSSES, *, weights=True, class_names=None, **tables):
    """Write the folder of a run of lenet5 on images that are drawn; its weights are those of the beginning."""
    recipe = Recipe.of(TABLES | tables)
    folder = RunFolder(directory)
    directory.mkdir(parents=True)
    data = shapes10("test", size=1)
    names = data.class_names if class_names is None else class_names
    with fc.use_backend("numpy"):
        folder.write_recipe(recipe)
        folder.write_environment({}, [{"first_save": 0, **environment()}])
        folder.write_log(history)
        if weights:
            model = recipe.make_model((32, 32, 3), len(names))
            about = {"model": "lenet5", "dataset": "shapes10", "input_shape": (32, 32, 3), "class_names": names}
            folder.write_weights(model, about | {"mean": data.mean, "std": data.std, "recipe": recipe.tables})
    return folder


def long_history(epochs):
    """Return a history of so many epochs, of numbers that have many digits."""
    rng = np.random.default_rng(epochs)
    return History({name: rng.random(epochs).tolist() for name in HISTORY.history})
