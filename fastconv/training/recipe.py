"""The recipe of a run: all that decides its result, as tables of settings that a TOML file holds.

``[run]`` and ``[data]`` have the entries below; ``[loader]``, ``[trainer]`` and ``[fit]`` the arguments of
`DataLoader`, `Trainer` and `Trainer.fit`; ``[model]``, ``[optimizer]``, ``[schedule]``, ``[loss]`` and the lists
``[[augmentation]]``, ``[[metrics]]`` and ``[[callbacks]]`` a `name` each and the arguments of what has that name (see
named.py). Where several processes train, ``[parallel]`` has the arguments of `DataParallel`. What follows from the data
or from another entry, a schedule's steps and rate, may be left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from fastconv import _validate as validate
from fastconv.backends.contract.types import AlgorithmChoice, PrecisionChoice
from fastconv.data import DataLoader, Dataset
from fastconv.data.images import Fit
from fastconv.errors import ArgumentError
from fastconv.nn.model.model import Layer
from fastconv.parallel.data_parallel import DataParallel
from fastconv.training import named
from fastconv.training.callbacks import Callback
from fastconv.training.named import NAME
from fastconv.training.trainer import Trainer

FORMAT = 1
"""The number of the form of recipes and run folders."""


def _one_of(*allowed: str) -> Callable[[Any, str], None]:
    def check(value: Any, name: str) -> None:
        if value not in allowed:
            raise ArgumentError(f"{name}: got {value!r}; allowed: {', '.join(allowed)}{named.meant(value, allowed)}")

    return check


def _whole(minimum: int) -> Callable[[Any, str], Any]:
    return lambda value, name: validate.at_least(value, minimum, name)


def _text(value: Any, name: str) -> None:
    if not isinstance(value, str) or not value or "\0" in value:
        raise ArgumentError(f"{name}: got {value!r}; allowed: a string")


def _sides(value: Any, name: str) -> None:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ArgumentError(f"{name}: got {value!r}; allowed: [height, width]")
    for side in value:
        validate.at_least(side, 1, name, 2**16)


_ENTRIES: Mapping[str, Mapping[str, Callable[[Any, str], Any]]] = {
    "run": {
        "epochs": _whole(1),
        "seed": _whole(0),
        "dtype": _one_of(*(dtype.name for dtype in validate.FLOATS)),
        "backend": _text,
        "precision": _one_of(*get_args(PrecisionChoice)),
        "algorithm": _one_of(*get_args(AlgorithmChoice)),
        "save_every_steps": _whole(0),
    },
    "data": {
        NAME: _text,
        "directory": _text,
        "images": _text,
        "image_size": _sides,
        "image_fit": _one_of(*get_args(Fit)),
        "skip_broken": validate.truth,
        "limit": _whole(1),
    },
}
_CALLED: Mapping[str, tuple[Callable[..., Any], tuple[str, ...]]] = {  # and what is given otherwise
    "loader": (DataLoader, ("dataset", "augmentation", "mean", "std", "seed", "dtype")),
    "trainer": (Trainer, ("model", "loss", "optimizer", "schedule", "callbacks", "metrics", "seed", "parallel")),
    "fit": (Trainer.fit, ("self", "train", "epochs", "validation_data", "batch_size", "shuffle")),
}
_NAMED: Mapping[str, tuple[str, ...]] = {  # and what is given otherwise
    "model": ("num_classes", "input_shape", "dtype", "seed"),
    "optimizer": ("parameters",),
    "schedule": (),
    "loss": (),
}
_PARALLEL = ("communicator", "timeline")  # are no settings of a file
_LISTS = {"augmentation": "augmentation", "metrics": "metric", "callbacks": "callback"}


@dataclass(frozen=True)
class Recipe:
    """A recipe whose tables were checked: all names and settings are known.

    Attributes
    ----------
    tables : dict
        Complete: with the defaults of all that is not given, but for what follows from other entries.
    """

    tables: Mapping[str, Any]

    @classmethod
    def of(cls, tables: Mapping[str, Any]) -> Recipe:
        """Check tables as a file has them, and complete them; ArgumentError names what is wrong."""
        known = (*_ENTRIES, *_CALLED, *_NAMED, *_LISTS, "parallel")
        found: dict[str, Any] = {"format": tables.get("format", FORMAT)}
        if found["format"] != FORMAT:
            raise ArgumentError(f"format: got {found['format']!r}; allowed: {FORMAT}, that of this version of fastconv")
        for key in tables:
            if key != "format" and key not in known:
                raise ArgumentError(
                    f"recipe: got the table {key!r}; allowed: {', '.join(known)}{named.meant(key, known)}"
                )
        for key, entries in _ENTRIES.items():
            found[key] = _checked_entries(key, _table(tables, key), entries)
        for key, (make, without) in _CALLED.items():
            given = named.checked_settings(key, make, _table(tables, key), *without)
            found[key] = named.defaults(make, *without) | given
        validate.at_least_one(found["loader"]["batch_size"], "loader: batch_size")
        for key, without in _NAMED.items():
            if key in tables:
                found[key] = named.resolved(key, _table(tables, key), *without)
        if "parallel" in tables:
            given = named.checked_settings("parallel", DataParallel, _table(tables, "parallel"), *_PARALLEL)
            found["parallel"] = named.defaults(DataParallel, *_PARALLEL) | given
        for key, kind in _LISTS.items():
            found[key] = [named.resolved(kind, each) for each in _tables(tables, key)]
        return cls(found)

    @cached_property
    def epochs(self) -> int:
        """How many there are in all."""
        return int(self.tables["run"]["epochs"])

    @property
    def learning_rate(self) -> float:
        """That of the optimizer, or of the one within it."""
        table = self.tables["optimizer"]
        while "lr" not in table:
            inner = next((each for each in table.values() if isinstance(each, Mapping)), None)
            if inner is None:
                raise ArgumentError(f"optimizer {table.get(NAME)}: got no lr; allowed: with lr")
            table = inner
        rate: float = table["lr"]
        return rate

    @property
    def schedule_name(self) -> str:
        """That of the schedule; without one the rate is constant."""
        name: str = self.tables.get("schedule", {}).get(NAME, "Constant")
        return name

    @property
    def schedule_rate(self) -> tuple[str, Any] | None:
        """The rate that the schedule was given, with the setting's name; None where it has the optimizer's."""
        return _own_rate(self.tables.get("schedule", {}))

    def changed(self, table: str, **entries: Any) -> Recipe:
        """Return it with other entries in a table."""
        return Recipe.of({**self.tables, table: {**self.tables[table], **entries}})

    def make_model(self, input_shape: tuple[int, ...], num_classes: int) -> Layer:
        """Return the model for images of this shape, built, with its initial weights."""
        run = self.tables["run"]
        given = {"num_classes": num_classes, "input_shape": input_shape, "dtype": run["dtype"], "seed": run["seed"]}
        model: Layer = named.build("model", self.tables["model"], given)
        return model

    def make_loader(self, dataset: Dataset) -> DataLoader:
        """Return the loader of training images."""
        run = self.tables["run"]
        changes = tuple(named.build("augmentation", each, {}) for each in self.tables["augmentation"])
        given = {
            "dataset": dataset,
            "augmentation": None if not changes else changes[0] if len(changes) == 1 else changes,
            "seed": run["seed"],
            "dtype": run["dtype"],
        }
        loader: DataLoader = named.called("loader", DataLoader, given | self.tables["loader"])
        return loader

    def make_trainer(self, model: Layer, steps_per_epoch: int, callbacks: Iterable[Callback]) -> Trainer:
        """Return the trainer, with these callbacks after those of the recipe."""
        tables = self.tables
        # Pruning ends after two thirds of the run, as in TensorFlow's sample, unless its settings say when.
        given = {"parameters": model.parameters(), "end": self.epochs * steps_per_epoch * 2 // 3}
        settings: dict[str, Any] = {
            "loss": named.build("loss", tables["loss"], {}),
            "optimizer": named.build("optimizer", tables["optimizer"], given),
            "schedule": self._make_schedule(steps_per_epoch),
            "callbacks": (*(named.build("callback", each, {}) for each in tables["callbacks"]), *callbacks),
            "metrics": [named.build("metric", each, {}) for each in tables["metrics"]] or None,
            "seed": tables["run"]["seed"],
        }
        if "parallel" in tables:
            settings["parallel"] = named.called("parallel", DataParallel, tables["parallel"])
        more = {key: _made(key, value) for key, value in tables["trainer"].items()}
        trainer: Trainer = named.called("trainer", Trainer, {"model": model, **settings, **more})
        return trainer

    def _make_schedule(self, steps_per_epoch: int) -> Any:
        """Return the schedule, which spans the run at the optimizer's rate where it does not say otherwise."""
        spec = self.tables.get("schedule")
        if spec is None:
            return None
        total = self.epochs if _counts_epochs(spec) else self.epochs * steps_per_epoch
        if any(isinstance(each, Mapping) for each in spec.values()):  # a warm-up before another one
            total = max(total - int(spec.get("warmup_steps", 0)), 1)
        given: dict[str, Any] = {"lr": self.learning_rate, "max_lr": self.learning_rate, "total_steps": total}
        if "step_size" not in spec:  # another way to say when
            given["milestones"] = (total // 2, total * 3 // 4)
        return named.build("schedule", spec, given)


def _own_rate(spec: Mapping[str, Any]) -> tuple[str, Any] | None:
    found = [(key, spec[key]) for key in ("lr", "max_lr", "points") if key in spec]
    found += [rate for each in spec.values() if isinstance(each, Mapping) and (rate := _own_rate(each)) is not None]
    return next(iter(found), None)


def _counts_epochs(spec: Mapping[str, Any]) -> bool:
    inner = (each for each in spec.values() if isinstance(each, Mapping))
    return spec.get("by") == "epoch" or any(map(_counts_epochs, inner))


def _made(key: str, value: Any) -> Any:
    """Return the value of a trainer's setting; a table is of a class with a name."""
    return named.build(key, value, {}) if isinstance(value, Mapping) and key in named.KINDS else value


def _table(tables: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = tables.get(key, {})
    if not isinstance(table, Mapping):
        raise ArgumentError(f"{key}: got {table!r:.80}; allowed: a table, [{key}]")
    return table


def _tables(tables: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    """Return a list of tables, which a single one may stand for."""
    found = tables.get(key, [])
    found = [found] if isinstance(found, Mapping) else found
    if not isinstance(found, list | tuple) or not all(isinstance(each, Mapping) for each in found):
        raise ArgumentError(f"{key}: got {found!r:.80}; allowed: tables, [[{key}]]")
    return list(found)


def _checked_entries(
    table: str, given: Mapping[str, Any], entries: Mapping[str, Callable[[Any, str], Any]]
) -> dict[str, Any]:
    for key, value in given.items():
        if key not in entries:
            raise ArgumentError(
                f"{table}: got the entry {key!r}; allowed: {', '.join(entries)}{named.meant(key, entries.keys())}"
            )
        entries[key](value, f"{table}.{key}")
    return dict(given)
