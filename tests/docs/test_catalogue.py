"""The catalogue of kernels/README.md is what its script makes of the code, and leaves nothing out."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

import pytest

from docs import catalogue
from docs.marked import part
from fastconv.kernels import cpu, cuda


def test_the_page_holds_what_the_script_makes() -> None:
    assert part(catalogue.PAGE, "catalogue") == catalogue.catalogue(), "run: python -m docs.catalogue"


@pytest.mark.parametrize("package", [cpu, cuda])
def test_every_kernel_of_the_table_stands_with_a_file(package: ModuleType) -> None:
    found = catalogue.by_file(package.TABLE, catalogue.KERNELS / package.__name__.rpartition(".")[2])
    assert all(path.is_file() for path in found)
    assert {kernel for kernels in found.values() for kernel in kernels} == {
        name.rpartition(".")[2] for names in package.TABLE.values() for name in names
    }


def test_every_file_says_what_it_holds() -> None:
    paths = [path for ending in ("py", "cu", "cuh") for path in catalogue.KERNELS.rglob(f"*.{ending}")]
    silent = [path.name for path in paths if len(catalogue.first_line(path)) < 10]
    assert not silent


def test_the_first_sentence_of_a_source_may_run_over_lines(tmp_path: Path) -> None:
    source = tmp_path / "sum.cu"
    source.write_text("// Sums of rows, by\n// halves. Bound by memory.\nusing T = ELEMENT;\n")
    assert catalogue.first_line(source) == "Sums of rows, by halves"
