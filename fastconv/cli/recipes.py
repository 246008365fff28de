"""The recipe of a training, from a file, from options, and from what is usual for the model and the data."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping
from typing import Any

from fastconv._files import home_path_of
from fastconv.cli import own_images
from fastconv.cli.choices import usual_for, usual_settings
from fastconv.data import SOURCES
from fastconv.errors import ArgumentError
from fastconv.parallel.starting import started_together
from fastconv.training import named, toml
from fastconv.training.named import NAME
from fastconv.training.recipe import Recipe

_RUN = ("epochs", "seed", "dtype", "backend", "precision", "algorithm", "save_every_steps")
_DATA = ("image_size", "image_fit", "limit")
_OPTIONS = {  # that stand for one entry
    **{name: f"run.{name}" for name in _RUN},
    **{name: f"data.{name}" for name in _DATA},
    **{"dataset": "data.name", "data_dir": "data.directory", "images": "data.images"},
    **{"lr": "optimizer.lr", "weight_decay": "optimizer.weight_decay", "label_smoothing": "loss.label_smoothing"},
    "batch_size": "loader.batch_size",
}
_PARTS = ("model", "optimizer", "schedule", "loss")
_PLACES = ("directory", "images", "path")
_PRUNING = "Pruning"
_DEFAULTS = {"seed": 0, "dtype": "float32", "save_every_steps": 0}


def recipe_of(options: argparse.Namespace, *, any_rate: float | None = None) -> Recipe:
    """Return what is to be trained; options go before the file, and both before what is usual.

    `any_rate` is the learning rate where none is known.
    """
    tables: dict[str, Any] = {} if options.recipe is None else toml.load(options.recipe)
    Recipe.of(tables)  # says what is wrong with the file alone
    _take_options(tables, options)
    for key, value in _once("set", options.set or ()).items():
        _check_set(key, value, options)
        _set(tables, key.split("."), value, key)
    _keep_places(tables)
    _fill_in_data(tables)
    _fill_in_usual(tables, any_rate)
    if options.pruning is not None:
        _prune(tables, _once("pruning", options.pruning))
    if started_together() > 1:
        tables.setdefault("parallel", {})
    recipe = Recipe.of(tables)
    if options.lr is not None and recipe.schedule_rate is not None:
        setting, value = recipe.schedule_rate
        raise ArgumentError(
            f"--lr: got {options.lr:g} beside {setting}={value} of the schedule {recipe.tables['schedule'][NAME]};"
            " allowed: one of the two"
        )
    return recipe


def _take_options(tables: dict[str, Any], options: argparse.Namespace) -> None:
    given = {name: getattr(options, name) for name in _RUN if getattr(options, name) is not None}
    tables["run"] = {**_DEFAULTS, **tables.get("run", {}), **given}
    for kind in _PARTS:
        if getattr(options, kind) is not None:
            tables[kind] = _spec(kind, getattr(options, kind))
    for key, words in (("metrics", options.metric), ("callbacks", options.callback)):
        if words:
            tables[key] = [_spec(key.removesuffix("s"), each) for each in words]
    if options.augmentation:
        if options.augment is not None:
            raise ArgumentError(
                f"--{'' if options.augment else 'no-'}augment: got it beside --augmentation; allowed: one of the two"
            )
        tables["augmentation"] = [_spec("augmentation", each) for each in options.augmentation]
    elif options.augment is not None:
        tables["augmentation"] = [{NAME: "FlipCrop"}] if options.augment else []
    if options.batch_size is not None:
        tables["loader"] = {**tables.get("loader", {}), "batch_size": options.batch_size}
    data = {
        "name": options.dataset,
        "directory": absolute(options.data_dir),
        "images": absolute(options.images),
        "image_size": options.image_size,
        "image_fit": options.image_fit,
        "skip_broken": options.skip_broken or None,
        "limit": options.limit,
    }
    tables["data"] = {**tables.get("data", {}), **{key: value for key, value in data.items() if value is not None}}
    tables.setdefault("model", {NAME: "keras_cnn"})
    model = named.canonical("model", tables["model"].get(NAME))
    shortcuts = {
        "optimizer": {"lr": options.lr, "weight_decay": options.weight_decay},
        "loss": {"label_smoothing": options.label_smoothing},
    }
    for kind, settings in shortcuts.items():
        chosen = {key: value for key, value in settings.items() if value is not None}
        _check_once(kind, getattr(options, kind), chosen)
        usual = usual_for(model).optimizer if kind == "optimizer" else "SoftmaxCrossEntropy"
        tables[kind] = {NAME: usual, **tables.get(kind, {}), **chosen}


def _check_once(kind: str, words: list[str | tuple[str, Any]] | None, chosen: Mapping[str, Any]) -> None:
    """Refuse a setting that has an option of its own and stands among those of its kind as well."""
    for key, value in () if words is None else _spec(kind, words).items():
        if key in chosen:
            raise ArgumentError(
                f"--{key.replace('_', '-')}: got {chosen[key]:g} beside {key}={value} of --{kind};"
                " allowed: one of the two"
            )


def _check_set(key: str, value: Any, options: argparse.Namespace) -> None:
    """Refuse an entry that has an option of its own, or is a setting of one, which was given too."""
    for option, entry in _OPTIONS.items():
        given = getattr(options, option)
        if key == entry and given is not None:
            raise ArgumentError(
                f"--set: got {key}={value} beside --{option.replace('_', '-')} {given}; allowed: one of them"
            )
    kind, _, entry = key.partition(".")
    words = getattr(options, kind) if kind in _PARTS else None
    of_option = {} if words is None else _spec(kind, words)
    if entry in of_option:
        raise ArgumentError(
            f"--set: got {key}={value} beside {entry}={of_option[entry]} of --{kind}; allowed: one of the two"
        )


def _keep_places(tables: dict[str, Any]) -> None:
    """Make paths absolute: a run is gone on with, and measured, from other folders too."""
    callbacks = tables.get("callbacks", [])
    for table in (tables["data"], *([callbacks] if isinstance(callbacks, dict) else callbacks)):
        table.update({key: absolute(table[key]) for key in _PLACES if isinstance(table.get(key), str) and table[key]})


def _fill_in_data(tables: dict[str, Any]) -> None:
    data = tables["data"]
    if "images" in data or data.get(NAME) == own_images.NAME:
        for key, option in ((NAME, "--dataset"), ("directory", "--data-dir")):
            if data.get(key, own_images.NAME) != own_images.NAME:
                raise ArgumentError(f"{option}: got it beside --images; allowed: one source of images")
        if "images" not in data:
            raise ArgumentError("data.images: got none; allowed: the folder of the images")
        tables["data"] = {NAME: own_images.NAME, "image_size": [32, 32], "image_fit": "crop", **data}
        epochs, augmented = own_images.EPOCHS, True
    else:
        for key in ("image_size", "image_fit", "skip_broken"):
            if key in data:
                raise ArgumentError(f"--{key.replace('_', '-')}: got it without --images; allowed: beside --images")
        name = data.setdefault(NAME, "shapes10")
        if name not in SOURCES:
            near = named.meant(name, SOURCES.keys())
            raise ArgumentError(f"data.name: got {name!r}; allowed: {', '.join(SOURCES)}{near}")
        epochs, augmented = SOURCES[name].epochs, SOURCES[name].augmented
    tables["run"].setdefault("epochs", epochs)
    tables.setdefault("augmentation", [{NAME: "FlipCrop"}] if augmented else [])


def _fill_in_usual(tables: dict[str, Any], any_rate: float | None) -> None:
    """Fill in the optimizer's settings and the schedule that are usual for the model."""
    model = named.canonical("model", tables["model"].get(NAME))
    usual, optimizer = usual_for(model), dict(tables["optimizer"])
    name = named.canonical("optimizer", optimizer.get(NAME))
    place = place_of_rate(optimizer)
    named.check_numbers("optimizer", optimizer, "parameters")
    if name == usual.optimizer:
        optimizer.setdefault("lr", usual.lr)
        if usual.weight_decay is not None:
            optimizer.setdefault("weight_decay", usual.weight_decay)
    if not _has_rate(optimizer) and any_rate is not None:
        optimizer = _with_rate(optimizer, any_rate)
    if not _has_rate(optimizer):
        option = "--lr" if place == "optimizer" else f"--set {place}.lr"
        raise ArgumentError(f"{option}: got none for {name} on {model}; allowed: a learning rate to go with it")
    tables["optimizer"] = usual_settings(name, optimizer) | optimizer
    tables["schedule"] = {NAME: usual.schedule, **tables.get("schedule", {})}  # --set may have given settings of it


def _prune(tables: dict[str, Any], settings: Mapping[str, Any]) -> None:
    """Let the optimizer prune, or prune otherwise if it does already."""
    optimizer = tables["optimizer"]
    if named.canonical("optimizer", optimizer[NAME]) != _PRUNING:
        optimizer = {NAME: _PRUNING, "optimizer": optimizer}
    tables["optimizer"] = optimizer | settings


def place_of_rate(table: Mapping[str, Any], place: str = "optimizer") -> str:
    """Return the table that the rate belongs to; refuse an optimizer that goes around others, without one."""
    name = named.canonical("optimizer", table.get(NAME))
    takes = named.parameters_of(named.choices("optimizer")[name])
    if "lr" in takes:
        return place
    inner, within = table.get("optimizer"), f"{place}.optimizer"
    if isinstance(inner, Mapping) and "optimizer" in takes:
        return place_of_rate(inner, within)
    advice = f"{name} in a program of yours"
    if "optimizer" in takes:
        advice = f"{name} with another within it, --set {within}.name=SGD --set {within}.lr=0.1"
    raise ArgumentError(f"--optimizer: got {name} alone, which goes around others; allowed: {advice}")


def _with_rate(table: Mapping[str, Any], rate: float) -> dict[str, Any]:
    """Return it with a rate: of the optimizer within, where it goes around one."""
    inner = table.get("optimizer")
    return {**table, **({"lr": rate} if inner is None else {"optimizer": _with_rate(inner, rate)})}


def _has_rate(table: Mapping[str, Any]) -> bool:
    return "lr" in table or any(_has_rate(each) for each in table.values() if isinstance(each, Mapping))


def _spec(kind: str, words: list[str | tuple[str, Any]]) -> dict[str, Any]:
    """Return name and settings of the words of an option: NAME SETTING=VALUE ..."""
    first, *settings = words
    odd = next((each for each in settings if isinstance(each, str)), None)
    if not isinstance(first, str) or odd is not None:
        got = f"{first[0]}=..." if not isinstance(first, str) else odd
        raise ArgumentError(f"--{kind}: got {got!r}; allowed: one name, then settings of it, such as weight_decay=0.05")
    return {NAME: first, **_once(kind, (each for each in settings if isinstance(each, tuple)))}


def _once(option: str, settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return settings by their names; ArgumentError where one has two values."""
    found: dict[str, Any] = {}
    for key, value in settings:
        if key in found:
            raise ArgumentError(f"--{option}: got {key}={found[key]} and {key}={value}; allowed: one of the two")
        found[key] = value
    return found


def _set(table: dict[str, Any], keys: list[str], value: Any, whole: str) -> None:
    first, *rest = keys
    if not rest:
        table[first] = value
        return
    inner = table.setdefault(first, {})
    if not isinstance(inner, dict):
        raise ArgumentError(f"--set: got {whole!r}, where {first} is no table; allowed: TABLE.SETTING=VALUE")
    _set(inner, rest, value, whole)


def absolute(path: str | None) -> str | None:
    """Return a path as a recipe holds it, which may be read from another folder."""
    return None if path is None else str(home_path_of(path, "path").absolute())
