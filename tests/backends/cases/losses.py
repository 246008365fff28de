"""Cases of the losses, each of the list in kernels/losses.py, and of what metrics are made of."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastconv.kernels.losses import LOSSES, ChosenLoss
from tests.backends.op_case import Arrays, Case


def _target(chosen: ChosenLoss, rng: np.random.Generator, shape: tuple[int, ...], soft: bool) -> np.ndarray:
    if chosen.function.over == "rows" and not soft:
        return rng.integers(0, shape[1], shape[0]).astype(np.int32)
    if chosen.function.highest is None and not soft:
        return rng.standard_normal(shape)
    t = rng.uniform(0, 1, shape)
    return np.where(rng.random(shape) < 0.5, np.round(t), t)


def _weights(i: Arrays, ignore_index: int | None) -> np.ndarray:
    weight = i.get("sample_weight", np.ones(len(i["predictions"])))
    return np.where(i["targets"] == ignore_index, 0, weight) if i["targets"].ndim == 1 else weight


def _of_softmax(chosen: ChosenLoss, i: Arrays, w: np.ndarray, mean: bool) -> dict:
    x, t = np.where(w[:, None] > 0, i["predictions"], 0), i["targets"]
    c, smoothing = i.get("channel_weight", np.ones(x.shape[1])), chosen.values[0]
    counted = w
    if t.ndim == 1:
        known = np.where(w > 0, t, 0)
        t, counted = np.eye(x.shape[1])[known], w * c[known]
    share = c * ((1 - smoothing) * t + smoothing / x.shape[1])
    shift = x - x.max(1, keepdims=True, initial=-np.inf)
    log_sum = np.log(np.exp(shift).sum(1, keepdims=True))
    slope = np.exp(shift - log_sum) * (2 + np.abs(shift)) * share.sum(1, keepdims=True) + share
    cost, total = w * (share * (np.abs(shift) + log_sum)).sum(1), counted.sum() if mean else 1
    return {"loss": (1 if mean else len(x)) + cost.sum() / (total or 1), "grad": w[:, None] * slope / (total or 1)}


def _sizes(chosen: ChosenLoss, i: Arrays, o: Arrays, w: np.ndarray, mean: bool, size: tuple[float, float]) -> dict:
    """Return magnitudes of a loss and its gradient; `w` are the weights of the rows, `size` as of `cost`."""
    if chosen.name == "softmax_cross_entropy":
        return _of_softmax(chosen, i, w, mean)
    each = i["predictions"].shape[1:]
    rows = w.reshape(-1, *[1] * len(each))
    total = w.sum() * np.prod(each) if mean and len(w) else 1
    slope = np.abs(o["grad"]) + size[1] * rows / total
    if chosen.function.highest is not None:  # a difference of two terms
        c = i.get("channel_weight", 1)
        slope = rows * (1 - i["targets"] + c * i["targets"]) / total
    return {"loss": np.abs(o["loss"]) + size[0] * w.sum() * np.prod(each) / total, "grad": slope}


def cost(
    chosen: ChosenLoss,
    name: str,
    *shape: int,
    soft: bool = False,
    channel: bool = False,
    sample: bool = False,
    ignore_index: int | None = None,
    mean: bool = True,
    part: bool = False,
    spread: float = 2.0,
    size: tuple[float, float] = (0, 0),
) -> Case:
    """Return a case of a loss, of a `part` of a larger batch or a whole one; rows that are to be left out hold NaN.

    `size` is that of the terms of which cost and slope are made, where they may cancel.
    """

    def inputs(rng: np.random.Generator) -> Arrays:
        made = {"predictions": spread * rng.standard_normal(shape), "targets": _target(chosen, rng, shape, soft)}
        if channel:
            made["channel_weight"] = rng.uniform(0.2, 2, shape[-1])
        if sample:
            made["sample_weight"] = rng.uniform(0.1, 2, shape[0])
            made["sample_weight"][1::3], made["predictions"][1::3] = 0, np.nan
        if ignore_index is not None:
            made["targets"][::4] = ignore_index
            made["predictions"][made["targets"] == ignore_index] = np.nan
        if part:
            made["divisor"] = np.array([float(np.prod(shape if chosen.function.over == "elements" else shape[:1]))])
        return made

    def call(backend, i, o, workspace):
        backend.loss_and_grad(
            *(chosen, i["predictions"], i["targets"]),
            channel_weight=i["channel_weight"] if channel else None,
            sample_weight=i["sample_weight"] if sample else None,
            ignore_index=ignore_index,
            mean=mean,
            **({"divisor": i["divisor"]} if part else {}),
            **o,
            workspace=workspace,
        )

    def magnitude(i: Arrays, o: Arrays) -> dict:
        return _sizes(chosen, i, o, _weights(i, ignore_index), mean, size)

    terms = int(np.prod(shape))
    return Case(
        "loss_and_grad",
        f"{chosen.name}-{name}",
        inputs,
        {"loss": (), "grad": shape},
        call,
        fixed=("divisor",),
        terms=terms,
        magnitude=magnitude,
    )


def divisor(
    chosen: ChosenLoss,
    name: str,
    *shape: int,
    soft: bool = False,
    channel: bool = False,
    sample: bool = False,
    ignore_index: int | None = None,
) -> Case:
    """Return a case of what the mean of a loss divides by."""

    def inputs(rng: np.random.Generator) -> Arrays:
        made = {"targets": _target(chosen, rng, shape, soft)}
        if channel:
            made["channel_weight"] = rng.uniform(0.2, 2, shape[-1])
        if sample:
            made["sample_weight"] = rng.uniform(0.1, 2, shape[0])
        if ignore_index is not None:
            made["targets"][::4] = ignore_index
        return made

    def call(backend, i, o, workspace):
        weights = {key: i.get(key) for key in ("channel_weight", "sample_weight")}
        given = {**weights, "ignore_index": ignore_index, "out": o["divisor"], "workspace": workspace}
        backend.loss_divisor(chosen, i["targets"], **given)

    return Case("loss_divisor", name, inputs, {"divisor": ((1,), np.float64)}, call, terms=shape[0])


def _of_rows(name: str, *values: float) -> list[Case]:
    plain, other = LOSSES[name](), LOSSES[name](*values)
    return [
        cost(plain, "ten-classes", 32, 10),
        cost(other, "ragged", 5, 33),
        cost(other, "sum", 7, 10, mean=False),
        cost(plain, "one-class", 3, 1),
        cost(plain, "thousand", 3, 1000),
        cost(plain, "weighted", 9, 17, channel=True, sample=True),
        cost(other, "ignored", 9, 17, channel=True, ignore_index=-100),
        cost(other, "ignored-class", 11, 5, sample=True, ignore_index=2, mean=False),
        cost(plain, "part", 9, 17, part=True),
        cost(plain, "weighted-part", 9, 17, channel=True, sample=True, part=True),
        cost(plain, "empty-batch", 0, 10),
    ]


def _of_elements(name: str, *values: float, loss: float = 0, slope: float = 0) -> list[Case]:
    plain, other, made = LOSSES[name](), LOSSES[name](*values), partial(cost, size=(loss, slope))
    cases = [
        made(plain, "chunks", 3, 14, 101),  # a chunk has 4,096 elements on the GPU
        made(other, "ragged", 5, 33, mean=False),
        made(other, "weighted", 7, 3, 13, sample=True),
        made(plain, "one", 1, 1),
        made(plain, "vector", 19, sample=True, mean=False),
        made(plain, "part", 5, 33, part=True),
        made(plain, "weighted-part", 7, 3, 13, sample=True, part=True),
        made(plain, "empty-batch", 0, 10),
    ]
    if LOSSES[name].channel_weight:
        cases += [
            made(plain, "channels", 33, 19, channel=True, sample=True),
            made(plain, "channel", 50, 1, channel=True, spread=40),
        ]
    return cases


def correct(name: str, n: int, k: int, *, top: int = 1, ties: bool = False) -> Case:
    def call(backend, i, o, workspace):
        backend.count_correct(i["logits"], i["labels"], top=top, out=i["count"])

    return Case("count_correct", name, _scores(n, k, ties, (5, 7)), {}, call, updated=("count",))


def confusions(name: str, n: int, k: int, *, ties: bool = False) -> Case:
    def call(backend, i, o, workspace):
        backend.count_confusions(i["logits"], i["labels"], out=i["count"])

    return Case("count_confusions", name, _scores(n, k, ties, np.ones((k, k))), {}, call, updated=("count",))


def _scores(n: int, k: int, ties: bool, count: object):
    def inputs(rng: np.random.Generator) -> Arrays:
        logits = rng.integers(0, 2, (n, k)).astype(np.float64) if ties else rng.standard_normal((n, k))
        logits[rng.random((n, k)) < 0.05] = np.nan
        guess = logits.argmax(1) if n else np.zeros(0, np.int64)
        labels = np.where(rng.random(n) < 0.5, guess, rng.integers(0, k, n)).astype(np.int32)
        labels[::7], labels[3::7] = -100, k  # are left out
        return {"logits": logits, "labels": labels, "count": np.array(count, np.int64)}

    return inputs


def errors(name: str, n: int, k: int, *, seen: int = 0) -> Case:
    def inputs(rng: np.random.Generator) -> Arrays:
        before = rng.standard_normal((7, k)) if seen else np.zeros((7, k))
        before[0] = seen
        return {"x": 1e3 + rng.standard_normal((n, k)), "t": 1e3 + rng.standard_normal((n, k)), "sums": before}

    def call(backend, i, o, workspace):
        backend.sum_errors(i["x"], i["t"], out=i["sums"])

    def magnitude(i: Arrays, o: Arrays) -> dict:
        e, d = np.abs(i["x"] - i["t"]), np.abs(i["t"] - o["sums"][1])
        rows = (np.full((n, k), 1.0), i["t"] * 0, e, e, e * e, d, d * d)
        return {"sums": np.abs(i["sums"]) + np.stack([row.sum(0) for row in rows])}

    return Case("sum_errors", name, inputs, {}, call, updated=("sums",), fixed=("sums",), terms=n, magnitude=magnitude)


_SMOOTH = LOSSES["softmax_cross_entropy"](0.3)
CASES = [
    *_of_rows("softmax_cross_entropy", 0.1),
    *_of_rows("multiclass_hinge", 0.3),
    *_of_rows("squared_hinge", 2.0),
    cost(LOSSES["softmax_cross_entropy"](), "two-classes", 1, 2),
    cost(LOSSES["softmax_cross_entropy"](), "large-logits", 6, 17, spread=1e4),
    cost(LOSSES["softmax_cross_entropy"](0.1), "large-smoothed", 6, 17, spread=1e4),
    cost(_SMOOTH, "weighted-smoothed", 9, 33, channel=True, ignore_index=-1),
    cost(LOSSES["softmax_cross_entropy"](), "soft", 9, 10, soft=True),
    cost(_SMOOTH, "soft-weighted", 11, 35, soft=True, channel=True, sample=True),
    cost(_SMOOTH, "soft-sum", 3, 7, soft=True, mean=False),
    *_of_elements("binary_cross_entropy"),
    *_of_elements("mean_squared_error"),
    *_of_elements("mean_absolute_error"),
    *_of_elements("huber", 0.4),
    divisor(LOSSES["softmax_cross_entropy"](), "labels", 9, 5),
    divisor(LOSSES["softmax_cross_entropy"](), "classes", 33, 5, channel=True, sample=True, ignore_index=-100),
    divisor(LOSSES["softmax_cross_entropy"](), "soft", 7, 5, soft=True, channel=True, sample=True),
    divisor(LOSSES["huber"](), "elements", 7, 3, 5, sample=True),
    divisor(_SMOOTH, "smoothed", 9, 5, ignore_index=2),
    divisor(LOSSES["huber"](0.4), "plain", 5, 4),
    divisor(LOSSES["huber"](), "empty-batch", 0, 4),
    correct("ragged", 101, 33),  # a block has 4 rows, a warp 32 lanes
    correct("ten-classes", 100, 10, top=3),
    correct("ties", 64, 7, top=2, ties=True),
    correct("one-class", 5, 1),
    correct("empty-batch", 0, 10),
    confusions("ragged", 101, 35),
    confusions("ties", 64, 7, ties=True),
    confusions("empty-batch", 0, 3),
    errors("first", 50, 3),
    errors("later", 37, 70, seen=8),
    errors("one", 1, 1),
    errors("empty-batch", 0, 4),
]
