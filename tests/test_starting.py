"""The command is interrupted in one line also while it is imported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = "import sys\nfrom fastconv.cli import main\nsys.exit(main())\n"


@pytest.fixture
def run(tmp_path):
    """Return what runs Python where the import of NumPy is `code`, and gives status and stderr."""

    def run(code, *words):
        (tmp_path / "numpy.py").write_text(code)
        environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
        done = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    return run


def test_an_interrupt_of_the_imports_is_a_line(run, tmp_path):
    script = tmp_path / "bin" / "fastconv"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    for words in (("-m", "fastconv", "info"), (script, "info")):
        assert run("raise KeyboardInterrupt", *words) == (130, "interrupted\n")


def test_other_errors_and_programs_are_as_ever(run, tmp_path):
    status, error = run("raise RuntimeError('x')", "-m", "fastconv", "info")
    assert (status, error.splitlines()[-1]) == (1, "RuntimeError: x")
    (tmp_path / "program.py").write_text(SCRIPT)
    for words in (("-c", "import fastconv"), (tmp_path / "program.py", "fastconv")):
        status, error = run("raise KeyboardInterrupt", *words)
        assert status != 130
        assert "Traceback" in error
