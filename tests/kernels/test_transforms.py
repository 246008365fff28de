"""The columns of changes, which two files name in one order."""

import re
from pathlib import Path

import fastconv.kernels
from fastconv.kernels.transforms import AT, COLUMNS, UNCHANGED

CUDA = Path(fastconv.kernels.__file__).parent / "cuda"


def test_columns_are_those_of_the_cuda_kernels():
    text = (CUDA / "common" / "transforms.cuh").read_text()
    names = re.findall(r"^ {4}(\w+)", text, re.MULTILINE)
    assert names == [*(name.upper() for name in COLUMNS), "COLUMNS"]


def test_places_are_those_of_the_columns():
    assert [COLUMNS[place] for place in AT] == list(AT._fields) == list(COLUMNS)


def test_there_is_a_number_for_each_column():
    assert len(UNCHANGED) == len(set(COLUMNS)) == len(COLUMNS)
