"""Random numbers of augmentations: their distributions, and what they depend on."""

import numpy as np
import pytest

from fastconv.data.draws import Draws

PLACES = np.arange(10_000)


def test_numbers_depend_on_the_place_in_the_epoch_and_not_on_the_batch():
    whole = Draws(7, 2, 0, PLACES[:10], 3).uniform(5)
    parts = [Draws(7, 2, begin, PLACES[begin:end], 3).uniform(5) for begin, end in ((0, 4), (4, 10))]
    np.testing.assert_array_equal(whole, np.concatenate(parts, 1))


@pytest.mark.parametrize("other", [(8, 2, 0, 3), (7, 3, 0, 3), (7, 2, 1, 3), (7, 2, 0, 4)])
def test_seed_epoch_position_and_kind_decide(other):
    seed, epoch, position, kind = other
    one, two = Draws(7, 2, 0, PLACES[:10], 3), Draws(seed, epoch, position, PLACES[:10], kind)
    assert not (one.uniform(2) == two.uniform(2)).any()
    assert not (one.of_batch(4) == two.of_batch(4)).any()
    assert one.beta(0.5) != two.beta(0.5)


def test_the_first_kind_is_the_default():
    np.testing.assert_array_equal(Draws(7, 2, 0, PLACES[:10]).uniform(2), Draws(7, 2, 0, PLACES[:10], 0).uniform(2))


def test_no_epoch_has_the_numbers_of_a_later_place_in_another():
    draws = [Draws(7, epoch, position, PLACES[:4], 1) for epoch in range(3) for position in range(3)]
    for found in ([d.of_batch(1)[0] for d in draws], [d.beta(0.5) for d in draws], [d.uniform(4)[0, 0] for d in draws]):
        assert len(set(found)) == 9


def test_they_are_the_same_for_good():
    """A seed means the same numbers in every version: by the words of the docstrings, in Python's own integers."""
    purposes = {name: int.from_bytes(name, "big") for name in (b"ima", b"bat", b"dat")}

    def philox(purpose, counter):
        return np.random.Philox(key=np.array([7, purpose << 8 | 3], np.uint64), counter=(2 << 128) + counter)

    def fractions(words):
        return [(int(word) >> 11) / 2**53 for word in words]

    draws = Draws(7, 2, 5, PLACES[:2], 3)
    assert draws.of_batch(3).tolist() == fractions(philox(purposes[b"bat"], 5 << 64).random_raw(3))
    words = philox(purposes[b"ima"], 5 * 2).random_raw(16).reshape(2, 8)  # five numbers take two blocks of four
    assert draws.uniform(5).T.tolist() == [fractions(row[:5]) for row in words]
    expected = []
    for index in range(2):
        word = ((index + 1) * 0x9E3779B97F4A7C15 + 7 * 0x9E3779B97F4A7C15 + purposes[b"dat"]) % 2**64
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            word = (word ^ word >> shift) * factor % 2**64
        expected.append(word ^ word >> 31)
    assert draws.of_image().tolist() == fractions(expected)


def test_numbers_are_even():
    for numbers in (*Draws(1, 0, 0, PLACES).uniform(5), Draws(1, 0, 0, PLACES).of_image()):
        assert 0 <= numbers.min() < numbers.max() < 1
        counts = np.histogram(numbers, 20, (0, 1))[0]
        assert ((counts - 500) ** 2 / 500).sum() < 60  # chi squared of 19 degrees: one in a million


def test_numbers_of_an_image_are_the_same_in_every_epoch_and_place():
    one, two = Draws(5, 0, 0, np.array([3, 9])), Draws(5, 4, 7, np.array([9, 3]), 2)
    np.testing.assert_array_equal(one.of_image(), two.of_image()[::-1])
    assert not (one.of_image() == Draws(6, 0, 0, np.array([3, 9])).of_image()).any()


def test_no_two_rows_of_numbers_are_related():
    numbers = Draws(1, 0, 0, PLACES).uniform(4)
    related = np.corrcoef(np.concatenate([numbers, numbers[:, ::-1], [Draws(1, 0, 0, PLACES).of_image()]]))
    assert np.abs(related - np.eye(9)).max() < 0.05


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 1.5, 8.0])
def test_shares_have_a_beta_distribution(alpha):
    shares = np.array([Draws(2, 0, batch, PLACES[:1]).beta(alpha) for batch in range(3000)])
    drawn = np.random.default_rng(0).beta(alpha, alpha, 300_000)
    assert ((shares >= 0) & (shares <= 1)).all()
    ends = np.linspace(0, 1, 51)[1:-1]
    distance = np.abs((shares[:, None] <= ends).mean(0) - (drawn[:, None] <= ends).mean(0)).max()
    assert distance < 0.036  # Kolmogorov's 1.95 / sqrt(3000): one in a thousand


def test_tiny_alphas_end():
    assert all(0 <= Draws(2, 0, batch, PLACES[:1]).beta(1e-6) <= 1 for batch in range(20))


def test_the_largest_seed_epoch_and_place_are_taken():
    draws = Draws(2**64 - 1, 2**32, 2**31, np.array([0, 2**31]), 6)
    for numbers in (*draws.uniform(3), draws.of_image(), draws.of_batch(2), [draws.beta(0.3), draws.beta(2.0)]):
        assert all(0 <= number <= 1 for number in numbers)
    assert Draws(0, 0, 0, np.arange(0)).uniform(3).shape == (3, 0)
