"""Fixtures for all tests: the backends of the CPU, a seeded generator, a clean global state."""

from __future__ import annotations

import os

# The reference's matrix products are small: more threads would only get in each other's way.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import gc
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fastconv.backends as registry
from fastconv import random
from fastconv.backends import use_backend
from fastconv.backends.contract.backend import Backend
from tests.backends.usable import backend_or_skip

CPU_BACKENDS = ("numpy", "numba")


_NO_PARAMETERS = SimpleNamespace(params={})
_NOT_INSTALLED = re.compile("could not import|not installed|needs the extra")
LONGER = ("slow", "emulator", "gpu", "peer", "mpi")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-installed", action="store_true", help="what is skipped for want of a package has failed")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    return _heed_skip(item.config, (yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    return _heed_skip(collector.config, (yield))


def _heed_skip(config: pytest.Config, report: Any) -> Any:
    if report.skipped and config.option.all_installed and _NOT_INSTALLED.search(str(report.longrepr)):
        report.outcome, report.longrepr = "failed", f"skipped, in spite of --all-installed: {report.longrepr}"
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share the default suite, ``pytest`` without arguments, among two processes, a file at a time.

    Compiling kernels, a good part of it, keeps one core busy. Files are taken as they stand: the two with the most
    tests would come first, and compile the same kernels side by side. Whoever names files, markers, ``-n`` or ``--pdb``
    gets one process.
    """
    option = config.option
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS and option.markexpr.startswith("not slow")
    here = "PYTEST_XDIST_WORKER" in os.environ or option.usepdb or option.collectonly
    if whole and not here and getattr(option, "numprocesses", 0) is None:
        option.numprocesses, option.dist, option.loadscopereorder = 2, "loadfile", False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Look for circles of references neither while tests are found, of which none dies, nor among them later.

    That took 20 of the 410 s of processor time of the default suite, half of them here.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes longer, and give it a deadline of half an hour; that of the others is in pyproject.toml.

    The default suite compiles few kernels of the CPU for float64, which would be half of what there is to compile: in
    that type, which is there to check gradients, it has the reference.
    """
    for item in items:
        if item.get_closest_marker("float64") and "numba" in getattr(item, "callspec", _NO_PARAMETERS).params.values():
            item.add_marker(pytest.mark.slow)
        marks = {mark.name for mark in item.iter_markers()}
        if "timeout" not in marks and not marks.isdisjoint(LONGER):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(params=CPU_BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[Backend]:
    """Each backend of the CPU in turn, made the active one."""
    backend_or_skip(request.param)
    with use_backend(request.param) as active:
        yield active


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20240229)


@pytest.fixture(autouse=True)
def _same_global_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a test sets for the process, backend, precision or seed, ends with it; each builds its first model."""
    precision, algorithm = (importlib.import_module(f"fastconv.{name}") for name in ("precision", "algorithm"))
    monkeypatch.setattr(registry, "_default", registry._default)
    monkeypatch.setattr(random, "_default", random._default)
    random.seed(0)
    monkeypatch.setattr(precision, "_default", "default")
    yield
    for module in (registry, precision, algorithm):  # an interrupted ``with`` may have left them
        module._override.set(None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of data that lies beside some checkouts."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    return folder


@pytest.fixture(scope="module")
def job_environment() -> Iterator[None]:
    """What jobs of several ranks need: Open MPI refuses to work for root unless it is told twice."""
    from tests.parallel.jobs import ROOT, launcher

    launcher()  # or the test is skipped
    with pytest.MonkeyPatch.context() as patch:
        for name in ("OMPI_ALLOW_RUN_AS_ROOT", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM"):
            patch.setenv(name, "1")
        patch.setenv("PYTHONPATH", str(ROOT))
        yield
