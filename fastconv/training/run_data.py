"""The images of a run: of a data set by its name, or of a folder of one's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from fastconv._files import followed, home_path_of
from fastconv.data import SOURCES, Dataset, image_folder
from fastconv.data.statistics import channel_statistics
from fastconv.errors import ArgumentError, DataError
from fastconv.training.named import NAME
from fastconv.training.recipe import Recipe

_TESTS = ("test", "val", "valid", "validation")
_HELD_OUT = 0.2


def load_data(recipe: Recipe) -> tuple[Dataset, Dataset]:
    """Return the images to train on and those to test on."""
    if "images" in recipe.tables["data"]:
        parts = _own_parts(recipe)
        train, test = parts["train"], parts["test"]
    else:
        train, test = _part(recipe, "train"), _part(recipe, "test")
    if not len(train):
        raise DataError(f"data: got no images in {train.name}; allowed: one or more")
    return train, test


def load_test(recipe: Recipe) -> Dataset:
    """Return the images to test on."""
    return _own_parts(recipe)["test"] if "images" in recipe.tables["data"] else _part(recipe, "test")


def _own_parts(recipe: Recipe) -> dict[str, Dataset]:
    data = recipe.tables["data"]
    return load_parts(data["images"], data, limit=data.get("limit"), skip_broken=data.get("skip_broken", False))


def _part(recipe: Recipe, split: Literal["train", "test"]) -> Dataset:
    data = recipe.tables["data"]
    return load_dataset(data[NAME], split, data.get("directory"), data.get("limit"))


def load_dataset(name: str, split: Literal["train", "test"], directory: str | None, limit: int | None) -> Dataset:
    """Return one part of the data set `name`, at most `limit` images of it."""
    if name not in SOURCES:  # of weights that were trained on an own folder
        raise ArgumentError("--images: got none for weights of an own folder; allowed: the folder, or files to predict")
    return SOURCES[name].read(directory, split, limit)


def load_parts(
    directory: str, about: Mapping[str, Any], *, limit: int | None = None, skip_broken: bool = False
) -> dict[str, Dataset]:
    """Return the parts "train" and "test" of a folder, at most `limit` images of each.

    They are folders in it (the second is called test, val, valid or validation); else a fifth of the images of each
    class, always the same ones, is held out.

    Parameters
    ----------
    about : mapping
        ``image_size`` and ``image_fit``, with ``class_names`` and ``input_shape`` where they are settled.
    """
    root = home_path_of(directory, "data.images")
    shape = about.get("input_shape", (32, 32, 3))
    settings: dict[str, Any] = {
        "size": tuple(about.get("image_size") or shape[:2]),
        "fit": about.get("image_fit") or "crop",
        "channels": shape[2],
        "broken": "skip" if skip_broken else "raise",
    }
    names = about.get("class_names")
    split = os.path.isdir(root / "train")
    train = image_folder(root, "train" if split else None, class_names=names, **settings)
    held = next((name for name in _TESTS if os.path.isdir(root / name)), None) if split else None
    if held is None:
        train, test = train.split(round(len(train) * _HELD_OUT), stratified=True)
    else:
        test = image_folder(root, held, class_names=train.class_names, **settings)
    mean, std = channel_statistics(train.images)
    parts = {"train": train, "test": test}
    return {
        part: replace(data.take(slice(limit)), name=f"{followed(root).name}/{part}", mean=mean, std=std)
        for part, data in parts.items()
    }
