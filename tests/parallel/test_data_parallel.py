from __future__ import annotations

import copy
import pickle

import pytest

from fastconv.errors import ArgumentError, ParallelError
from fastconv.parallel import DataParallel, SingleProcess
from tests.parallel.threads import Job, ThreadCommunicator


def _rank(number, size):
    return ThreadCommunicator(Job(size), number)


def test_each_rank_has_neighbouring_shards():
    assert [list(DataParallel(_rank(number, 4)).own) for number in range(4)] == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert list(DataParallel(SingleProcess()).own) == list(range(8))


def test_without_determinism_there_is_a_shard_for_each_rank():
    parallel = DataParallel(_rank(1, 3), deterministic=False)
    assert (parallel.shards, list(parallel.own), parallel.saved_shards) == (3, [1], None)


@pytest.mark.parametrize("size", [3, 16])
def test_ranks_that_do_not_divide_the_shards_are_refused(size):
    with pytest.raises(ParallelError, match=rf"got {size} ranks for 8 shards; allowed: .* 1, 2, 4, 8"):
        DataParallel(_rank(0, size))


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"shards": 6}, "shards"),
        ({"shards": 0}, "shards"),
        ({"bucket_mb": 0}, "bucket_mb"),
        ({"gradients": "float16"}, "gradients"),
        ({"compare_every": -1}, "compare_every"),
    ],
)
def test_nonsense_is_refused(settings, name):
    with pytest.raises(ArgumentError, match=f"^{name}: got"):
        DataParallel(SingleProcess(), **settings)


def test_a_copied_trainer_talks_to_the_same_ranks_and_none_is_pickled():
    parallel = DataParallel(SingleProcess())
    assert copy.deepcopy(parallel) is parallel
    with pytest.raises(ArgumentError, match="pickle"):
        pickle.dumps(parallel)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"communicator": "mpi"}, "communicator: got 'mpi'; allowed: None, or a Communicator"),
        ({"communicator": SingleProcess}, "communicator: got <class .*SingleProcess'>; allowed: "),
        ({"timeline": "trace.json"}, r"timeline: got 'trace.json'; allowed: None, or fastconv.parallel.Timeline\(\)"),
    ],
)
def test_who_carries_it_is_checked(settings, message):
    with pytest.raises(ArgumentError, match=f"^{message}"):
        DataParallel(**settings)
