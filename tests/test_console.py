"""What rich shows is text, whatever is in it."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest

import fastconv
from fastconv._console import count, make_console, make_table, one_line, print_table, shell_word, short_number

TEXTS = ["[bold]", "x[/]", "[/bold]", "run [final]", "pip install 'fastconv[cuda12]'", ":smile:", "[link=x]y[/link]"]
TEXTS += ["\\[a]", "[[x]]", "[red]10 'a' True None http://x[/red]"]


def drawn(seed):
    """Return a random text of what markup is made of."""
    parts = ["[", "]", "/", ":", "\\", "bold", "red", "smile", "[/]", "@click", "=", "1", " ", "a", "b"]
    return "x" + "".join(np.random.default_rng(seed).choice(parts, 12)) + "x"


@pytest.mark.parametrize("text", [*TEXTS, *map(drawn, range(40))])
def test_data_is_shown_as_it_is(text, capsys):
    table = make_table("name", text, right=(text,))
    table.add_row(text, "second")
    print_table(table)
    out = capsys.readouterr().out
    heading, row = out.splitlines()
    assert heading.split(maxsplit=1)[1].strip() == text.strip()
    assert row.startswith(text)
    stream = io.StringIO()
    make_console(stream, width=400).print(text, soft_wrap=True)
    assert stream.getvalue() == text + "\n"


def test_a_log_has_unbroken_lines_and_a_terminal_its_width(capsys, monkeypatch):
    table = make_table("a", "b")
    table.add_row("word " * 30, "end")
    print_table(table)
    assert len(capsys.readouterr().out.splitlines()) == 2
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    print_table(table)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 2
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize("variable", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_tables_have_no_control_characters(capsys, monkeypatch, variable):
    monkeypatch.setenv(variable, "1")
    table = make_table("a")
    table.add_row("1")
    print_table(table)
    assert "\x1b" not in capsys.readouterr().out


def test_there_is_one_place_that_makes_a_console():
    """Whoever makes one elsewhere has markup again."""
    root = Path(fastconv.__file__).parent
    assert [path.name for path in root.rglob("*.py") if "Console(" in path.read_text()] == ["_console.py"]


@pytest.mark.parametrize(
    ("word", "encoding", "quoted"),
    [
        ("plain", "ascii", "plain"),
        ("a b", "ascii", "'a b'"),
        ("sqüare", "utf-8", "'sqüare'"),
        ("sqüare", "ascii", "$'\\x73\\x71\\xc3\\xbc\\x61\\x72\\x65'"),
        ("\udcff\n", "utf-8", "$'\\xff\\x0a'"),
    ],
)
def test_a_word_is_quoted_for_a_shell_as_far_as_it_can_be_shown(word, encoding, quoted):
    assert shell_word(word, encoding) == quoted


def test_one_thing_is_singular():
    assert [count(number, "epoch") for number in (0, 1, 2)] == ["0 epochs", "1 epoch", "2 epochs"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0.0000"), (0.001, "0.0010"), (0.00099, "9.90e-04"), (999.9, "999.9000"), (1000.0, "1.00e+03")),
        *((-1e30, "-1.00e+30"), (float("nan"), "nan"), (float("inf"), "inf")),
    ],
)
def test_a_number_that_four_decimals_do_not_tell_has_a_power_of_ten(value, text):
    assert short_number(value) == text


CONTROLS = {"a\nb": r"a\nb", "\x1b[31mz": r"\x1b[31mz", "t\tt\r": r"t\tt\r", "\x07\x7f\x9b": r"\x07\x7f\x9b"}
CONTROLS |= {"\u202ex\u2028": r"\u202ex\u2028", "é [red] \\n": "é [red] \\n"}


@pytest.mark.parametrize("text", CONTROLS)
def test_data_does_not_break_lines_nor_command_the_terminal(text, capsys):
    assert one_line(text) == CONTROLS[text]
    table = make_table("name", "number")
    table.add_row(text, "1")
    print_table(table)
    assert capsys.readouterr().out.splitlines()[1].split(" ")[0] == CONTROLS[text].split(" ")[0]
