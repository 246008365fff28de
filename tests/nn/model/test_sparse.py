"""Arrays that are mostly zero, in files."""

import json

import numpy as np
import pytest

import fastconv as fc
from fastconv import nn
from fastconv.errors import CheckpointError
from fastconv.nn.model.sparse import pack, unpack
from fastconv.nn.model.weights import read_tensors, write_tensors


def test_there_and_back_to_the_bit(rng):
    sparse = np.where(rng.random((5, 7, 3)) < 0.9, 0, rng.standard_normal((5, 7, 3))).astype(np.float32)
    sparse[0, 0] = [-0.0, np.nan, 1e-42]
    arrays = {"a": sparse, "zeros": np.zeros((3, 11)), "full": rng.standard_normal((4, 4)), "scalar": np.array(2.0)}
    stored, shapes = pack(arrays)
    assert shapes == {"a": [5, 7, 3], "zeros": [3, 11]}
    assert set(stored) == {"a/bits", "a/values", "zeros/bits", "zeros/values", "full", "scalar"}
    back = unpack("w", stored, {"sparse": shapes})
    assert set(back) == set(arrays)
    for name, array in arrays.items():
        assert (back[name].shape, back[name].dtype) == (array.shape, array.dtype)
        assert back[name].tobytes() == array.tobytes()


def test_95_percent_take_a_twelfth():
    array = np.zeros(32_000, np.float32)
    array[::20] = 1
    stored, _ = pack({"w": array})
    assert sum(each.nbytes for each in stored.values()) == 32_000 // 8 + 4 * 1600 < array.nbytes / 12


def test_weights_come_back_into_the_model(backend, tmp_path, rng):
    model = nn.Sequential(nn.Conv2d(4, 3), nn.BatchNorm2d(), nn.Flatten(), nn.Dense(3)).build((6, 6, 2), seed=0)
    weight = fc.to_numpy(model.layers[0].weight.data).copy()
    weight[np.abs(weight) < np.quantile(np.abs(weight), 0.9)] = 0
    model.layers[0].weight.data = weight
    x = fc.asarray(rng.standard_normal((2, 6, 6, 2)).astype(np.float32))
    before = fc.to_numpy(model(x)).copy()
    model.save_weights(tmp_path / "sparse", sparse=True)
    other = nn.Sequential(nn.Conv2d(4, 3), nn.BatchNorm2d(), nn.Flatten(), nn.Dense(3)).build((6, 6, 2), seed=1)
    other.load_weights(tmp_path / "sparse")
    np.testing.assert_array_equal(fc.to_numpy(other(x)), before)


@pytest.mark.parametrize("change", [{"w/bits": None}, {"w/values": np.ones(3)}, {"w/bits": np.zeros(2, np.uint8)}])
def test_what_was_packed_otherwise_is_refused(change, tmp_path):
    stored, shapes = pack({"w": np.array([0.0] * 30 + [1.0] * 2)})
    assert json.dumps(shapes)
    tensors = {name: array for name, array in (stored | change).items() if array is not None}
    write_tensors(tmp_path / "w", tensors, {"kind": "weights", "sparse": shapes})
    with pytest.raises(CheckpointError, match=r"whose 'w' is not packed as it says; allowed: an intact file"):
        read_tensors(tmp_path / "w", "weights")


@pytest.mark.parametrize("shapes", [3, {"w": 3}, {"w": [1.5]}, {"w": [-1]}])
def test_a_list_of_packed_arrays_of_another_form_is_refused(shapes, tmp_path):
    write_tensors(tmp_path / "w", {"v": np.ones(1)}, {"kind": "weights", "sparse": shapes})
    with pytest.raises(CheckpointError, match=r"whose list of packed arrays is none; allowed: an intact file"):
        read_tensors(tmp_path / "w", "weights")
