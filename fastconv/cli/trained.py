"""A trained network in a file: its weights, and in the metadata what they are weights of."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.cli import own_images
from fastconv.cli.choices import DATASETS, MODELS, make_model
from fastconv.errors import ArgumentError
from fastconv.nn import Layer
from fastconv.nn.model.weights import host_tensors, load_weights, read_tensors, write_tensors


def save_trained(path: Path, model: Layer, about: Mapping[str, Any]) -> None:
    """Write the weights of `model`; `about` has at least model, dataset, input_shape, class_names, mean, std."""
    write_tensors(path, host_tensors(model), {"kind": "weights", "about": dict(about)})


def load_trained(options: argparse.Namespace) -> tuple[Layer, dict[str, Any]]:
    """Return the model that the user's weights file is of, with those weights, and what the file says about it."""
    tensors, manifest = read_tensors(options.weights, kind="weights")
    about: dict[str, Any] = manifest.get("about", {})
    name = _agreed("model", options, about, MODELS)
    dtype = next(iter(tensors.values())).dtype if tensors else np.dtype(np.float32)
    shape = about.get("input_shape", (32, 32, 3))
    model = make_model(name, len(about.get("class_names", range(10))), shape, dtype=dtype)
    load_weights(model, options.weights)
    return model, about


def dataset_of(options: argparse.Namespace, about: Mapping[str, Any]) -> str:
    """Return the data set that the weights were trained on, or that the user names for weights that name none."""
    return _agreed("dataset", options, about, (*DATASETS, own_images.NAME))


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
