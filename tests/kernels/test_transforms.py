"""The columns of changes, which three files name in one order."""

import re
from pathlib import Path

import pytest

import fastconv.kernels
from fastconv.kernels.transforms import COLUMNS, UNCHANGED

CUDA = Path(fastconv.kernels.__file__).parent / "cuda"


def test_columns_are_those_of_the_cuda_kernels():
    text = (CUDA / "common" / "transforms.cuh").read_text()
    names = re.findall(r"^ {4}(\w+)", text, re.MULTILINE)
    assert names == [*(name.upper() for name in COLUMNS), "COLUMNS"]


def test_columns_are_those_of_the_cpu_kernels():
    module = pytest.importorskip("fastconv.kernels.cpu.elementwise.transform")
    places = {name[1:].lower(): value for name, value in vars(module).items() if re.fullmatch("_[A-Z0-9_]+", name)}
    assert {name: places[name] for name in COLUMNS} == {name: place for place, name in enumerate(COLUMNS)}


def test_there_is_a_number_for_each_column():
    assert len(UNCHANGED) == len(set(COLUMNS)) == len(COLUMNS)
