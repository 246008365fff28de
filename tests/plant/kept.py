"""Faults that were drawn once, and stay: the slow suite plants each again, and its test must fail."""

from __future__ import annotations

from dataclasses import dataclass

from tests.plant.faults import Fault


@dataclass(frozen=True)
class Kept:
    """A fault that is found by its text, wherever in the file that stands now.

    Attributes
    ----------
    file : str
        From the root of the tree.
    before, after : str
        One line, which stands there once, and what takes its place.
    test : str
        What must fail, as a word for pytest.
    """

    file: str
    before: str
    after: str
    test: str

    def fault(self, text: str) -> Fault:
        """Return it as a fault of the file's present text."""
        lines = text.split("\n")
        found = [number for number, line in enumerate(lines, 1) if line.strip() == self.before]
        if len(found) != 1:
            raise ValueError(f"{self.file}: {self.before!r} stands in {len(found)} lines; a kept fault needs one")
        line = lines[found[0] - 1]
        return Fault(self.file, found[0], "kept", line, line.replace(self.before, self.after))


KEPT = [
    Kept(
        "fastconv/data/loader.py",
        "if not x.ndim or x.shape[:1] != y.shape[:1]:",
        "if not x.ndim and x.shape[:1] != y.shape[:1]:",
        "tests/data/test_loader.py",
    ),
    Kept(
        "fastconv/optim/schedules.py",
        "t = min((step - top) / (last - top), 1.0) if last > top else 1.0",
        "t = min((step - top) / (last - top), 1.0) if not (last > top) else 1.0",
        "tests/optim/test_schedules.py",
    ),
    Kept(
        "fastconv/cli/evaluate.py",
        "broken = int(np.count_nonzero(~np.isfinite(logits).all(1)))",
        "broken = int(np.count_nonzero(~np.isfinite(logits).all(2)))",
        "tests/cli/test_evaluate.py",
    ),
]
