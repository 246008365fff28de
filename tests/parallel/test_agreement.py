from __future__ import annotations

import numpy as np
import pytest

from fastconv.backends import get_backend
from fastconv.errors import ParallelError
from fastconv.parallel import SingleProcess
from fastconv.parallel.agreement import check_alike, check_values, share_values
from tests.parallel.threads import run_ranks


def _message(function):
    with pytest.raises(ParallelError) as caught:
        function()
    return str(caught.value)


def test_what_differs_is_named_on_every_rank_alike():
    def rank(communicator):
        seed = "7" if communicator.rank == 2 else "3"
        return _message(lambda: check_alike(communicator, {"code": "same", "seed": seed}))

    messages = run_ranks(4, rank)
    assert len(set(messages)) == 1
    assert messages[0].startswith("seed: got 7 on rank 2")
    assert messages[0].endswith("there 3")


def test_what_is_alike_passes():
    run_ranks(2, lambda communicator: check_alike(communicator, {"code": "same", "seed": "3"}))
    check_alike(SingleProcess(), {"seed": "3"})


def test_values_of_rank_0_are_given_to_all_and_compared():
    backend = get_backend("numpy")

    def rank(communicator):
        arrays = [np.full(3, communicator.rank, np.float32), np.full(2, communicator.rank, np.int64)]
        found = _message(lambda: check_values(communicator, backend, arrays, 12))
        share_values(communicator, backend, arrays)
        check_values(communicator, backend, arrays, 12)
        return found, [array.tolist() for array in arrays]

    for message, values in run_ranks(2, rank):
        assert "on the ranks 1 after step 12" in message
        assert values == [[0.0] * 3, [0, 0]]
