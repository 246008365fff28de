"""Cases of the random operations and the optimizer steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from fastconv.backends.contract.types import RandomKey
from fastconv.kernels.update_rules import UPDATE_RULES, Update
from tests.backends.op_case import Arrays, Case

_KEY = RandomKey(seed=0x1234_5678_9ABC_DEF0, stream=7, step=123_456)


def dropout(name: str, shape: tuple[int, ...], p: float, key: RandomKey = _KEY) -> Case:
    def call(backend, i, o, workspace):
        backend.dropout(i["x"], p=p, key=key, out=o["y"])

    return Case(
        "dropout",
        name,
        lambda rng: {"x": rng.standard_normal(shape)},
        {"y": shape},
        call,
        magnitude=lambda i, o: {"y": np.abs(o["y"])},
    )


def augment(name: str, shape: tuple[int, ...], batch: int, *, flip: bool, pad: int) -> Case:
    channels = shape[-1]

    def inputs(rng: np.random.Generator) -> Arrays:
        return {
            "images": rng.integers(0, 256, shape).astype(np.uint8),
            "indices": rng.integers(0, shape[0], batch),
            "mean": rng.uniform(0.4, 0.6, channels),
            "std": rng.uniform(0.2, 0.3, channels),
        }

    def call(backend, i, o, workspace):
        arguments = {"mean": i["mean"], "std": i["std"], "flip": flip, "pad": pad, "key": _KEY}
        backend.augment(i["images"], i["indices"], **arguments, out=o["batch"])

    def magnitude(i: Arrays, o: Arrays) -> dict:
        return {"batch": (1 + i["mean"]) / i["std"]}

    return Case("augment", name, inputs, {"batch": (batch, *shape[1:])}, call, magnitude=magnitude)


def sgd(name: str, size: int, *, momentum: float = 0.0, nesterov: bool = False, decay: float = 0.0) -> Case:
    def inputs(rng: np.random.Generator) -> Arrays:
        made = {key: rng.standard_normal(size) for key in ("parameter", "grad")}
        made |= {"velocity": rng.standard_normal(size)} if momentum else {}
        return made | {"lr": np.array([0.05])}

    def call(backend, i, o, workspace):
        state = {"velocity": i["velocity"]} if momentum else {}
        rule, step = UPDATE_RULES["sgd"](momentum, nesterov, decay), backend.asarray(np.array([3], np.int64))
        backend.update(rule, i["parameter"], i["grad"], state, lr=i["lr"], step=step)

    def magnitude(i: Arrays, o: Arrays) -> dict:
        g = np.abs(i["grad"]) + decay * np.abs(i["parameter"])
        v = momentum * np.abs(i["velocity"]) + g if momentum else g
        sizes = {"parameter": np.abs(i["parameter"]) + 0.05 * (g + v), "velocity": v}
        return {key: sizes[key] for key in updated}

    updated = ("parameter", "velocity") if momentum else ("parameter",)
    return Case("update", f"sgd-{name}", inputs, {}, call, updated=updated, fixed=("lr",), magnitude=magnitude)


def adam(
    name: str, size: int, *, t: int, decay: float = 0.0, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8
) -> Case:
    lr = 1e-2

    def inputs(rng: np.random.Generator) -> Arrays:
        scale = 0.0 if t == 1 else 1.0
        return {
            "parameter": rng.standard_normal(size),
            "grad": rng.standard_normal(size),
            "m": scale * rng.standard_normal(size),
            "v": scale * rng.uniform(0.1, 1, size),
            "lr": np.array([lr]),
            "step": np.array([t], np.int64),
        }

    def call(backend, i, o, workspace):
        rule, state = UPDATE_RULES["adam"](beta1, beta2, eps, decay), {"m": i["m"], "v": i["v"]}
        backend.update(rule, i["parameter"], i["grad"], state, lr=i["lr"], step=i["step"])

    def magnitude(i: Arrays, o: Arrays) -> dict:
        g = np.abs(i["grad"]) + decay * np.abs(i["parameter"])
        m = beta1 * np.abs(i["m"]) + (1 - beta1) * g
        update = lr * m / (1 - beta1**t) / (np.sqrt(o["v"] / (1 - beta2**t)) + eps)
        return {"parameter": np.abs(i["parameter"]) + update, "m": m, "v": o["v"] + (1 - beta2) * g * g}

    updated = ("parameter", "m", "v")
    return Case("update", f"adam-{name}", inputs, {}, call, updated=updated, fixed=("lr",), magnitude=magnitude)


_NOT_NEGATIVE = frozenset({"sum", "square", "changes", "v", "highest"})  # squares, and sums of them


def stepped(
    name: str,
    rule: Update,
    size: int,
    magnitude: Callable[[Arrays, Arrays], dict],
    *,
    t: int = 3,
    pieces: Sequence[tuple[int, int]] | None = None,
) -> Case:
    """Return a case of any update rule, by default at its third step, with drawn numbers in all arrays."""
    kept = rule.rule.state_for(dict(zip((s.name for s in rule.rule.settings), rule.values, strict=True)))

    def inputs(rng: np.random.Generator) -> Arrays:
        made = {key: rng.standard_normal(size) for key in ("parameter", "grad", *kept)}
        for key in _NOT_NEGATIVE.intersection(kept):
            made[key] = np.abs(made[key]) + 0.1 + made.get("mean", 0) ** 2
        return made | {"lr": np.array([0.05]), "step": np.array([t], np.int64)}

    def call(backend, i, o, workspace):
        arrays = {key: i[key] for key in kept}
        chosen = None if pieces is None else backend.asarray(np.array(pieces, np.int64).reshape(-1, 2))
        backend.update(rule, i["parameter"], i["grad"], arrays, lr=i["lr"], step=i["step"], pieces=chosen)

    updated = ("parameter", *kept)
    return Case("update", f"{rule.name}-{name}", inputs, {}, call, updated=updated, fixed=("lr",), magnitude=magnitude)


def _size(i: Arrays, decay: float = 0.0, l1: float = 0.0) -> np.ndarray:
    """Return the size of the terms of a gradient with its penalties."""
    return np.abs(i["grad"]) + decay * np.abs(i["parameter"]) + l1


def _of_sgd(i: Arrays, o: Arrays) -> dict:
    g = _size(i, 0.1, 0.1)
    v = np.abs(i.get("velocity", 0)) + g
    return {"parameter": np.abs(i["parameter"]) + g + v} | ({"velocity": v} if "velocity" in i else {})


def _of_adagrad(i: Arrays, o: Arrays) -> dict:
    g = _size(i, 0.1, 0.1)
    return {"parameter": np.abs(i["parameter"]) + g / np.sqrt(o["sum"]), "sum": o["sum"] + g * g}


def _of_adadelta(i: Arrays, o: Arrays) -> dict:
    g = _size(i, 0.1, 0.1)
    square = i["square"] + g * g
    change = np.sqrt(i["changes"] + 0.1) / np.sqrt(o["square"]) * g * (1 + square / o["square"])
    sizes = {"square": square, "changes": i["changes"] + change * change}
    return sizes | {"parameter": np.abs(i["parameter"]) + change}


def _of_rmsprop(i: Arrays, o: Arrays) -> dict:
    g = _size(i, 0.1, 0.1)
    sizes = {"square": i["square"] + g * g}
    variance, terms = o["square"], sizes["square"]
    if "mean" in i:
        sizes["mean"] = np.abs(i["mean"]) + g
        variance, terms = o["square"] - o["mean"] ** 2, terms + sizes["mean"] ** 2
    change = g / np.sqrt(variance) * (1 + terms / variance)
    if "velocity" in i:
        change = sizes["velocity"] = np.abs(i["velocity"]) + change
    return sizes | {"parameter": np.abs(i["parameter"]) + change}


def _of_adam(i: Arrays, o: Arrays) -> dict:
    g = _size(i, 0.1, 0.1)
    m, v = np.abs(i["m"]) + g, i["v"] + g * g
    highest = {"highest": np.abs(i["highest"]) + v} if "highest" in i else {}
    change = m / np.sqrt(o["v"]) * (1 + v / o["v"])
    return {"parameter": np.abs(i["parameter"]) + change, "m": m, "v": v} | highest


def _of_muon(i: Arrays, o: Arrays) -> dict:
    return {"parameter": np.abs(i["parameter"]) + np.abs(i["grad"])}


def _of_average(i: Arrays, o: Arrays) -> dict:
    size = np.abs(i["parameter"]) + np.abs(i["grad"])
    return {"parameter": size}


def _of_mask(i: Arrays, o: Arrays) -> dict:
    return {"parameter": np.zeros_like(i["parameter"])}  # to the bit


def _of_muon_momentum(i: Arrays, o: Arrays) -> dict:
    size = np.abs(i["momentum"]) + 2 * np.abs(i["grad"])
    return {"parameter": 3 * size, "momentum": size}


def _of_lookahead(i: Arrays, o: Arrays) -> dict:
    size = np.abs(i["parameter"]) + 2 * np.abs(i["slow"])
    return {"parameter": size, "slow": size}


# Ragged, unaligned, one of them empty, and some elements in none.
_SCATTERED = ((0, 16), (19, 20), (21, 21), (32, 36), (40, 4136), (4136, 4150))


def _stepped(rule: str, magnitude: Callable[[Arrays, Arrays], dict], **settings: tuple) -> list[Case]:
    """Return cases of a rule with these values for its settings, by the names of the cases, in turn over pieces."""
    made = []
    for k, (name, values) in enumerate(settings.items()):
        size, pieces = (4160, _SCATTERED) if k % 2 else ((1000, 33, 4099)[k // 2 % 3], None)
        label = name.replace("_", "-")
        made.append(stepped(label, UPDATE_RULES[rule](*values), size, magnitude, pieces=pieces, t=(3, 1, 10, 4)[k % 4]))
    return made


def grams(n: int, eps: float) -> list[Case]:
    """Return cases of what Muon does with Gram matrices of this size."""

    def symmetric(rng: np.random.Generator) -> np.ndarray:
        x = rng.standard_normal((n + 3, n))
        return x.T @ x / n

    def polynomial(name: str, values: tuple[float, float, float], *, divided: bool) -> Case:
        def call(backend, i, o, workspace):
            norm = i["norm"] if divided else None
            backend.gram_polynomial(i["gram"], i["square"], norm, coefficients=values, out=o["out"])

        def inputs(rng: np.random.Generator) -> Arrays:
            made = {"gram": symmetric(rng), "square": symmetric(rng)}
            return made | ({"norm": np.array([2.5])} if divided else {})

        def magnitude(i: Arrays, o: Arrays) -> dict:
            a, b, c = map(abs, values)
            return {"out": a + b * np.abs(i["gram"]) + c * np.abs(i["square"])}

        return Case("gram_polynomial", f"{n}-{name}", inputs, {"out": (n, n)}, call, magnitude=magnitude)

    def normalise(backend, i, o, workspace):
        backend.normalise_gram(i["gram"], eps=eps, out=o["out"], norm=o["norm"])

    def inputs(rng: np.random.Generator) -> Arrays:
        return {"gram": symmetric(rng)}

    outputs = {"out": (n, n), "norm": (1,)}
    return [
        Case("normalise_gram", f"{n}", inputs, outputs, normalise, terms=n + 4),
        polynomial("plain", (1.5, -0.5, 0.25), divided=False),
        polynomial("divided", (3.4445, -4.775, 2.0315), divided=True),
    ]


CASES = [
    *grams(1, 1e-7),
    *grams(19, 1e-3),
    *grams(64, 100.0),
    dropout("half", (2, 5, 7, 17), 0.5),
    dropout("third", (3, 64), 0.3),
    dropout("none", (33,), 0.0),
    dropout("most", (1001,), 0.9),
    dropout("one", (1,), 0.5),
    dropout("empty", (0, 8), 0.5),
    dropout("large-key", (65,), 0.5, RandomKey(2**64 - 1, 2**32 - 1, 2**32 - 1)),
    augment("cifar", (5, 32, 32, 3), 7, flip=True, pad=4),
    augment("no-flip", (3, 8, 6, 3), 5, flip=False, pad=2),
    augment("no-shift", (3, 5, 7, 1), 5, flip=True, pad=0),
    augment("plain", (4, 4, 4, 17), 3, flip=False, pad=0),
    augment("empty-batch", (2, 8, 8, 3), 0, flip=True, pad=1),
    sgd("plain", 1000),
    sgd("decay", 17, decay=0.1),
    sgd("momentum", 33, momentum=0.9),
    sgd("momentum-decay", 4099, momentum=0.9, decay=5e-4),
    sgd("nesterov", 65, momentum=0.9, nesterov=True),
    sgd("nesterov-decay", 1, momentum=0.8, nesterov=True, decay=0.01),
    adam("first-step", 1000, t=1),
    adam("later", 17, t=6),
    adam("decay", 4099, t=1000, decay=0.01),
    adam("one", 1, t=3),
    adam("other-settings", 35, t=4, beta1=0.7, beta2=0.95, eps=0.1),
    *_stepped(
        *("sgd", _of_sgd),
        dampened=(0.9, False, 0.1, 0.3),
        dampened_first=(0.9, True, 0.0, 0.3, 0.1),
        l1=(0.0, False, 0.0, 0.0, 0.1),
        pieces=(0.0, False, 0.1),
    ),
    *_stepped("adagrad", _of_adagrad, plain=(), all=(0.1, 1e-3, 0.1, 0.1)),
    *_stepped("adadelta", _of_adadelta, plain=(), all=(0.5, 1e-3, 0.1, 0.1)),
    *_stepped(
        *("rmsprop", _of_rmsprop),
        plain=(),
        centred=(0.9, 1e-3, 0.0, True, 0.1, 0.1),
        momentum=(0.9, 1e-3, 0.5),
        both=(0.9, 1e-2, 0.9, True),
    ),
    *_stepped("adam", _of_adam, amsgrad=(0.9, 0.99, 1e-3, 0.1, True), l1=(0.9, 0.99, 1e-3, 0.0, False, 0.1)),
    *_stepped("adamw", _of_adam, plain=(), all=(0.8, 0.9, 1e-3, 0.1, True)),
    *_stepped("nadam", _of_adam, plain=(), all=(0.8, 0.9, 1e-3, 0.1, 0.1, True, 0.1), decay=(0.8, 0.9, 1e-3, 0.1)),
    *_stepped("muon", _of_muon, plain=(), less=(0.01,)),
    *_stepped("muon_momentum", _of_muon_momentum, plain=(), heavy=(0.5, False)),
    *_stepped("lookahead", _of_lookahead, third=(3, 0.5), not_now=(5, 0.8), tenth=(2, 0.1), fourth=(4, 0.7)),
    *_stepped("ema", _of_average, plain=(), early=(0.99, True)),
    *_stepped("mask", _of_mask, all=(), pieces=()),
]
