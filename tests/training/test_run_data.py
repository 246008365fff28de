"""The images of a recipe."""

import numpy as np
import pytest

from fastconv.errors import DataError
from fastconv.training.recipe import Recipe
from fastconv.training.run_data import load_data, load_test

DRAWN = {"data": {"name": "shapes10", "limit": 7}, "model": {"name": "lenet5"}, "optimizer": {"name": "Adam"},
         "schedule": {"name": "Constant"}, "loss": {"name": "SoftmaxCrossEntropy"}, "run": {"epochs": 1}}  # fmt: skip


def test_the_test_part_is_the_same_with_and_without_the_other():
    recipe = Recipe.of(DRAWN)
    train, test = load_data(recipe)
    alone = load_test(recipe)
    assert (train.name, test.name, alone.name) == ("shapes10/train", "shapes10/test", "shapes10/test")
    assert len(train) == len(test) == len(alone) == 7
    np.testing.assert_array_equal(alone.images, test.images)
    np.testing.assert_array_equal(alone.labels, test.labels)
    assert not np.array_equal(train.images, test.images)


def test_files_that_are_not_there_are_told(tmp_path):
    recipe = Recipe.of(DRAWN | {"data": {"name": "cifar10", "directory": str(tmp_path)}})
    for load in (load_data, load_test):
        with pytest.raises(DataError, match="allowed: "):
            load(recipe)
