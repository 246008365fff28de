"""The images of a recipe."""

import numpy as np
import pytest

from fastconv.errors import DataError
from fastconv.training.recipe import Recipe
from fastconv.training.run_data import load_data, load_parts, load_test

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


ABOUT = {"image_size": [4, 4]}


def draw(folder, *names, count=5):
    """Write images of one grey each into folders, which say by it how many were written before."""
    image = pytest.importorskip("PIL.Image", reason="needs the extra 'images'")
    for i, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        for j in range(count):
            image.new("RGB", (4, 4), (10 * i, j, 0)).save(folder / name / f"{j}.png")
    return str(folder)


@pytest.mark.parametrize(("first", "second"), [("train", "Test"), ("Training", "VALID"), ("TRAIN", "testing")])
def test_parts_are_found_in_any_case(tmp_path, first, second):
    names = [f"{part}/{name}" for part in (first, second) for name in ("a", "b")]
    parts = load_parts(draw(tmp_path / "set", *names), ABOUT)
    assert np.unique(parts["train"].images[..., 0]).tolist() == [0, 10]
    assert np.unique(parts["test"].images[..., 0]).tolist() == [20, 30]
    assert parts["train"].class_names == parts["test"].class_names == ("a", "b")


@pytest.mark.parametrize("odd", ["extra", "tset", "Train"])
def test_another_folder_beside_the_parts_is_refused_by_its_name(tmp_path, odd):
    folder = draw(tmp_path / "set", "train/a", "train/b", "test/a", "test/b", f"{odd}/a")
    with pytest.raises(
        DataError, match=r"set/(extra|tset|train): got a folder beside (train|Train); allowed: (t|T)rain, and"
    ):
        load_parts(folder, ABOUT)


def test_a_second_folder_to_test_on_is_told(tmp_path):
    folder = draw(tmp_path / "set", *(f"{part}/{name}" for part in ("train", "val", "test") for name in ("a", "b")))
    with pytest.warns(UserWarning, match=r"images to test on come from \S*/set/test; not used: \S*/set/val$"):
        parts = load_parts(folder, ABOUT)
    assert np.unique(parts["test"].images[..., 0]).tolist() == [40, 50]


def test_a_class_may_be_called_train(tmp_path):
    parts = load_parts(draw(tmp_path / "set", "car", "train", "val"), ABOUT)
    assert parts["train"].class_names == ("car", "train", "val")


def test_one_class_is_not_trained_on(tmp_path):
    for folder in (draw(tmp_path / "set", "cat"), draw(tmp_path / "both", "train/cat", "test/cat")):
        data = {"name": "images", "images": folder, "image_size": [4, 4]}
        with pytest.raises(DataError, match=r"data: got one class, cat, in \w+/train; allowed: two or more"):
            load_data(Recipe.of(DRAWN | {"data": data}))


def test_images_to_test_on_are_asked_for(tmp_path):
    data = {"name": "images", "images": draw(tmp_path / "set", "cat", "dog"), "image_size": [4, 4]}
    for part in ("cat", "dog"):
        for path in sorted((tmp_path / "set" / part).iterdir())[1:]:
            path.unlink()
    with pytest.raises(DataError, match=r"^data: got no images to test on, of 2 in all; allowed: three or more"):
        load_data(Recipe.of(DRAWN | {"data": data}))


def test_of_fewer_images_each_class_has_its_share(tmp_path):
    folder = draw(tmp_path / "set", "a", "b", "c", count=10)
    parts = load_parts(folder, ABOUT, limit=3)
    assert [parts[part].labels.tolist() for part in ("train", "test")] == [[0, 1, 2]] * 2
    assert [len(part) for part in load_parts(folder, ABOUT, limit=99).values()] == [24, 6]
