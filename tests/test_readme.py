"""The README tells the truth: its code runs, its commands parse, its links lead somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from fastconv.backends import set_backend, why_unavailable
from fastconv.cli.parser import build_parser
from fastconv.kernels.pointwise import POINTWISE
from fastconv.optim import OPTIMIZERS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", ["numba", pytest.param("cuda-emulator", marks=pytest.mark.emulator)])
def test_python_blocks_run(capsys, name):
    if reason := why_unavailable(name):
        pytest.skip(reason)
    set_backend(name)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 4
    exec(compile("\n".join(blocks), "README.md", "exec"), {})  # noqa: S102 - our own text
    assert "parameters" in capsys.readouterr().out


def commands():
    return [line.strip() for line in README.splitlines() if line.startswith("    ")]


def test_commands_parse():
    calls = [
        shlex.split(call)[1:] for line in commands() for call in line.split(" && ") if call.startswith("fastconv ")
    ]
    assert len(calls) == 10
    for call in calls:
        build_parser().parse_args(call)


def test_test_command_is_what_ci_runs():
    (command,) = [line for line in commands() if line.endswith("pytest")]
    ci = (ROOT / ".ci" / "run").read_text()
    for part in command.split(" && "):
        assert re.search(rf'^stage "[a-z ]+" {re.escape(part)}$', ci, re.MULTILINE), part


def test_all_activations_are_in_the_table():
    (row,) = (line for line in README.splitlines() if line.startswith("| ReLU, "))
    assert row.split(" | ")[0] == "| " + ", ".join(function.layer for function in POINTWISE.values())


def test_all_optimizers_are_in_the_table():
    (row,) = (line for line in README.splitlines() if line.startswith("| SGD, "))
    assert row.split(" | ")[0] == "| " + ", ".join(optimizer.__name__ for optimizer in OPTIMIZERS.values())


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()
