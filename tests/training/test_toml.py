"""Settings in TOML: what is written is read again by the standard library."""

import tomllib

import pytest

from fastconv.errors import ArgumentError
from fastconv.training import toml

TABLES = {
    "format": 1,
    "text": 'a "quote" \\ \n\t\x7f\x01 é \U0001f600',
    "numbers": [1, -2, 0.1, 1e-08, 1e16, float("inf"), True, False],
    "nothing": [],
    "rows": [[1, 2], ["a"]],
    "run": {"lr": 0.002, "a b": {"deep": {"er": 1}}, "c": 1},
    "metrics": [{"name": "F1", "inner": {"x": 1}}, {"name": "Accuracy"}],
    "empty": {},
}


def test_what_is_written_is_read_again():
    text = toml.dumps(TABLES)
    assert tomllib.loads(text) == TABLES
    assert list(tomllib.loads(text)["run"]) == ["lr", "c", "a b"]  # values stand before tables
    assert not text.startswith("\n")


WORDS = {
    "1": 1,
    "1e-3": 1e-3,
    "true": True,
    "[1, 2]": [1, 2],
    '"1"': "1",
    "{name='Cosine', lr=1}": {"name": "Cosine", "lr": 1},
    **{text: text for text in ("plain", "a\nb=1", "1\ny = 2", "", "[" * 100_000)},
}


@pytest.mark.parametrize(("text", "value"), WORDS.items())
def test_a_word_is_the_value_that_toml_has_for_it(text, value):
    assert toml.value(text) == value
    assert type(toml.value(text)) is type(value)


@pytest.mark.parametrize("data", [b"a = \n", b"\xff", b"a = 1\na = 2\n", b"\x00", b"a = " + b"[" * 100_000])
def test_a_file_that_is_no_toml_is_named(tmp_path, data):
    (tmp_path / "run.toml").write_bytes(data)
    with pytest.raises(ArgumentError, match=r"run\.toml: got no TOML .*; allowed: a TOML file of a run"):
        toml.load(tmp_path / "run.toml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ArgumentError, match=r"run\.toml: got No such file or directory; allowed:"):
        toml.load(tmp_path / "run.toml")


def test_bytes_that_are_no_text_are_refused():
    with pytest.raises(ArgumentError, match="allowed: names in UTF-8"):
        toml.dumps({"images": "x\udcff"})
