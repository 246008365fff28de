from __future__ import annotations

import pytest

from fastconv.errors import ArgumentError, BackendUnavailableError, DependencyError
from fastconv.parallel import launcher
from fastconv.parallel.launcher import Launcher, find_launcher


@pytest.fixture
def mpiexec(tmp_path):
    """Make an mpiexec that says of which MPI it is."""

    def make(version: str) -> str:
        path = tmp_path / "mpiexec"
        path.write_text(f"#!/bin/sh\necho '{version}'\n")
        path.chmod(0o755)
        return str(path)

    return make


@pytest.fixture
def library(monkeypatch):
    """Say which library mpi4py loads, whether it is installed or not."""
    monkeypatch.setattr(launcher, "find_spec", lambda name: name)
    said = launcher._said

    def of(text: str) -> None:
        monkeypatch.setattr(launcher, "_said", lambda *words: text if "mpi4py" in words else said(*words))

    return of


@pytest.mark.parametrize(
    ("version", "text", "family"),
    [
        ("HYDRA build details: Version: 5.0.2", "MPICH Version: 5.0.2", "MPICH"),
        ("mpiexec (Open MPI) 5.0.11", "Open MPI v5.0.11, package: ...", "Open MPI"),
        ("a launcher of the site 1.0", "MPICH Version: 4.1", ""),
    ],
)
def test_it_is_known_by_what_it_says(mpiexec, library, version, text, family):
    library(text)
    path = mpiexec(version)
    assert find_launcher(path) == Launcher(path, family)


def test_that_of_another_mpi_is_refused(mpiexec, library):
    library("Open MPI v5.0.11, package: ...")
    with pytest.raises(BackendUnavailableError, match=r"two MPIs.*of MPICH and the library 'Open MPI v5\.0\.11"):
        find_launcher(mpiexec("HYDRA build details"))


def test_cores_are_not_counted_again():
    assert Launcher("m", "MPICH").command(2, ["a", "b"]) == ["m", "-n", "2", "a", "b"]
    assert Launcher("m", "Open MPI").command(2, ["a"]) == ["m", "--oversubscribe", "--bind-to", "none", "-n", "2", "a"]


def test_what_cannot_be_executed_is_refused(library, tmp_path):
    with pytest.raises(ArgumentError, match="mpiexec: got '/no/such/mpiexec'"):
        find_launcher("/no/such/mpiexec")


def test_without_any_it_says_what_to_install(library, monkeypatch, tmp_path):
    monkeypatch.setattr(launcher.sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendUnavailableError, match=r"no mpiexec.*mpi-local"):
        find_launcher()


def test_without_mpi4py_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(launcher, "find_spec", lambda name: None)
    with pytest.raises(DependencyError, match="mpi-local"):
        find_launcher()
