"""A plugin of pytest for the run-book: each test's outcome becomes a row at once; what has one is left out.

A test after which CUDA fails in the process (an illegal address stays until the process ends) is the last of its
worker: pytest-xdist starts another one, and without pytest-xdist the run-book does.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu_results import POISONED, Results, Setting
from benchmarks.gpu_work import cuda_is_broken, die_with_parent

STAGES = ("tests", "rest")
_OUTCOMES = {"passed": "ok", "failed": "failed", "skipped": "skipped"}
_MESSAGE = 3000


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take where results go."""
    group = parser.getgroup("gpu run-book")
    for name in ("out", "run", "stage"):
        group.addoption(f"--gpu-{name}", required=True)


def pytest_configure(config: pytest.Config) -> None:
    """Write rows, in the process that sees all reports; leave out tests in every process."""
    option = config.option
    results = Results(Setting(Path(option.gpu_out), option.gpu_run, ""))
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker is None:
        die_with_parent()
        config.gpu_finished = results.finished(*STAGES)
        config.pluginmanager.register(_Writer(results, option.gpu_stage))
    else:  # the same list in each worker, whenever it started
        config.gpu_finished = set(worker["gpu_finished"])


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker what to leave out."""
    node.workerinput["gpu_finished"] = sorted(node.config.gpu_finished)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has its row."""
    done = [item for item in items if item.nodeid in config.gpu_finished]
    config.hook.pytest_deselected(items=done)
    left_out = set(done)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the process behind a test that broke CUDA; its report has gone out by then."""
    result = yield
    failed = getattr(item, "gpu_failed", False)
    if failed and cuda_is_broken():
        sys.stdout.flush()
        os._exit(POISONED)
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Note that a test failed."""
    report: Any = yield
    item.gpu_failed = getattr(item, "gpu_failed", False) or report.failed
    return report


class _Writer:
    """Writes rows."""

    def __init__(self, results: Results, stage: str) -> None:
        self._results, self._stage = results, stage
        self._warned, self._failed = set[str](), set[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Write a row for a test that ran, or could not be set up; the end of its worker is no second failure."""
        crashed_after = report.nodeid in self._failed
        self._failed |= {report.nodeid} if report.failed else set()
        if (report.when == "call" or report.outcome != "passed") and not crashed_after:
            found: dict[str, Any] = {"seconds": round(report.duration, 3)}
            if report.failed:
                found["message"] = str(report.longrepr)[-_MESSAGE:]
            elif report.skipped:
                found["message"] = str(report.longrepr)[-300:]
            self._results.append(self._stage, report.nodeid, _OUTCOMES[report.outcome], **found)

    def pytest_warning_recorded(self, warning_message: Any, when: str, nodeid: str, location: Any) -> None:
        """Write a row for each kind of warning, once."""
        text = f"{warning_message.category.__name__}: {str(warning_message.message)[:300]}"
        if text not in self._warned:
            self._warned.add(text)
            self._results.append(self._stage, f"warning {len(self._warned)}", "warning", message=text, where=nodeid)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Write a row where the tests cannot even be read."""
        if report.failed:
            text = str(report.longrepr)[-_MESSAGE:]
            self._results.append(self._stage, f"collect {report.nodeid}", "failed", message=text)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Take failed tests for an answer: the stage itself has come to its end."""
        if session.exitstatus in {pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED}:
            failed_to_collect = any(i.startswith("collect ") for i in self._results.finished(self._stage))
            session.exitstatus = 1 if failed_to_collect else 0
