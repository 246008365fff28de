"""Where data sets lie on the disk, and what is said where one is missing."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from fastconv import _validate as validate
from fastconv._files import home_path_of

Split = Literal["train", "test"]
PathLike = str | os.PathLike[str]


def default_directory() -> Path:
    """Return where data sets are looked for.

    FASTCONV_DATA_DIR, else ``$XDG_CACHE_HOME/fastconv/datasets``, else ``~/.cache/fastconv/datasets``.

    Returns
    -------
    Path
        It need not exist.

    Examples
    --------
    >>> import os
    >>> os.environ["FASTCONV_DATA_DIR"] = "/data"
    >>> str(fc.data.default_directory())
    '/data'
    """
    chosen = os.environ.get("FASTCONV_DATA_DIR")
    if chosen:
        return home_path_of(chosen, "FASTCONV_DATA_DIR")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastconv" / "datasets"


def root_of(directory: PathLike | None) -> Path:
    """Return the folder that a reader was given, or the default one."""
    return home_path_of(directory, "directory") if directory is not None else default_directory()


def check_split(split: str) -> None:
    """Refuse what is neither the training nor the test part."""
    validate.one_of(split, "split", ("train", "test"))


def how_to_get(name: str, page: str, root: Path) -> str:
    """Return the sentence for whoever lacks the data set `name`."""
    import shlex

    return (
        f"To get the data, run 'fastconv data download {name} --data-dir {shlex.quote(str(root))}', or take it from"
        f" {page}; then name that folder with --data-dir, as the argument 'directory', or in the environment variable"
        " FASTCONV_DATA_DIR"
    )
