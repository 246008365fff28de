"""What the suite adds to pytest."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FILES = {
    "test_some.py": """
import pytest

def test_passes():
    pass

@pytest.mark.skip(reason="needs the extra 'none'")
def test_is_marked():
    pass

@pytest.mark.skip(reason="of another CPU")
def test_is_of_another_cpu():
    pass

def test_asks():
    pytest.importorskip("nothing_of_this_name")
""",
    "test_none.py": """
import pytest

pytest.importorskip("nothing_of_this_name")
""",
}


@pytest.mark.parametrize(("options", "end"), [([], "1 passed, 4 skipped"), (["--all-installed"], "1 error")])
def test_what_is_skipped_can_be_a_failure(options, end, tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-c", "pyproject.toml", "-m", "", "-q", *options]
    done = subprocess.run([*command, tmp_path], capture_output=True, text=True, cwd=ROOT)
    assert re.search(rf"^{end} in", done.stdout, re.MULTILINE), done.stdout
    assert done.returncode == bool(options) * 2
    if options:
        done = subprocess.run([*command, tmp_path / "test_some.py"], capture_output=True, text=True, cwd=ROOT)
        assert "1 failed, 1 passed, 1 skipped, 1 error in" in done.stdout
        assert "skipped, in spite of --all-installed" in done.stdout
