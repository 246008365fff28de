"""Faults that the tests noticed once are noticed still."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.copied_tree import ROOT, copy_of_tree
from tests.plant.kept import KEPT, Kept
from tests.plant.trial import Trial, planted


@pytest.fixture(scope="module")
def copy() -> Iterator[Path]:
    with copy_of_tree() as tree:
        yield tree


@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.file)
def test_it_stands_where_it_is_said_to(kept: Kept) -> None:
    fault = kept.fault((ROOT / kept.file).read_text())
    assert fault.before != fault.after
    file, _, name = kept.test.partition("::")
    tests = (ROOT / file).read_text()
    assert not name or f"def {name.partition('[')[0]}(" in tests


def test_a_text_that_is_gone_or_stands_twice_is_told() -> None:
    for text, count in (("a\n  b\n", 0), ("x\n  x", 2)):
        with pytest.raises(ValueError, match=f"stands in {count} lines; a kept fault needs one"):
            Kept("f.py", "x", "y", "tests").fault(text)
    assert Kept("f.py", "x", "y", "tests").fault("a\n  x").planted("a\n  x") == "a\n  y"


@pytest.mark.slow
@pytest.mark.parametrize("kept", KEPT, ids=lambda kept: kept.file)
def test_it_is_noticed(kept: Kept, copy: Path) -> None:
    with planted(copy, kept.fault((copy / kept.file).read_text())):
        status, by = Trial(copy).run([kept.test, "-m", ""])
    assert status == "failed"
    assert by.startswith(kept.test)
