"""A trained network in a file: its weights, and in the metadata what they are weights of."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fastconv.cli.choices import MODELS, make_model
from fastconv.errors import ArgumentError
from fastconv.nn import Layer
from fastconv.nn.weights import host_tensors, load_weights, read_tensors, write_tensors


def save_trained(path: Path, model: Layer, about: Mapping[str, Any]) -> None:
    """Write the weights of `model`; `about` has at least ``model``, ``dataset``, ``class_names``, ``mean``, ``std``."""
    write_tensors(path, host_tensors(model), {"kind": "weights", "about": dict(about)})


def load_trained(options: argparse.Namespace) -> tuple[Layer, dict[str, Any]]:
    """Return the model that the user's weights file is of, with those weights, and what the file says about it.

    Raises
    ------
    CheckpointError
        The file is missing, damaged, or does not fit the model.
    ArgumentError
        Nobody says which model it is.
    """
    tensors, manifest = read_tensors(options.weights, kind="weights")
    about: dict[str, Any] = manifest.get("about", {})
    name = options.model or about.get("model")
    if name not in MODELS:
        raise ArgumentError(f"--model: got {name}, as {options.weights} names none; allowed: {', '.join(MODELS)}")
    dtype = next(iter(tensors.values())).dtype if tensors else np.dtype(np.float32)
    model = make_model(name, dtype=dtype)
    load_weights(model, options.weights)
    return model, about
