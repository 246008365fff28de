"""Cases of the operations of single layers: at the tile sizes, at windows that leave the channels, at few channels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tests.backends.op_case import Arrays, Case, exact

MAPS = {
    "below-tile": (2, 3, 2, 7),
    "tile": (3, 4, 4, 16),
    "above-tile": (1, 5, 3, 17),
    "round": (2, 8, 8, 64),
    "one-channel": (2, 5, 4, 1),
    "rows": (5, 33),
    "one": (1, 1),
    "empty": (0, 4, 4, 8),
}


def _given(shapes: dict[str, tuple[int, ...]]):
    return lambda rng: {name: rng.standard_normal(shape) for name, shape in shapes.items()}


def _add_bias(name: str, shape: tuple[int, ...], *, in_place: bool = False) -> Case:
    def call(backend, i, o, workspace):
        backend.add_bias(i["x"], i["bias"], out=i["x"] if in_place else o["y"])

    inputs, outputs = _given({"x": shape, "bias": shape[-1:]}), {} if in_place else {"y": shape}
    return Case("add_bias", name, inputs, outputs, call, updated=("x",) if in_place else ())


def _prelu(name: str, shape: tuple[int, ...], *, one: bool) -> list[Case]:
    slopes = {"slope": (1,) if one else shape[-1:]}
    name = f"{name}-{'one' if one else 'each'}"

    def forward(backend, i, o, workspace):
        backend.prelu(i["x"], i["slope"], out=o["y"])

    def backward(backend, i, o, workspace):
        arrays = {"out": o["grad_input"], "grad_slope": o["grad_slope"], "workspace": workspace}
        backend.prelu_backward(i["grad_output"], i["x"], i["slope"], **arrays)

    def magnitude(i: Arrays, o: Arrays) -> Arrays:
        each = np.abs(i["grad_output"] * i["x"]).reshape(-1, shape[-1])
        return {"grad_input": np.abs(o["grad_input"]), "grad_slope": each.sum(None if one else 0)}

    terms = max(int(np.prod(shape[:-1])), 1)
    outputs = {"grad_input": shape, "grad_slope": slopes["slope"]}
    inputs = _given({"grad_output": shape, "x": shape} | slopes)
    return [
        Case(
            "prelu",
            name,
            _given({"x": shape} | slopes),
            {"y": shape},
            forward,
            magnitude=lambda i, o: {"y": abs(o["y"])},
        ),
        Case("prelu_backward", name, inputs, outputs, backward, terms=terms, magnitude=magnitude),
    ]


def _softmax(name: str, shape: tuple[int, ...], values: list[float] | None = None) -> list[Case]:
    def inputs(rng: np.random.Generator) -> Arrays:
        return {"x": 3 * rng.standard_normal(shape) if values is None else np.array([values, values[::-1]])}

    def forward(backend, i, o, workspace):
        backend.softmax(i["x"], out=o["y"])

    def gradients(rng: np.random.Generator) -> Arrays:
        e = np.exp(3 * rng.standard_normal(shape))
        return {"grad_output": rng.standard_normal(shape), "y": e / e.sum(-1, keepdims=True)}

    def backward(backend, i, o, workspace):
        backend.softmax_backward(i["grad_output"], i["y"], out=o["grad_input"])

    @np.errstate(invalid="ignore")
    def size(i: Arrays, o: Arrays) -> Arrays:  # x - max is rounded
        return {"y": np.nan_to_num(o["y"]) * (1 + np.nan_to_num(i["x"].max(-1, keepdims=True, initial=0) - i["x"]))}

    def size_of_gradient(i: Arrays, o: Arrays) -> Arrays:
        g = np.abs(i["grad_output"])
        return {"grad_input": i["y"] * (g + (g * i["y"]).sum(-1, keepdims=True))}

    cases = [Case("softmax", name, inputs, {"y": shape}, forward, magnitude=size)]
    if values is None:
        outputs = {"grad_input": shape}
        cases.append(Case("softmax_backward", name, gradients, outputs, backward, magnitude=size_of_gradient))
    return cases


def _response(name: str, shape: tuple[int, ...], size: int, alpha: float, beta: float, k: float) -> list[Case]:
    setting = {"size": size, "alpha": alpha, "beta": beta, "k": k}

    def forward(backend, i, o, workspace):
        backend.local_response_norm(i["x"], **setting, out=o["y"])

    def backward(backend, i, o, workspace):
        backend.local_response_norm_backward(i["grad_output"], i["x"], **setting, out=o["grad_input"])

    def magnitude(i: Arrays, o: Arrays) -> Arrays:
        return {"y": np.abs(o["y"])}

    # Of the gradient the two parts; its formula is a sum of them.
    def size_of_gradient(i: Arrays, o: Arrays) -> Arrays:
        from fastconv.backends import get_backend

        parts = np.empty_like(i["x"])
        absolute = {name: np.abs(a) for name, a in i.items()}
        backend = get_backend("numpy")
        backend.local_response_norm_backward(absolute["grad_output"], absolute["x"], **setting, out=parts)
        whole = np.empty_like(parts)
        backend.local_response_norm(absolute["x"], **setting, out=whole)
        own = absolute["grad_output"] * whole / np.maximum(absolute["x"], 1e-300)
        return {"grad_input": 2 * own - parts}

    terms = 2 * size
    inputs, outputs = _given({"grad_output": shape, "x": shape}), {"grad_input": shape}
    return [
        Case(
            "local_response_norm", name, _given({"x": shape}), {"y": shape}, forward, terms=terms, magnitude=magnitude
        ),
        Case(
            *("local_response_norm_backward", name, inputs, outputs, backward),
            terms=terms,
            magnitude=size_of_gradient,
        ),
    ]


@dataclass(frozen=True)
class _Groups:
    """A group normalisation: the shape of x, and how its channels are grouped."""

    shape: tuple[int, ...]
    groups: int
    affine: bool
    offset: float
    eps: float

    @property
    def channels(self) -> int:
        return self.shape[-1]

    def x_of(self, rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal(self.shape) * rng.uniform(0.5, 2, self.channels) + self.offset

    def numbers(self, rng: np.random.Generator, *names: str) -> Arrays:
        return {name: rng.standard_normal(self.channels) for name in names} if self.affine else {}

    def grouped(self, a: np.ndarray) -> np.ndarray:
        pixels = int(np.prod(self.shape[1:-1]))
        return a.reshape(self.shape[0], pixels, self.groups, self.channels // self.groups)

    def means(self, a: np.ndarray) -> np.ndarray:
        return self.grouped(a).mean((1, 3))

    def of_elements(self, a: np.ndarray) -> np.ndarray:
        """(N, G) -> the shape of x."""
        return np.broadcast_to(a[:, None, :, None], self.grouped(np.empty(self.shape)).shape).reshape(self.shape)


def _group_norm(
    name: str, shape: tuple[int, ...], groups: int, *, affine: bool = True, offset: float = 0.0, eps: float = 1e-5
) -> list[Case]:
    of = _Groups(shape, groups, affine, offset, eps)
    return [_group_norm_forward(name, of), _group_norm_backward(name, of)]


def _group_norm_forward(name: str, of: _Groups) -> Case:
    def inputs(rng: np.random.Generator) -> Arrays:
        return {"x": of.x_of(rng)} | of.numbers(rng, "gamma", "beta")

    def call(backend, i, o, workspace):
        arrays = {"out": o["y"], "mean": o["mean"], "rstd": o["rstd"], "workspace": workspace}
        backend.group_norm(i["x"], i.get("gamma"), i.get("beta"), eps=of.eps, **arrays)

    def magnitude(i: Arrays, o: Arrays) -> Arrays:
        # The rounding of the mean is in proportion to what was added for it, not to the mean.
        size = of.means(np.abs(i["x"]))
        z = (np.abs(i["x"]) + of.of_elements(size)) * of.of_elements(o["rstd"])
        y = z * np.abs(i["gamma"]) + np.abs(i["beta"]) if of.affine else z
        return {"y": y, "mean": np.stack([size, size]), "rstd": o["rstd"]}

    images = of.shape[0]
    outputs = {"y": of.shape, "mean": (2, images, of.groups), "rstd": (images, of.groups)}
    terms = int(np.prod(of.shape[1:-1])) // 64 + 1
    return Case("group_norm", name, inputs, outputs, call, terms=terms, magnitude=magnitude)


def _group_norm_backward(name: str, of: _Groups) -> Case:
    axes = tuple(range(len(of.shape) - 1))

    def inputs(rng: np.random.Generator) -> Arrays:
        x = of.x_of(rng)
        mean, var, gamma = of.means(x), of.grouped(x).var((1, 3)), of.numbers(rng, "gamma")
        rest = 1e-3 * rng.standard_normal(mean.shape)  # counts, so that one left out shows
        given = {"x": x, "mean": np.stack([mean, rest]), "rstd": 1 / np.sqrt(var + of.eps), **gamma}
        return {"grad_output": rng.standard_normal(of.shape), **given}

    def call(backend, i, o, workspace):
        arrays = (i["grad_output"], i["x"], i.get("gamma"), i["mean"], i["rstd"])
        backend.group_norm_backward(*arrays, **o, workspace=workspace)

    def magnitude(i: Arrays, o: Arrays) -> Arrays:
        rstd = of.of_elements(i["rstd"])
        z = (np.abs(i["x"]) + of.of_elements(np.abs(i["mean"]).sum(0))) * rstd
        plain = np.abs(i["grad_output"])
        g = plain * np.abs(i["gamma"]) if of.affine else plain
        shares = of.of_elements(of.means(g)) + z * of.of_elements(of.means(g * z))
        sizes = {"grad_input": rstd * (g + shares)}
        return sizes | ({"grad_gamma": (plain * z).sum(axes), "grad_beta": plain.sum(axes)} if of.affine else {})

    one = (of.channels,)
    outputs = {"grad_input": of.shape} | ({"grad_gamma": one, "grad_beta": one} if of.affine else {})
    return Case("group_norm_backward", name, inputs, outputs, call, terms=64, magnitude=magnitude)


def _adaptive(name: str, shape: tuple[int, ...], size: tuple[int, int]) -> list[Case]:
    small = (shape[0], *size, shape[3])

    def forward(backend, i, o, workspace):
        backend.adaptive_avg_pool2d(i["x"], out=o["y"])

    def backward(backend, i, o, workspace):
        backend.adaptive_avg_pool2d_backward(i["grad_output"], out=o["grad_input"])

    terms, gradient = shape[1] * shape[2], {"grad_input": shape}
    return [
        Case("adaptive_avg_pool2d", name, _given({"x": shape}), {"y": small}, forward, terms=terms),
        Case("adaptive_avg_pool2d_backward", name, _given({"grad_output": small}), gradient, backward, terms=terms),
    ]


def _upsample(name: str, shape: tuple[int, ...], scale: tuple[int, int]) -> list[Case]:
    large = (shape[0], shape[1] * scale[0], shape[2] * scale[1], shape[3])

    def forward(backend, i, o, workspace):
        backend.upsample2d(i["x"], scale=scale, out=o["y"])

    def backward(backend, i, o, workspace):
        backend.upsample2d_backward(i["grad_output"], scale=scale, out=o["grad_input"])

    terms, gradient = scale[0] * scale[1], {"grad_input": shape}
    return [
        Case("upsample2d", name, _given({"x": shape}), {"y": large}, forward, magnitude=exact),
        Case("upsample2d_backward", name, _given({"grad_output": large}), gradient, backward, terms=terms),
    ]


CASES = [
    *(_add_bias(name, shape) for name, shape in MAPS.items()),
    _add_bias("in-place", (3, 4, 4, 17), in_place=True),
    *(case for name, shape in MAPS.items() for one in (True, False) for case in _prelu(name, shape, one=one)),
    *_prelu("many-rows", (3, 12, 15, 5), one=True),
    *_prelu("many-rows", (3, 12, 15, 20), one=False),
    *(case for name, shape in MAPS.items() for case in _softmax(name, shape)),
    *_softmax("many-classes", (3, 1001)),
    *_softmax("not-finite", (2, 5), [1.0, -np.inf, 2.0, 0.0, -200.0]),
    *_softmax("nan", (2, 4), [1.0, np.nan, 2.0, 0.0]),
    *_softmax("infinite", (2, 3), [1.0, np.inf, 2.0]),
    *(case for name, shape in MAPS.items() for case in _response(name, shape, 5, 1e-1, 0.75, 1.0)),
    *_response("even-window", (2, 4, 3, 20), 4, 0.5, 0.5, 2.0),
    *_response("tensorflow", (2, 5, 5, 64), 9, 9 * 0.001 / 9, 0.75, 1.0),
    *_response("wider-than-channels", (2, 3, 3, 6), 33, 0.3, 0.75, 1.0),
    *_response("window-of-one", (2, 3, 3, 6), 1, 0.3, 1.0, 1.0),
    *_response("window-of-two", (1, 3, 3, 18), 2, 0.3, 1.25, 1.0),
    *_response("other-power", (2, 3, 3, 18), 5, 0.3, 0.6, 1.5),
    *_response("no-power", (2, 3, 3, 18), 5, 0.3, 0.0, 1.5),
    *_response("many-channels", (1, 2, 2, 300), 7, 0.3, 0.75, 1.0),
    *_group_norm("c16-g4", (3, 4, 5, 16), 4),
    *_group_norm("c17-g1", (2, 5, 3, 17), 1),
    *_group_norm("c18-g18", (2, 5, 3, 18), 18),
    *_group_norm("c15-g5", (2, 3, 4, 15), 5, eps=0.25),
    *_group_norm("c64-g32", (2, 8, 8, 64), 32),
    *_group_norm("rows", (5, 12), 3),
    *_group_norm("plain", (2, 4, 4, 20), 2, affine=False),
    *_group_norm("far", (2, 16, 16, 8), 2, offset=1000.0),
    *_group_norm("many-pixels", (2, 24, 24, 6), 2),
    *_group_norm("wide-groups", (1, 3, 3, 600), 2),
    *_group_norm("empty", (0, 4, 4, 8), 2),
    *_adaptive("c16-7x5-to-3x2", (2, 7, 5, 16), (3, 2)),
    *_adaptive("c17-8x8-to-4x4", (2, 8, 8, 17), (4, 4)),
    *_adaptive("c3-to-1x1", (2, 9, 7, 3), (1, 1)),
    *_adaptive("c8-same", (1, 4, 5, 8), (4, 5)),
    *_adaptive("c5-larger", (1, 3, 4, 5), (5, 7)),
    *_adaptive("c64-13x13-to-6x6", (1, 13, 13, 64), (6, 6)),
    *_adaptive("empty", (0, 4, 4, 8), (2, 2)),
    *_upsample("c16-2x2", (2, 3, 4, 16), (2, 2)),
    *_upsample("c17-3x1", (2, 3, 2, 17), (3, 1)),
    *_upsample("c3-1x4", (1, 5, 3, 3), (1, 4)),
    *_upsample("c33-1x1", (2, 3, 3, 33), (1, 1)),
    *_upsample("c5-7x6", (1, 2, 2, 5), (7, 6)),
    *_upsample("empty", (0, 4, 4, 8), (2, 2)),
]
