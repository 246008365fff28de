"""Models that were trained before: by name with their weights, and with another head."""

from __future__ import annotations

import difflib
import importlib
import os
from typing import Any

import numpy as np

from fastconv import _validate as validate
from fastconv._calls import tells_habits
from fastconv._files import path_of
from fastconv.errors import ArgumentError
from fastconv.models.architecture import Architecture
from fastconv.nn import Dense, Sequential
from fastconv.nn.model.weights import load_weights, read_tensors


@tells_habits({})
def load(name: str, *, weights: str | os.PathLike[str], num_classes: int | None = None, **settings: Any) -> Sequential:
    """Build a model by name, and give it the weights of a file.

    Parameters
    ----------
    name : str
        Such as "resnet20".
    weights : path
        What `model.save_weights` or ``fastconv train`` wrote.
    num_classes : int or None
        By default as many as the file says that it has names for, else 10.
    **settings
        Of the model, such as `form`; also `input_shape`, by default what the file says, or the model's own.

    Returns
    -------
    Sequential
        Built on the active backend, in the type of the weights.

    Raises
    ------
    ArgumentError
        There is no model of that name; the nearest one is named.
    CheckpointError
        The file is missing, damaged, or of another network: the first names that differ are named.

    Examples
    --------
    >>> fc.models.lenet5(seed=0).save_weights("lenet5.safetensors")
    >>> model = fc.models.load("lenet5", weights="lenet5.safetensors")
    >>> model.summary().parameters
    62006
    """
    make = _architecture(name)
    tensors, manifest = read_tensors(path_of(weights, "weights"), kind="weights")
    about = manifest.get("about", {})
    if num_classes is None:
        num_classes = len(about["class_names"]) if "class_names" in about else 10
    if "input_shape" in about:
        settings.setdefault("input_shape", tuple(about["input_shape"]))
    dtype = next((array.dtype for array in tensors.values()), np.dtype(np.float32))
    model = make(num_classes, dtype=dtype, seed=0, **settings)
    load_weights(model, weights)
    return model


@tells_habits({})
def fine_tune(
    model: Sequential, num_classes: int, *, freeze_until: int | None = None, seed: int | None = None
) -> Sequential:
    """Return a model of the same layers with another head: the last dense layer is drawn anew for other classes.

    The layers keep their weights, which both models have in common from then on; see `Sequential.build`.

    Parameters
    ----------
    model : Sequential
        Built; its last layer is a `Dense`.
    num_classes : int
        Outputs of the new head.
    freeze_until : int or None
        Layers before this place are frozen, as in ``model.layers[:freeze_until]``: -1 freezes all but the new head,
        None or 0 nothing.
    seed : int or None
        Of the new head.

    Returns
    -------
    Sequential
        Built; an optimizer for it is made afterwards.

    Raises
    ------
    ArgumentError
        `model` is no such model, or has no layer at that place.

    Examples
    --------
    >>> trained = fc.models.lenet5(seed=0)
    >>> fc.models.fine_tune(trained, 3, freeze_until=-1).summary().trainable
    255
    """
    if not isinstance(model, Sequential) or not isinstance(model.layers[-1], Dense):
        raise ArgumentError(f"model: got {validate.kind_of(model)}; allowed: a Sequential whose last layer is a Dense")
    shape, head = model.input_shape, model.layers[-1]  # says so if it is not built
    count = len(model.layers)
    if freeze_until is not None:
        validate.at_least(freeze_until, 1 - count, "freeze_until", count - 1)
    new = Dense(num_classes, bias=head.bias is not None)
    tuned = Sequential(*model.layers[:-1], new).build(shape, model.dtype, seed)
    for layer in tuned.layers[: freeze_until or 0]:
        if layer.parameters():
            layer.freeze()
    return tuned


def _architecture(name: str) -> Architecture:
    room = importlib.import_module("fastconv.models")
    known = [each for each in room.__all__ if hasattr(getattr(room, each), "unbuilt")]
    if name not in known:
        nearest = difflib.get_close_matches(str(name), known, 1)
        hint = f" (nearest: {nearest[0]!r})" if nearest else ""
        raise ArgumentError(f"name: got {name!r}; allowed: {', '.join(known)}{hint}")
    made: Architecture = getattr(room, name)
    return made
