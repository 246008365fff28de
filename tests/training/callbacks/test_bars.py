"""The bar in real terminals of several kinds, in files, and in the kernel of a notebook."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from fastconv.training.callbacks.bars import in_notebook

SCRIPT = """
import time
import numpy as np
import fastconv as fc


class Slow(fc.training.Callback):  # the bar moves ten times a second
    def on_step_end(self, trainer, info):
        time.sleep(0.01)


fc.set_backend("numpy")
model = fc.nn.Sequential(fc.nn.Dense(2)).build((3,))
display = fc.training.ProgressDisplay(), Slow()
trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.1), callbacks=display)
history = trainer.fit((np.ones((40, 3), np.float32), np.zeros(40, np.int32)), 2, batch_size=1)
"""
PLAIN = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "TERM": "xterm", "LANG": "C.UTF-8"}


def in_terminal(columns: int = 80, **variables: str) -> str:
    """Run the script with stderr on a terminal of so many columns; return what is written there."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], stderr=slave, env={**PLAIN, **variables})
    os.close(slave)
    written = bytearray()
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        written += piece
    os.close(master)
    assert process.wait(timeout=60) == 0, written.decode()
    return written.decode("utf-8")


def without_codes(text: str) -> list[str]:
    return [line for line in re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)) if line.strip()]


def test_a_terminal_of_80_columns_shows_all_of_the_bar_in_one_line() -> None:
    written = in_terminal()
    lines = without_codes(written)
    bars = [line for line in lines if "/40" in line]
    assert bars
    assert max(map(len, lines)) <= 80
    assert any("images/s" in line and "loss" in line for line in bars)
    assert not any("\N{HORIZONTAL ELLIPSIS}" in line for line in bars)
    assert [line.split()[1] for line in lines if re.match(r"epoch \d/2 +\d\.\d{4} ", line)] == ["1/2", "2/2"]
    assert "\x1b[?25h" in written.rpartition("\x1b[?25l")[2]  # the cursor is back


@pytest.mark.parametrize("term", ["dumb", pytest.param("unknown", marks=pytest.mark.slow)])
def test_a_dumb_terminal_gets_lines_only(term: str) -> None:
    written = in_terminal(TERM=term)
    assert "\x1b" not in written
    heading, *lines = written.split("\r\n")[:-1]
    assert heading.split()[0] == "loss"
    assert [line.split()[1] for line in lines] == ["1/2", "2/2"]


@pytest.mark.slow
def test_without_colours_the_bar_moves_all_the_same() -> None:
    written = in_terminal(NO_COLOR="1")
    assert "/40" in written
    assert not re.search(r"\x1b\[[0-9;]*3[0-7][0-9;]*m|\x1b\[[34]8;", written)


@pytest.mark.slow
def test_a_terminal_of_ascii_gets_ascii() -> None:
    written = in_terminal(LANG="C", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert written.isascii()
    assert "/40" in written


def test_a_pipe_gets_lines_only() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=PLAIN, check=True)
    assert run.stdout == ""
    assert "\x1b" not in run.stderr
    assert [line.split()[0] for line in run.stderr.splitlines()] == ["loss", "epoch", "epoch"]


def test_this_is_no_notebook() -> None:
    assert not in_notebook()


def test_a_notebook_has_one_line_that_moves_and_lines_on_stdout(tmp_path: Path) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.v4.new_notebook()
    evil = "<b>x</b>"
    notebook.cells = [
        nbformat.v4.new_code_cell(SCRIPT),
        nbformat.v4.new_code_cell("model.summary()"),
        nbformat.v4.new_code_cell("history"),
        nbformat.v4.new_code_cell(f"fc.training.diagnostics.Machine(1.0, 1.0, how={evil!r})"),
    ]
    seen: list[str] = []

    class Client(nbclient.NotebookClient):
        def process_message(self, message, cell, cell_index):
            if message["msg_type"] in ("display_data", "update_display_data"):
                seen.append(message["content"]["data"]["text/plain"])
            return super().process_message(message, cell, cell_index)

    Client(notebook, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    shown, *printed = notebook.cells[0].outputs
    assert shown["output_type"] == "display_data"
    assert shown["data"] == {"text/plain": ""}  # taken away in the end
    assert re.fullmatch(r"epoch 2/2  \[#{24}\]  40/40  loss \d\.\d{4}  [\d,]+ images/s  \d+ s", seen[-3])
    assert max(map(len, seen)) <= 80
    assert {output["name"] for output in printed} == {"stdout"}
    assert [output["text"].split()[0] for output in printed] == ["loss", "epoch", "epoch"]
    htmls = [cell.outputs[0]["data"]["text/html"] for cell in notebook.cells[1:]]
    assert [html.partition(">")[0] for html in htmls] == ["<table", "<table", "<pre"]
    assert evil not in htmls[-1]
