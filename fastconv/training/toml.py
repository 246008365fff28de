"""TOML files of settings: read by the standard library, which has no writer, and so written here."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fastconv._files import home_path_of
from fastconv.errors import ArgumentError

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(tables: Mapping[str, Any]) -> str:
    """Return the text of nested mappings of strings, numbers, truth values and lists, and lists of mappings."""
    return "\n".join(_lines(tables, ())).lstrip("\n") + "\n"


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a file; ArgumentError if it cannot be read or is no TOML."""
    import tomllib

    try:
        return tomllib.loads(home_path_of(path, "path").read_bytes().decode())
    except OSError as error:
        raise ArgumentError(f"{os.fspath(path)}: got {error.strerror}; allowed: a TOML file of a run") from error
    except (ValueError, RecursionError) as error:  # of TOML, or of UTF-8
        raise ArgumentError(f"{os.fspath(path)}: got no TOML ({error}); allowed: a TOML file of a run") from error


def value(text: str) -> Any:
    """Return the value that TOML has for `text`, or the text itself where it has none."""
    import tomllib

    try:
        found = tomllib.loads(f"x = {text}")
    except (ValueError, RecursionError):
        return text
    return found["x"] if len(found) == 1 else text


def _lines(table: Mapping[str, Any], place: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of a table: its values, then the tables in it."""
    inner = {key: each for key, each in table.items() if _is_table(each) or _is_tables(each)}
    yield from (f"{_key(key)} = {_value(each)}" for key, each in table.items() if key not in inner)
    for key, each in inner.items():
        path = (*place, key)
        heading = ".".join(map(_key, path))
        if _is_table(each):
            yield from ("", f"[{heading}]", *_lines(each, path))
        else:
            for one in each:
                yield from ("", f"[[{heading}]]", *_lines(one, path))


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_table, value))


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _string(key)


def _string(text: str) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ArgumentError(f"{text!r}: got bytes that are no text; allowed: names in UTF-8") from None
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    raise TypeError(f"{type(value).__name__} has no form in TOML")
