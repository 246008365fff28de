"""Faults are planted in a copy, by tests that are there, and taken out again."""

import json
from pathlib import Path

import pytest

from tests.copied_tree import ROOT
from tests.plant import __main__ as program
from tests.plant.chosen import stages
from tests.plant.faults import Fault, read_sources
from tests.plant.trial import Outcome, Trial, planted

RIGHT = "def larger(a, b):\n    return a if a > b else b\n"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree of one module and its test."""
    for folder in ("fastconv/data", "tests/data"):
        (tmp_path / folder).mkdir(parents=True)
    for package in ("fastconv", "fastconv/data"):
        (tmp_path / package / "__init__.py").touch()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "fastconv" / "data" / "thing.py").write_text(RIGHT)
    test = (
        "from fastconv.data.thing import larger\n\ndef test_larger():\n    assert larger(1, 2) == larger(2, 1) == 2\n"
    )
    (tmp_path / "tests" / "data" / "test_thing.py").write_text(test)
    (tmp_path / "tests" / "data" / "test_wrong.py").write_text("def test_wrong():\n    assert False\n")
    return tmp_path


def fault(after: str) -> Fault:
    line = "    return a if a > b else b"
    return Fault("fastconv/data/thing.py", 2, "comparison", line, line.replace("a > b", after))


@pytest.mark.slow
def test_killed_survived_and_hung(tree: Path) -> None:
    trial = Trial(tree, deadline=60)
    outcome = trial(fault("a < b"))
    assert (outcome.status, outcome.by) == ("killed", "tests/data/test_thing.py::test_larger")
    outcome = trial(fault("a >= b"))  # what cannot be noticed
    assert (outcome.status, outcome.by) == ("survived", "tests/data/test_thing.py; tests/data")
    assert trial._broken == ["tests/data/test_wrong.py::test_wrong"]  # without the fault too
    assert (tree / "fastconv" / "data" / "thing.py").read_text() == RIGHT
    trial._deadline = 15
    assert trial(fault("[1 for _ in iter(int, 1)]")).status == "hung"


def test_a_process_that_was_ended_has_noticed_and_is_no_test(tree: Path, monkeypatch) -> None:
    trial, last = Trial(tree), "python: StringMap.cpp:189: void llvm::StringMapImpl::RemoveKey: Assertion failed"
    monkeypatch.setattr(trial, "run", lambda words: ("failed", last))
    outcome = trial(fault("a < b"))
    assert (outcome.status, outcome.by) == ("killed", last)


@pytest.mark.slow
def test_what_no_test_can_show_is_an_error(tree: Path) -> None:
    (tree / "tests" / "data" / "test_thing.py").unlink()
    with pytest.raises(RuntimeError, match="none of its tests passes without a fault"):
        Trial(tree, deadline=60)(fault("a < b"))


def test_a_fault_is_taken_out_after_an_error(tree: Path) -> None:
    place = tree / "fastconv" / "data" / "thing.py"

    def fail() -> None:
        with planted(tree, fault("a < b")):
            assert "a < b" in place.read_text()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert place.read_text() == RIGHT


def test_every_file_has_tests_and_all_are_there() -> None:
    for file in read_sources():
        found = stages(file)
        assert found, file
        for words in found:
            for word in words:
                assert (ROOT / word).exists() or not word.startswith("tests"), (file, word)


def test_the_mirrored_tests_come_first(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    for folder in ("data", "kernels/cpu/conv"):
        (tests / folder).mkdir(parents=True)
    for name in ("test_loader.py", "data/test_loader.py", "data/test_plan.py", "kernels/cpu/conv/test_plan.py"):
        (tests / name).touch()

    def first(file: str) -> tuple[str, ...]:
        return stages(file, tmp_path)[0]

    assert first("fastconv/data/loader.py") == ("tests/data/test_loader.py",)
    assert first("fastconv/data/_order.py") == ("tests/data",)
    assert first("fastconv/_loader.py") == ("tests/test_loader.py",)
    assert first("fastconv/nn/plan.py") == ("tests/data/test_plan.py",)
    assert first("kernels/cpu/conv/plan.py") == ("tests/kernels/cpu/conv/test_plan.py",)
    assert first("kernels/cpu/norm/plan.py") == ("tests/kernels/cpu/conv/test_plan.py",)
    of_operation = first("kernels/cpu/norm/other.py")
    assert of_operation == ("tests/backends/test_ops.py", "-k", "matches and numba and float32 and norm")
    assert first("kernels/cpu/vector/other.py") == ("tests/kernels/cpu",)


def test_cuda_is_asked_of_the_emulator() -> None:
    first, *_, last = stages("kernels/cuda/softmax.cu")
    assert [Path(word).stem[-3:] for word in first] == ["ops"]
    assert last[-2] == "-m"
    assert set(first) < set(last)


@pytest.mark.slow
def test_results_are_kept_and_not_taken_twice(tmp_path: Path, monkeypatch, capsys) -> None:
    class Silent:
        def __init__(self, copy: Path, deadline: float) -> None: ...

        def __call__(self, fault: Fault, *, words: list[str], whole: bool) -> Outcome:
            assert words == []
            asked.append(fault)
            return Outcome("survived" if len(asked) == 2 else "killed", "tests/x.py", 1.0)

    asked: list[Fault] = []
    monkeypatch.setattr(program, "Trial", Silent)
    out = tmp_path / "found.json"
    words = ["run", "--out", str(out), "--count", "40", "--rooms", "fastconv/cli", "fastconv/data"]
    assert program.main(words) == 1
    results = json.loads(out.read_text())
    assert len(results) == len(asked) > 2
    assert "1 survived" in capsys.readouterr().out
    program.main(words)
    assert len(asked) == len(results)
    assert program.main(["show", str(out)]) == 1
    assert f"{len(asked) - 1} of {len(asked)} killed" in capsys.readouterr().out
