"""A trained network: the folder of a run, or its weights in a file that say what they are weights of."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastconv._files import home_path_of
from fastconv.cli import own_images
from fastconv.cli.choices import DATASETS, MODELS
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.nn import Layer
from fastconv.nn.model.weights import load_weights, read_weights
from fastconv.training import named
from fastconv.training.named import NAME
from fastconv.training.run_folder import RunFolder


def load_trained(options: argparse.Namespace) -> tuple[Layer, dict[str, Any]]:
    """Return the model that the user's weights are of, with those weights, and what they say about it.

    Of the folder of a run, `options` get where its images are, and how many, unless they say something else.
    """
    _check_there(options.weights)
    if os.path.isdir(options.weights):
        _take_folder(options)
    tensors, about = read_weights(options.weights)
    name = _agreed("model", options, about, MODELS)
    dtype = next(iter(tensors.values())).dtype if tensors else np.dtype(np.float32)
    classes, shape = len(about.get("class_names", range(10))), tuple(about.get("input_shape", (32, 32, 3)))
    spec = about.get("recipe", {}).get("model", {})
    spec = spec if spec.get(NAME) == name else {NAME: name}
    model: Layer = named.build("model", spec, {"num_classes": classes, "input_shape": shape, "dtype": dtype})
    load_weights(model, options.weights)
    return model, about


def dataset_of(options: argparse.Namespace, about: Mapping[str, Any]) -> str:
    """Return the data set that the weights were trained on, or that the user names for weights that name none."""
    return _agreed("dataset", options, about, (*DATASETS, own_images.NAME))


def _check_there(run: str) -> None:
    try:
        os.stat(home_path_of(run, "run"))
    except FileNotFoundError:
        raise CheckpointError(
            f"run: got {run!r}, which does not exist; allowed: the folder of a run, or the weights.safetensors in it"
        ) from None
    except OSError:
        pass  # what is wrong with it is told by what reads it


def _take_folder(options: argparse.Namespace) -> None:
    folder = RunFolder.open(options.weights)
    data = folder.recipe.tables["data"]
    if not folder.weights.is_file():
        raise CheckpointError(
            f"run: got {options.weights!r}, where there are no weights yet; allowed: a run whose first epoch is over"
        )
    options.weights = str(folder.weights)
    if options.images is None and "images" in data:
        own_images.check_alone(options, f"{folder.directory}, a run on a folder of images", "dataset", "data_dir")
        options.images = data["images"]
        options.skip_broken = options.skip_broken or data.get("skip_broken", False)
    if options.images is None and options.data_dir is None:
        options.data_dir = data.get("directory")
    if options.limit is None:
        options.limit = data.get("limit")


def _agreed(what: str, options: argparse.Namespace, about: Mapping[str, Any], choices: tuple[str, ...]) -> str:
    given, stored = getattr(options, what), about.get(what)
    if stored is None and given is None:
        raise ArgumentError(f"--{what}: got none, and {options.weights} names none; allowed: {', '.join(choices)}")
    if stored is not None and given not in (None, stored):
        raise ArgumentError(
            f"--{what}: got {given} for {options.weights}, weights of another {what}; allowed: {stored}, or nothing"
        )
    name: Any = stored if given is None else given
    if name not in choices:
        raise ArgumentError(f"--{what}: got {name}, named by {options.weights}; allowed: {', '.join(choices)}")
    return str(name)
