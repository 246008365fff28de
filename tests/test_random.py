"""Keys and seeds."""

import threading

import numpy as np
import pytest

import fastconv as fc
from fastconv import random
from fastconv.backends.contract.types import RandomKey
from fastconv.errors import ArgumentError


def test_draws_of_a_stream_are_counted():
    with random.stream(7, 3):
        assert [random.next_key() for _ in range(2)] == [RandomKey(7, 0, 3), RandomKey(7, 1, 3)]
        with random.stream(8, 2**32 + 1):
            assert random.next_key() == RandomKey(8, 0, 1)
        assert random.next_key() == RandomKey(7, 2, 3)


def test_draws_outside_of_a_stream_begin_with_the_seed():
    fc.seed(5)
    first = [random.next_key() for _ in range(2)]
    fc.seed(5)
    assert [random.next_key() for _ in range(2)] == first
    assert first[0] != first[1]
    assert random.get_seed() == first[0].seed == 5


def test_threads_share_the_process_and_not_a_stream():
    fc.seed(1)
    keys = []
    with random.stream(9, 0):
        threads = [
            threading.Thread(target=lambda: keys.extend(random.next_key() for _ in range(100))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert random.next_key() == RandomKey(9, 0, 0)
    assert {key.seed for key in keys} == {1}
    assert sorted(key.stream for key in keys) == list(range(400))


def test_host_generators_differ_by_seed_and_name():
    values = {
        place: tuple(random.host_generator(*place).random(3))
        for place in [(0, "a"), (0, "b"), (1, "a"), (2**64 - 1, "a")]
    }
    assert len(set(values.values())) == 4
    assert values[0, "a"] == tuple(random.host_generator(0, "a").random(3))


def test_initial_values_never_change():
    """A change here changes every trained model: it needs an entry in the change log."""
    with fc.use_backend("numpy"):
        uniform = fc.nn.Dense(2).build((3,), np.float64, seed=0)
        normal = fc.nn.Dense(2, init="he_normal").build((3,), np.float64, seed=0)
    np.testing.assert_allclose(uniform.weight.data[0], [0.32947732, -0.16542789], rtol=1e-7)
    np.testing.assert_allclose(uniform.bias.data, [0.29405908, 0.32093712], rtol=1e-7)
    np.testing.assert_allclose(normal.weight.data[0], [0.16461795, 1.2438135], rtol=1e-7)


@pytest.mark.parametrize("bad", [-1, 2**64, 0.5, None])
def test_refuses(bad):
    with pytest.raises(ArgumentError, match="seed"):
        fc.seed(bad)
    with pytest.raises(ArgumentError, match="seed"), random.stream(bad, 0):
        pass
