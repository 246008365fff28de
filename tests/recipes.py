"""The recipes of docs/recipes.md, read and followed.

A recipe is a heading of the second level and, below it, blocks of code whose first line says where they go::

    ## An activation

    ```python
    # kernels/pointwise.py, behind `SILU = `
    TOY = ...
    ```

The block goes behind the line of that file which contains the text between the backquotes, once; without that text, to
the end of the file, which is made if it is not there. The comment itself does not.
"""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.copied_tree import environment, pytest_command

_BLOCK = re.compile(
    r"^```\w+\n(?:#|//) (?P<file>[\w./]+)(?:, behind `(?P<behind>[^`\n]+)`)?\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Step:
    """Lines for one file, behind the line with the text `behind` or at the end."""

    file: str
    behind: str | None
    code: str

    def follow(self, tree: Path) -> None:
        """Write the lines into the file."""
        place = tree / self.file
        if self.behind is None:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_text((place.read_text() if place.exists() else "") + self.code)
            return
        lines = place.read_text().splitlines(keepends=True)
        found = [number for number, line in enumerate(lines) if self.behind in line]
        if len(found) != 1:
            raise ValueError(f"{self.file}: {self.behind!r} stands in {len(found)} lines; a recipe names one")
        lines.insert(found[0] + 1, self.code)
        place.write_text("".join(lines))


def read(text: str) -> dict[str, list[Step]]:
    """Return the steps of each recipe by its heading."""
    found = {}
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        heading, _, body = section.partition("\n")
        steps = [Step(m["file"], m["behind"], m["code"]) for m in _BLOCK.finditer(body)]
        if steps:
            found[heading.strip()] = steps
    return found


def run_tests(tree: Path, *words: str) -> str:
    """Run tests in a copied tree and return what they print; an AssertionError if one fails or there is none."""
    done = subprocess.run(
        pytest_command(*words), cwd=tree, env=environment(tree), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    return done.stdout
