"""Whoever follows a recipe of docs/recipes.md gets what it promises: each is followed in a copy of the tree."""

from pathlib import Path

import pytest

from tests.copied_tree import ROOT, copy_of_tree
from tests.recipes import Step, read, run_tests

RECIPES = ROOT / "docs" / "recipes.md"

# The tests that a recipe must pass in the tree where it was followed, as words for pytest, by its heading.
_CASES = ("tests/backends/test_ops.py", "tests/backends/emulator/test_ops.py")
_LISTS = ("tests/kernels/cpu/test_table.py", "tests/kernels/cuda/test_table.py")
PROMISED: dict[str, tuple[str, ...]] = {
    "An activation": (
        *_CASES,
        "tests/backends/reference/test_reference.py",
        "tests/nn/layers/test_layers.py",
        *("-k", "softsign or list"),
    ),
    "A loss": (
        *_CASES,
        *_LISTS,
        "tests/losses/test_listed.py",
        "-k",
        "(log_cosh and not steps) or is_listed or of_the_list",
    ),
    "An optimizer": (*_CASES, *_LISTS, "tests/optim/test_optim.py", "-k", "signum or list or every_rule"),
}

TEXT = """
# What a change touches

## An activation

Say what it is:

```python
# fastconv/list.py, behind `TWO = `
THREE = 3
FOUR = 4
```

and test it:

```python
# tests/test_new.py
def test_new():
    from fastconv.list import FOUR
    assert FOUR == 4
```

    pytest    # an indented block is none

## Nothing to follow
"""


def test_every_recipe_has_tests() -> None:
    assert set(read(RECIPES.read_text())) == set(PROMISED)


@pytest.mark.slow
def test_recipes_hold() -> None:
    """One copy for each, one after the other: what one adds, the next need not know."""
    for heading, words in PROMISED.items():
        with copy_of_tree() as tree:
            for step in read(RECIPES.read_text())[heading]:
                step.follow(tree)
            run_tests(tree, *words)


def test_steps_are_read_and_followed(tmp_path: Path) -> None:
    recipes = read(TEXT)
    assert list(recipes) == ["An activation"]
    assert recipes["An activation"][0] == Step("fastconv/list.py", "TWO = ", "THREE = 3\nFOUR = 4\n")
    (tmp_path / "fastconv").mkdir()
    (tmp_path / "fastconv" / "list.py").write_text("ONE = 1\nTWO = 2\nTEN = 10\n")
    for step in recipes["An activation"]:
        step.follow(tmp_path)
    assert (tmp_path / "fastconv" / "list.py").read_text() == "ONE = 1\nTWO = 2\nTHREE = 3\nFOUR = 4\nTEN = 10\n"
    assert (tmp_path / "tests" / "test_new.py").read_text().startswith("def test_new():\n")


def test_a_step_that_fits_no_longer_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "list.py").write_text("TWO = 2\nTWO = 2\n")
    for behind, count in (("TWO = ", 2), ("SIX", 0)):
        with pytest.raises(ValueError, match=f"stands in {count} lines; a recipe names one"):
            Step("list.py", behind, "").follow(tmp_path)


@pytest.mark.slow
def test_a_test_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_no.py").write_text("def test_no():\n    assert 1 == 2\n")
    (tmp_path / "test_yes.py").write_text("def test_yes(): ...\n")
    assert "1 passed" in run_tests(tmp_path, "test_yes.py")
    with pytest.raises(AssertionError, match="assert 1 == 2"):
        run_tests(tmp_path, "test_no.py")
    with pytest.raises(AssertionError):
        run_tests(tmp_path, "test_no.py", "-k", "nothing")


def test_the_copy_is_the_tree() -> None:
    with copy_of_tree() as tree:
        assert (tree / "fastconv" / "kernels").is_symlink()
        for name in ("CONTRIBUTING.md", "fastconv/functional.py", "kernels/__init__.py"):
            assert (tree / name).read_bytes() == (ROOT / name).read_bytes()
        place = tree
        with copy_of_tree(tree) as again:  # where there is no git
            assert _files(again) == _files(tree)
    assert not place.exists()


def _files(tree: Path) -> set[Path]:
    return {path.relative_to(tree) for path in tree.rglob("*") if "__pycache__" not in path.parts}
