"""What CuPy's backend and the emulator's share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["cuda-emulator", "cupy"])
def test_cuda_sources_in_an_archive_are_told_of(tmp_path, backend):
    shutil.copytree(ROOT / "fastconv", tmp_path / "app" / "fastconv", ignore=shutil.ignore_patterns("__pycache__"))
    archive = shutil.make_archive(str(tmp_path / "app"), "zip", tmp_path / "app")
    code = f"import fastconv as fc; print(fc.__file__); fc.set_backend({backend!r})"
    run = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": archive}
    done = subprocess.run(run, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)
    assert done.stdout.startswith(archive)
    assert done.stderr.splitlines()[-1] == (
        f"fastconv.errors.BackendUnavailableError: backend {backend!r}: its CUDA sources must be files, but fastconv is"
        f" read from {archive!r}; unpack it, or install it with pip"
    )
