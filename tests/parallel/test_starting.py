from __future__ import annotations

import pytest

from fastconv.parallel.starting import is_first, speaks_for_host, started_together


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({}, (1, True, True)),
        ({"PMI_SIZE": "4", "PMI_RANK": "2", "MPI_LOCALRANKID": "0"}, (4, False, True)),
        ({"PMI_SIZE": "4", "PMI_RANK": "3", "MPI_LOCALRANKID": "1"}, (4, False, False)),
        ({"PMI_SIZE": "2", "PMI_RANK": "1"}, (2, False, False)),
        ({"PMI_SIZE": "2", "PMI_RANK": "1", "SLURM_LOCALID": "0"}, (2, False, True)),
        (
            {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
            (2, False, False),
        ),
    ],
)
def test_what_launchers_say(monkeypatch, variables, found):
    for name in ("PMI", "OMPI_COMM_WORLD"):
        for part in ("SIZE", "RANK"):
            monkeypatch.delenv(f"{name}_{part}", raising=False)
    for name in ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert (started_together(), is_first(), speaks_for_host()) == found
