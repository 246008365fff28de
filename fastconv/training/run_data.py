"""The images of a run: of a data set by its name, or of a folder of one's own."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from fastconv._files import followed, home_path_of
from fastconv.data import SOURCES, Dataset, image_folder
from fastconv.data.images import class_folders
from fastconv.data.statistics import channel_statistics
from fastconv.errors import ArgumentError, DataError
from fastconv.training.named import NAME
from fastconv.training.recipe import Recipe

_TRAIN = ("train", "training")
_TESTS = ("test", "testing", "val", "valid", "validation")
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
    if len(train.class_names) < 2:
        raise DataError(
            f"data: got one class, {train.class_names[0]}, in {train.name}; allowed: two or more to tell apart, a"
            " folder for each"
        )
    if not len(test):
        raise DataError(
            f"data: got no images to test on, of {len(train)} in all; allowed: three or more, a fifth of which is held"
            " out, or a folder to test on"
        )
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

    They are folders in it (the second is called test, testing, val, valid or validation, in any case); else a fifth of
    the images of each class, always the same ones, is held out. Of fewer than all each class has its share.

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
    split, held = _folders_of_parts(root)
    train = image_folder(root, split, class_names=names, **settings)
    if held is None:
        train, test = train.split(round(len(train) * _HELD_OUT), stratified=True)
    else:
        test = image_folder(root, held, class_names=train.class_names, **settings)
    mean, std = channel_statistics(train.images)
    parts = {"train": train, "test": test}
    return {
        part: replace(at_most(data, limit, own=True), name=f"{followed(root).name}/{part}", mean=mean, std=std)
        for part, data in parts.items()
    }


def at_most(data: Dataset, limit: int | None, *, own: bool) -> Dataset:
    """Return the first images; of an own folder each class's share, as the first ones would all be of one class."""
    if limit is None or limit >= len(data):
        return data
    return data.split(limit, stratified=True)[1] if own else data.take(slice(limit))


def _folders_of_parts(root: Path) -> tuple[str | None, str | None]:
    """Return the names of the folders to train on and to test on; without the first, all folders are classes.

    A class may be called train, beside others such as car.
    """
    folders = class_folders(root)
    trains = [name for name in folders if name.lower() in _TRAIN]
    tests = sorted((name for name in folders if name.lower() in _TESTS), key=lambda name: _TESTS.index(name.lower()))
    others = [name for name in folders if name not in (*trains, *tests)]
    if not trains or (others and not any(entry.is_dir() for entry in (root / trains[0]).iterdir())):
        return None, None
    if len(trains) > 1 or others:
        raise DataError(
            f"{root / (others or trains[1:])[0]}: got a folder beside {trains[0]}; allowed: {trains[0]}, and for the"
            f" images to test on one of {', '.join(_TESTS)}"
        )
    if len(tests) > 1:
        unused = ", ".join(str(root / name) for name in tests[1:])
        warnings.warn(f"images to test on come from {root / tests[0]}; not used: {unused}", stacklevel=3)
    return trains[0], tests[0] if tests else None
