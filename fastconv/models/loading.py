"""Models that were trained before: by name with their weights, and with another head."""

from __future__ import annotations

import importlib
import inspect
import os
from collections.abc import Hashable
from typing import Any, cast

import numpy as np

from fastconv import _validate as validate
from fastconv._attributes import computes_as
from fastconv._calls import tells_habits, unknown_argument
from fastconv._files import home_path_of
from fastconv._nearest import nearest
from fastconv.errors import ArgumentError, CheckpointError
from fastconv.models.architecture import Architecture
from fastconv.nn import Dense, Scale, Sequential
from fastconv.nn.core.freezing import set_frozen
from fastconv.nn.model.weights import load_weights, read_weights

_OF_THE_FILE = {"dtype": "the weights have a type of their own", "seed": "all weights are those of the file"}


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
        There is no model of that name, the nearest one is named; or the model has no such setting.
    CheckpointError
        The file is missing, damaged, or of another network: the first names that differ, in the model's order, are
        named.

    Examples
    --------
    >>> fc.models.lenet5(seed=0).save_weights("lenet5.safetensors")
    >>> model = fc.models.load("lenet5", weights="lenet5.safetensors")
    >>> model.summary().parameters
    62006
    """
    make = _architecture(name)
    given = next((key for key in _OF_THE_FILE if key in settings), None)
    if given is not None:
        taken = [key for key in inspect.signature(make).parameters if key not in _OF_THE_FILE]
        raise unknown_argument("load", given, ("name", "weights", *taken), absent=_OF_THE_FILE)
    tensors, about = read_weights(home_path_of(weights, "weights"))
    guessed = num_classes is None and "class_names" not in about
    if num_classes is None:
        num_classes = 10 if guessed else len(about["class_names"])
    if "input_shape" in about:
        settings.setdefault("input_shape", tuple(about["input_shape"]))
    dtype = next((array.dtype for array in tensors.values()), np.dtype(np.float32))
    model = make(num_classes, dtype=dtype, seed=0, **settings)
    try:
        load_weights(model, weights)
    except CheckpointError as error:
        if guessed:
            error.args = (f"{error}; num_classes is taken for 10, as the file does not say it",)
        raise
    return model


@tells_habits({})
def fine_tune(
    model: Sequential, num_classes: int, *, freeze_until: int | None = None, seed: int | None = None
) -> Sequential:
    """Return a model of the same layers with another head: the last dense layer is drawn anew for other classes.

    Both models have the other layers in common from then on, see `Sequential.build`: their weights, and what is frozen,
    so that `freeze_until` freezes and unfreezes those of the model given too. With a ``copy.deepcopy`` of it they do
    not. The new head has the `init` and the bias of the old one.

    Parameters
    ----------
    model : Sequential
        Built; it ends in a `Dense`, of no derived class, with nothing but `Scale` after it, which stays.
    num_classes : int
        Outputs of the new head.
    freeze_until : int or None
        Layers before this place, ``model.layers[:freeze_until]``, are frozen, and those from there on are trained,
        whatever was frozen before; the new head always is. -1 freezes all but the head, 0 nothing, and None leaves
        everything as it was.
    seed : int or None
        Of the new head.

    Returns
    -------
    Sequential
        Built; an optimizer for it is made afterwards.

    Raises
    ------
    ArgumentError
        `model` is no such model, or has no layer at that place; `num_classes` is no int of at least 1.

    Examples
    --------
    >>> trained = fc.models.lenet5(seed=0)
    >>> fc.models.fine_tune(trained, 3, freeze_until=-1).summary().trainable
    255
    """
    place = _place_of_head(model)
    shape = model.input_shape  # says so if it is not built
    classes = validate.at_least_one(num_classes, "num_classes")
    count = len(model.layers)
    if freeze_until is not None:
        validate.at_least(freeze_until, 1 - count, "freeze_until", count - 1)
    new = Dense(**{**(model.layers[place].settings() or {}), "out_features": classes})
    tuned = Sequential(*model.layers[:place], new, *model.layers[place + 1 :]).build(shape, model.dtype, seed)
    if freeze_until is not None:
        kept = [
            parameter for layer in tuned.layers[:freeze_until] if layer is not new for parameter in layer.parameters()
        ]
        set_frozen(tuned.parameters(), False)
        set_frozen(kept, True)  # last: a layer that comes on both sides of the place is frozen
    return tuned


def _place_of_head(model: Any) -> int:
    """Return where the last layer but for `Scale` is, which must be a Dense; ArgumentError says what there is."""
    got = validate.kind_of(model)
    if computes_as(cast(Hashable, type(model))) is Sequential:
        place = next((i for i, layer in reversed([*enumerate(model)]) if not isinstance(layer, Scale)), 0)
        if type(model.layers[place]) is Dense:
            return place
        got = f"a {got} that ends in {', '.join(type(layer).__name__ for layer in model[-3:])}"
    raise ArgumentError(
        f"model: got {got}; allowed: a Sequential that ends in a Dense, of no derived class, with nothing but Scale"
        " after it"
    )


def _architecture(name: str) -> Architecture:
    room = importlib.import_module("fastconv.models")
    known = [each for each in room.__all__ if hasattr(getattr(room, each), "unbuilt")]
    if name not in known:
        raise ArgumentError(f"name: got {name!r}; allowed: {', '.join(known)}{nearest(name, known)}")
    made: Architecture = getattr(room, name)
    return made
