"""A program as one rank: what it may be called with, and how its end becomes a status; without MPI."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from fastconv.parallel import rank


@pytest.fixture(autouse=True)
def ended(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Statuses that end a job of two ranks; the process of the tests outlives its parent."""
    found: list[int] = []
    monkeypatch.setattr(rank, "die_with_parent", lambda: lambda: None)
    monkeypatch.setattr(rank, "connect", lambda: SimpleNamespace(size=2, barrier=lambda: None))
    monkeypatch.setattr(rank, "end_job", lambda communicator, status: found.append(status))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    monkeypatch.setattr(sys, "path", list(sys.path))
    return found


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "words: got ''; allowed: a script, or -m and a module, and arguments"),
        (["-m"], "words: got '-m'; allowed: a script, or -m and a module, and arguments"),
        (["--epochs", "3"], "words: got '--epochs 3'; allowed: a script, or -m and a module, and arguments"),
        (["none.py"], "script: got 'none.py', which is no file; allowed: a script, or -m and a module"),
    ],
)
def test_what_is_no_program_is_one_line(words, message, capsys, monkeypatch):
    monkeypatch.setattr(rank, "connect", lambda: pytest.fail("a rank waits for others that will not come"))
    assert rank.main(words) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


@pytest.mark.parametrize("as_module", [False, True])
def test_it_runs_as_the_main_program_with_its_arguments(as_module, tmp_path, capsys, monkeypatch):
    (tmp_path / "said.py").write_text("import sys\nprint(__name__, sys.argv[1:])\n")
    monkeypatch.chdir(tmp_path)
    assert rank.main([*(["-m", "said"] if as_module else ["said.py"]), "--epochs", "3"]) == 0
    assert capsys.readouterr().out == "__main__ ['--epochs', '3']\n"


@pytest.mark.parametrize(
    ("line", "status", "ends"),
    [
        ("raise SystemExit", 0, []),
        ("raise SystemExit(0)", 0, []),
        ("raise SystemExit(7)", 7, [7]),
        ("raise SystemExit('no')", 1, [1]),
        ("raise KeyboardInterrupt", 130, [130]),
        ("raise SystemExit(75)", 75, []),  # all leave together
    ],
)
def test_what_fails_ends_the_job(line, status, ends, tmp_path, ended):
    script = tmp_path / "script.py"
    script.write_text(f"{line}\n")
    assert rank.main([str(script)]) == status
    assert ended == ends
