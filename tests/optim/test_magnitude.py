"""Schedules of sparsity and the choice of weights, by hand and against PyTorch's."""

import numpy as np
import pytest

from fastconv.optim.magnitude import SparsitySchedule, smallest_pruned


def test_the_cubic_schedule_by_hand():
    schedule = SparsitySchedule(begin=10, end=50, frequency=10, initial=0.1, target=0.9, exponent=3.0)
    # 0.9 - 0.8 * (1 - (t - 10) / 40)**3
    by_hand = {9: 0.0, 10: 0.1, 20: 0.5625, 30: 0.8, 40: 0.8875, 50: 0.9, 1000: 0.9}
    for step, share in by_hand.items():
        assert schedule.at(step) == pytest.approx(share, abs=1e-15)


def test_masks_change_at_the_begin_after_each_period_and_at_the_end():
    schedule = SparsitySchedule(3, 12, 4, 0.0, 0.5, 3.0)
    assert [schedule.last_change(step) for step in range(14)] == [None] * 3 + [3] * 4 + [7] * 4 + [11, 12, 12]
    at_once = SparsitySchedule(5, 5, 10, 0.0, 0.5, 3.0)
    assert [at_once.last_change(step) for step in (4, 5, 6)] == [None, 5, 5]
    assert [at_once.at(step) for step in (4, 5)] == [0.0, 0.5]


def kept(weights, share, masks=None, *, together=False):
    arrays = [np.array(weight, float) for weight in weights]
    before = [np.ones(array.shape, bool) for array in arrays] if masks is None else [np.array(m, bool) for m in masks]
    return [mask.astype(int).tolist() for mask in smallest_pruned(arrays, before, share, together=together)]


def test_the_smallest_of_each_array_or_of_all_go():
    weights = [[3.0, -1.0, 2.0, -4.0], [0.5, 0.1, -0.2, 5.0]]
    assert kept(weights, 0.5) == [[1, 0, 0, 1], [1, 0, 0, 1]]
    assert kept(weights, 0.5, together=True) == [[1, 0, 1, 1], [0, 0, 0, 1]]
    assert kept(weights, 0.0) == [[1] * 4] * 2


def test_of_equal_ones_the_first_go_and_what_is_pruned_never_comes_back():
    assert kept([[1.0, -1.0, 1.0, 1.0, 0.0]], 0.6) == [[0, 0, 1, 1, 0]]
    assert kept([[0.0, 0.0, 0.0, 0.0]], 0.5) == [[0, 0, 1, 1]]
    masks = [[1, 1, 1, 0]]
    assert kept([[0.0, 0.0, 3.0, 0.0]], 0.5, masks) == [[0, 1, 1, 0]]
    for share in (0.0, 0.1):
        assert kept([[0.0, 0.0, 3.0, 0.0]], share, masks) == [[1, 1, 1, 0]]


def test_one_weight_stays_and_what_is_no_number_too():
    assert kept([[1.0, 2.0, 3.0]], 0.99) == [[0, 0, 1]]
    assert kept([[7.0]], 0.9) == [[1]]
    assert kept([[np.nan, 2.0, -np.inf, 1.0]], 0.5) == [[1, 0, 1, 0]]


@pytest.mark.peer
@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.925, 0.97])
def test_masks_equal_torch(rng, share):
    torch = pytest.importorskip("torch")
    from torch.nn.utils import prune

    weights = [rng.standard_normal((5, 7)), 0.3 * rng.standard_normal((3, 3, 4, 2))]
    before = [np.ones(weight.shape, bool) for weight in weights]

    def modules():
        made = [torch.nn.Module() for _ in weights]
        for module, weight in zip(made, weights, strict=True):
            module.weight = torch.nn.Parameter(torch.from_numpy(weight.copy()))
        return made

    each, together = modules(), modules()
    for module in each:
        prune.l1_unstructured(module, "weight", amount=share)
    pairs = [(module, "weight") for module in together]
    prune.global_unstructured(pairs, pruning_method=prune.L1Unstructured, amount=share)
    for theirs, whole in ((each, False), (together, True)):
        ours = smallest_pruned(weights, before, share, together=whole)
        for module, mask in zip(theirs, ours, strict=True):
            np.testing.assert_array_equal(module.weight_mask.numpy().reshape(-1) > 0, mask)
