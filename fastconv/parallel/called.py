"""``python -m fastconv.parallel.called FILE``: call the function in a file, and put what rank 0 returns beside it."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from fastconv.parallel.starting import is_first


def result_of(file: Path) -> Path:
    """Return where the result is put."""
    return file.with_suffix(".result")


def main(name: str) -> None:
    """Call it."""
    file = Path(name)
    function, arguments = pickle.loads(file.read_bytes())  # noqa: S301 - the program that started the job wrote it
    result = function(*arguments)
    if is_first():
        half = file.with_suffix(".half")
        half.write_bytes(pickle.dumps(result))
        half.replace(result_of(file))


if __name__ == "__main__":
    main(sys.argv[1])
