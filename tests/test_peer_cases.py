"""There are enough cases that are compared with PyTorch: counted as pytest collects them."""

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = {"tests/losses": 980, "tests/optim/schedules": 620, "tests/nn/layers": 800}


@pytest.mark.peer
def test_number_of_cases_has_a_floor() -> None:
    """Of losses, schedules, pooling and normalisation, on random problems in float64 within 1e-10."""
    pytest.importorskip("torch")
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only", "-m", "peer", *ROOMS]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [line for line in listed.splitlines() if "peers.py::" in line and "[" in line]
    found = Counter(name.partition("::")[0].rpartition("/")[0] for name in names)
    assert all(found[room] >= least for room, least in ROOMS.items()), found
    assert len(set(names)) >= 2400
