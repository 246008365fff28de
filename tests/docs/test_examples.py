"""Every public class and function has an example, and all examples give what they show."""

from __future__ import annotations

import doctest
import importlib.util
import inspect
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import fastconv as fc
from tests.docs.public import names, public

PUBLIC = public()
# What has to be fetched from the net, and a measurement of many seconds; everything else runs.
NOT_RUN = {
    *("data.cifar10", "data.cifar100", "data.mnist", "data.fashion_mnist", "data.download"),
    "training.diagnostics.measure_machine",
    # What an MPI has to start.
    *("parallel.MPICommunicator", "parallel.NCCLCommunicator", "parallel.launch"),
}
NEEDS = {
    "plot.": "matplotlib",
    "report.": "jinja2",
    "TensorBoardLogger": "tensorboardX",
    "data.image_folder": "PIL",
    "data.read_image": "PIL",
}


def examples(path: str) -> list[doctest.Example]:
    return doctest.DocTestParser().get_examples(PUBLIC[path].__doc__ or "", path)


def test_all_rooms_are_walked_through() -> None:
    listed = {f"fastconv.{room}" for room in ("functional", "nn", "optim.schedules", "training.diagnostics", "plot")}
    assert listed <= {path.rpartition(".")[0] for path in PUBLIC}
    modules = [thing for name in fc.__all__ if isinstance(thing := getattr(fc, name), ModuleType)]
    assert len(PUBLIC) > 0.9 * sum(len(names(module)) for module in modules) > 200


def test_every_public_object_has_an_example_that_shows_something() -> None:
    lacking = [
        path for path in PUBLIC if "\nExamples\n--------\n>>> " not in inspect.cleandoc(PUBLIC[path].__doc__ or "")
    ]
    assert not lacking
    silent = [path for path in PUBLIC if not any(e.want or "save(" in e.source for e in examples(path))]
    assert not silent


def test_only_what_is_named_is_not_run() -> None:
    left_out = {path for path in PUBLIC if any(doctest.SKIP in e.options for e in examples(path))}
    assert left_out == {f"fastconv.{path}" for path in NOT_RUN}


@pytest.mark.parametrize("path", PUBLIC, ids=lambda path: path.removeprefix("fastconv."))
def test_example(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part, package in NEEDS.items():
        if part in path and importlib.util.find_spec(package) is None:
            pytest.skip(f"could not import {package!r}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "environ", {**os.environ, "MPLBACKEND": "agg"})
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    scope: dict[str, Any] = {"np": np, "fc": fc}
    fc.seed(0)
    with fc.use_backend("numpy"):
        runner.run(doctest.DocTest(examples(path), scope, path, None, None, None), out=said.append)
    if "plot." in path:
        from matplotlib import pyplot

        pyplot.close("all")
    assert not runner.failures, "".join(said)
