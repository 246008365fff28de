"""The edge: what it accepts, what it refuses and how, and that odd arrays are computed right."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastconv import functional as F
from fastconv.backends import get_backend, use_backend
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import RandomKey
from fastconv.errors import ArgumentError, BackendMismatchError, DTypeError, ShapeError
from fastconv.kernels.pointwise import POINTWISE
from tests.compare import assert_close

KEY = RandomKey(1, 2, 3)


def f32(*shape: int) -> np.ndarray:
    return np.random.default_rng(math.prod(shape) + len(shape)).standard_normal(shape).astype(np.float32)


X, W, B, Y = f32(2, 6, 5, 4), f32(3, 3, 4, 8), f32(8), f32(2, 4, 3, 8)
ROWS, DENSE_W, CLASSES = f32(5, 4), f32(4, 3), f32(5, 3)
C4 = f32(4)
POOLED = f32(2, 3, 2, 4)
POOLED_AT = np.zeros((2, 3, 2, 4), np.uint8)
LABELS = np.array([0, 1, 2, 1, 0])

# A right call of every function of the edge: what the tests below then spoil or disguise.
CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "conv2d": ({"x": X, "weight": W, "bias": B}, {}),
    "conv2d_backward_input": ({"grad_output": Y, "weight": W}, {"input_shape": X.shape}),
    "conv2d_backward_weight": ({"grad_output": Y, "x": X}, {"weight_shape": W.shape}),
    "conv2d_backward_bias": ({"grad_output": Y}, {}),
    "conv_transpose2d": ({"x": Y, "weight": W, "bias": C4}, {}),
    "max_pool2d": ({"x": X}, {"kernel_size": 2}),
    "max_pool2d_backward": ({"grad_output": POOLED, "argmax": POOLED_AT}, {"input_shape": X.shape, "kernel_size": 2}),
    "avg_pool2d": ({"x": X}, {"kernel_size": 2}),
    "avg_pool2d_backward": ({"grad_output": POOLED}, {"input_shape": X.shape, "kernel_size": 2}),
    "global_avg_pool2d": ({"x": X}, {}),
    "global_avg_pool2d_backward": ({"grad_output": f32(2, 4)}, {"input_shape": X.shape}),
    "global_max_pool2d": ({"x": X}, {}),
    "global_max_pool2d_backward": (
        {"grad_output": f32(2, 4), "argmax": np.full((2, 4), 7, np.uint8)},
        {"input_shape": X.shape},
    ),
    "dense": ({"x": ROWS, "weight": DENSE_W, "bias": f32(3)}, {}),
    "dense_backward_input": ({"grad_output": CLASSES, "weight": DENSE_W}, {}),
    "dense_backward_weight": ({"grad_output": CLASSES, "x": ROWS}, {}),
    "dense_backward_bias": ({"grad_output": CLASSES}, {}),
    "batch_norm": ({"x": X, "gamma": C4, "beta": C4}, {}),
    "batch_norm_backward": ({"grad_output": X, "x": X, "gamma": C4, "mean": C4, "var": C4**2}, {}),
    "batch_norm_inference": ({"x": X, "gamma": C4, "beta": C4, "mean": C4, "var": C4**2}, {}),
    "softmax_cross_entropy": ({"logits": CLASSES, "labels": LABELS}, {}),
    "dropout": ({"x": X}, {"p": 0.3, "key": KEY}),
    "dropout_backward": ({"grad_output": X}, {"p": 0.3, "key": KEY}),
    **{name: ({"x": X}, {}) for name in POINTWISE},
    **{f"{name}_backward": ({"grad_output": X, function.needs: X}, {}) for name, function in POINTWISE.items()},
}
ARRAYS = [(name, argument) for name, (arrays, _) in CALLS.items() for argument in arrays]


def results(name: str, arrays: dict[str, Any], settings: dict[str, Any]) -> tuple[np.ndarray, ...]:
    made = getattr(F, name)(**arrays, **settings)
    return made if isinstance(made, tuple) else (made,)


def test_every_public_function_is_called_here() -> None:
    ours = {n: f for n, f in vars(F).items() if inspect.isfunction(f) and f.__module__.startswith("fastconv")}
    helpers = {"get_backend", "get_precision", "sum_rows", "tells_names"}
    assert set(CALLS) == set(F.__all__)
    assert {name for name in ours if name[0] != "_"} - helpers == set(F.__all__)


@pytest.mark.parametrize("name", CALLS)
def test_documented(name: str) -> None:
    assert len(inspect.getdoc(getattr(F, name)) or "") > 10
    assert getattr(F, name).__name__ == getattr(F, name).__qualname__ == name


@pytest.mark.parametrize(
    ("name", "entry"),
    [
        ("softplus", "beta : float\n    Above 0; 1 by default."),
        ("softplus", "threshold : float\n    20 by default."),
        ("leaky_relu", "slope : float\n    0.01 by default."),
    ],
)
def test_parameters_are_documented_with_limit_and_default(name: str, entry: str) -> None:
    for function in (getattr(F, name), getattr(F, f"{name}_backward")):
        assert entry in inspect.getdoc(function)


# --- what it computes


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.float64)])
@pytest.mark.parametrize("name", CALLS)
def test_results_are_new_contiguous_and_of_the_type_of_the_inputs(name: str, dtype: type, backend: Backend) -> None:
    arrays, settings = CALLS[name]
    arrays = {key: a.astype(dtype) if a.dtype == np.float32 else a for key, a in arrays.items()}
    before = {key: a.tobytes() for key, a in arrays.items()}
    for made in results(name, arrays, settings):
        assert made.flags.c_contiguous
        assert made.flags.writeable
        assert made.dtype == (dtype if made.dtype.kind == "f" else np.uint8)
        assert not any(np.shares_memory(made, a) for a in arrays.values())
    assert before == {key: a.tobytes() for key, a in arrays.items()}


ODD: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
    "fortran": np.asfortranarray,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read-only": lambda a: np.frombuffer(a.tobytes(), a.dtype).reshape(a.shape),
    "unaligned": lambda a: np.frombuffer(b"\0" + a.tobytes(), np.uint8)[1:].view(a.dtype).reshape(a.shape),
    "matrix-subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", CALLS)
def test_odd_arrays_give_the_same_bits(name: str, kind: str, backend: Backend) -> None:
    arrays, settings = CALLS[name]
    expected = results(name, arrays, settings)
    odd = {key: ODD[kind](a) for key, a in arrays.items()}
    for got, want in zip(results(name, odd, settings), expected, strict=True):
        assert got.dtype == want.dtype
        assert got.tobytes() == want.tobytes()


def test_broadcast_array(backend: Backend) -> None:
    x = np.broadcast_to(np.float32([1, 2, 3, 4]), X.shape)
    np.testing.assert_array_equal(F.relu(x), x)
    assert F.conv2d(x, W).tobytes() == F.conv2d(x.copy(), W).tobytes()


def test_empty_batch(backend: Backend) -> None:
    for name, (arrays, settings) in CALLS.items():
        if name in ("batch_norm", "batch_norm_backward"):
            continue
        batched = {"x", "y", "grad_output", "argmax", "logits", "labels"} & set(arrays)
        empty = {key: a[:0] if key in batched else a for key, a in arrays.items()}
        options = settings | ({"input_shape": (0, *X.shape[1:])} if "input_shape" in settings else {})
        full = results(name, arrays, settings)
        for got, want in zip(results(name, empty, options), full, strict=True):
            if name.endswith(("_weight", "_bias")) or want.shape == ():
                assert got.shape == want.shape
                assert not got.any()
            else:
                assert got.shape == (0, *want.shape[1:]), name


@pytest.mark.parametrize("name", ["batch_norm", "batch_norm_backward"])
def test_statistics_of_nothing_are_refused(name: str, backend: Backend) -> None:
    arrays, settings = CALLS[name]
    empty = {key: a[:0] if a.ndim == 4 else a for key, a in arrays.items()}
    with pytest.raises(ShapeError, match=r"x: got shape \(0, 6, 5, 4\); allowed: no empty axis"):
        results(name, empty, settings)


@pytest.mark.parametrize(
    ("padding", "same_as"),
    [
        (1, ((1, 1), (1, 1))),
        ((1, 2), ((1, 1), (2, 2))),
        ([[0, 1], [2, 0]], ((0, 1), (2, 0))),
        (np.int64(1), ((1, 1), (1, 1))),
        ("valid", 0),
    ],
)
def test_forms_of_padding(padding: Any, same_as: Any, backend: Backend) -> None:
    assert F.conv2d(X, W, padding=padding).tobytes() == F.conv2d(X, W, padding=same_as).tobytes()


@pytest.mark.parametrize(
    ("stride", "explicit"), [(1, ((1, 1), (1, 1))), (2, ((0, 1), (1, 1))), (3, ((0, 0), (0, 1))), (7, ((0, 0), (0, 0)))]
)
def test_same_padding_puts_the_odd_cell_at_the_end(stride: int, explicit: Any, backend: Backend) -> None:
    y = F.conv2d(X, W, stride=stride, padding="same")
    assert y.shape == (2, -(-6 // stride), -(-5 // stride), 8)
    assert y.tobytes() == F.conv2d(X, W, stride=stride, padding=explicit).tobytes()


def test_pooling_stride_is_the_kernel_unless_given(backend: Backend) -> None:
    assert F.max_pool2d(X, (2, 3))[0].tobytes() == F.max_pool2d(X, (2, 3), stride=(2, 3))[0].tobytes()
    assert F.avg_pool2d(X, 2).shape == (2, 3, 2, 4)
    assert F.avg_pool2d(X, 2, ceil_mode=True).shape == (2, 3, 3, 4)
    assert F.avg_pool2d(X, 3, stride=1, padding="same").shape == X.shape


def test_index_type_of_large_windows(backend: Backend) -> None:
    assert F.max_pool2d(f32(1, 16, 16, 1), 16)[1].dtype == np.uint8
    y, argmax = F.global_max_pool2d(f32(1, 17, 16, 2))
    assert argmax.dtype == np.int32
    grad = F.global_max_pool2d_backward(y, argmax, input_shape=(1, 17, 16, 2))
    assert np.count_nonzero(grad) == 2


def test_global_pooling(backend: Backend) -> None:
    y, argmax = F.global_max_pool2d(X)
    np.testing.assert_array_equal(y, X.max(axis=(1, 2)))
    np.testing.assert_array_equal(argmax, X.reshape(2, 30, 4).argmax(axis=1))
    mean = X.astype(np.float64).mean(axis=(1, 2))
    assert_close(F.global_avg_pool2d(X), mean, dtype=np.float32, terms=30, magnitude=np.abs(X).mean(axis=(1, 2)))
    g = f32(2, 4)
    grad = F.global_avg_pool2d_backward(g, input_shape=X.shape)
    assert_close(grad, np.broadcast_to(g[:, None, None] / 30.0, X.shape), dtype=np.float32)
    grad = F.global_max_pool2d_backward(g, argmax, input_shape=X.shape)
    np.testing.assert_array_equal(grad, np.where(y[:, None, None] == X, g[:, None, None], 0))


def test_labels_of_any_integer_type(backend: Backend) -> None:
    expected = F.softmax_cross_entropy(CLASSES, LABELS)
    assert expected[0].shape == ()
    for kind in ("u1", "i2", ">i4", "u8"):
        loss, grad = F.softmax_cross_entropy(CLASSES, LABELS.astype(kind))
        assert (loss.tobytes(), grad.tobytes()) == tuple(a.tobytes() for a in expected)


def test_dropout_gradient_has_the_same_mask(backend: Backend) -> None:
    ones = np.ones((33, 17), np.float32)
    y = F.dropout(ones, 0.5, key=KEY)
    assert set(np.unique(y)) == {0, 2}
    assert F.dropout_backward(ones, 0.5, key=KEY).tobytes() == y.tobytes()
    assert F.dropout(ones, 0.5, key=RandomKey(1, 2, 4)).tobytes() != y.tobytes()


# --- what it refuses


@pytest.mark.parametrize(("name", "argument"), ARRAYS)
def test_wrong_arrays_are_refused_by_name(name: str, argument: str, backend: Backend) -> None:
    arrays, settings = CALLS[name]
    right = arrays[argument]
    whole = right.dtype.kind != "f"
    wrong = {
        "list": (right.tolist(), DTypeError, rf"{argument}: got list; allowed: .*fastconv.asarray\({argument}\)"),
        "none": (None, DTypeError, f"{argument}: got NoneType"),
        "complex": (right.astype(complex), DTypeError, f"{argument}: got complex128"),
        "half": (
            right.astype(np.float16),
            DTypeError,
            rf"{argument}: got float16; .*({'integer' if whole else 'float32'})",
        ),
        "masked": (np.ma.masked_array(right), DTypeError, f"{argument}: got a masked array"),
    }
    if not whole:
        wrong["integers"] = (right.astype(np.int32), DTypeError, rf"{argument}: got int32; .*astype\('float32'\)")
        wrong["bool"] = (right > 0, DTypeError, f"{argument}: got bool")
    for kind, (value, error, message) in wrong.items():
        if kind == "none" and argument == "bias":
            continue
        with pytest.raises(error, match=message):
            results(name, arrays | {argument: value}, settings)


ANY_SHAPE = re.compile(f"({'|'.join(POINTWISE)}|dropout)(_backward)?")


@pytest.mark.parametrize(("name", "argument"), [a for a in ARRAYS if not ANY_SHAPE.fullmatch(a[0])])
def test_wrong_number_of_axes_is_refused_by_name(name: str, argument: str, backend: Backend) -> None:
    arrays, settings = CALLS[name]
    with pytest.raises(ShapeError, match=rf"{argument}: got shape \(1, 1, 1, .*; allowed: "):
        results(name, arrays | {argument: arrays[argument][None, None, None]}, settings)


@pytest.mark.parametrize("name", [name for name, (arrays, _) in CALLS.items() if len(arrays) > 1])
def test_mixed_types_are_refused(name: str, backend: Backend) -> None:
    arrays, settings = CALLS[name]
    floats = [key for key, a in arrays.items() if a.dtype == np.float32]
    if len(floats) < 2:
        pytest.skip("one floating array only")
    mixed = arrays | {floats[-1]: arrays[floats[-1]].astype(np.float64)}
    with pytest.raises(DTypeError, match=r"got float(32|64); allowed: float(32|64), the dtype of \w+"):
        results(name, mixed, settings)


class Elsewhere:
    """Stands for an array of the GPU."""

    __module__ = "cupy._core.core"


def test_array_of_another_backend_names_both(backend: Backend) -> None:
    with pytest.raises(
        BackendMismatchError, match=f"x: got an array of the backend 'cupy'; .* backend '{backend.name}'"
    ):
        F.relu(Elsewhere())


def test_host_array_on_another_backend_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    with use_backend("numpy"):
        monkeypatch.setattr(type(get_backend()), "owns", lambda self, array: False)
        monkeypatch.setattr(type(get_backend()), "on_host", False)
        with pytest.raises(BackendMismatchError, match="x: got an array of the backend 'numpy'"):
            F.relu(X)


REFUSED: list[tuple[str, Callable[[], Any], type[Exception], str]] = [
    ("groups-divide", lambda: F.conv2d(X, W, groups=3), ArgumentError, "groups: got 3; allowed: a divisor of the 4"),
    ("groups-zero", lambda: F.conv2d(X, W, groups=0), ArgumentError, "groups: got 0; allowed: an int of at least 1"),
    ("groups-float", lambda: F.conv2d(X, W, groups=1.5), ArgumentError, "groups: got 1.5"),
    ("groups-weight", lambda: F.conv2d(X, W, groups=2), ShapeError, r"weight: .*allowed: \(R, S, 2, K\).*4 channels"),
    ("channels", lambda: F.conv2d(X, W[:, :, :3]), ShapeError, r"weight: got shape \(3, 3, 3, 8\); allowed: \(R, S, 4"),
    ("bias-length", lambda: F.conv2d(X, W, B[:5]), ShapeError, r"bias: got shape \(5,\); allowed: \(8,\)"),
    ("stride-zero", lambda: F.conv2d(X, W, stride=0), ShapeError, "stride: got 0"),
    ("stride-three", lambda: F.conv2d(X, W, stride=(1, 2, 3)), ShapeError, r"stride: got \(1, 2, 3\)"),
    ("stride-float", lambda: F.conv2d(X, W, stride=2.0), ShapeError, "stride: got 2.0"),
    ("dilation-zero", lambda: F.conv2d(X, W, dilation=(1, 0)), ShapeError, r"dilation: got \(1, 0\)"),
    ("padding-negative", lambda: F.conv2d(X, W, padding=-1), ShapeError, "padding: got -1"),
    ("padding-word", lambda: F.conv2d(X, W, padding="full"), ShapeError, "padding: got 'full'; allowed: .*'same'"),
    ("padding-mixed", lambda: F.conv2d(X, W, padding=((1, 1), 2)), ShapeError, "padding: got"),
    ("kernel-large", lambda: F.conv2d(X, f32(7, 3, 4, 8)), ShapeError, "kernel_size: .*larger than the input"),
    ("no-channels", lambda: F.conv2d(X[..., :0], W), ShapeError, "x: got shape .*no empty axis but the first"),
    ("no-rows", lambda: F.conv2d(X[:, :0], W, padding=1), ShapeError, "x: got shape .*no empty axis but the first"),
    ("no-outputs", lambda: F.conv2d(X, W[..., :0]), ShapeError, "weight: got shape .*no empty axis"),
    ("no-taps", lambda: F.conv2d(X, W[:0]), ShapeError, "weight: got shape .*no empty axis"),
    (
        "grad-shape",
        lambda: F.conv2d_backward_input(Y, W, input_shape=X.shape, padding=1),
        ShapeError,
        r"grad_output: got shape \(2, 4, 3, 8\); allowed: \(2, 6, 5, 8\)",
    ),
    (
        "grad-batch",
        lambda: F.conv2d_backward_weight(Y[:1], X, weight_shape=W.shape),
        ShapeError,
        r"grad_output: got shape \(1, 4, 3, 8\); allowed: \(2, 4, 3, 8\)",
    ),
    (
        "input-shape",
        lambda: F.conv2d_backward_input(Y, W, input_shape=(6, 5)),
        ShapeError,
        r"input_shape: got \(6, 5\)",
    ),
    (
        "input-shape-negative",
        lambda: F.conv2d_backward_input(Y, W, input_shape=(2, -1, 5, 4)),
        ShapeError,
        "input_shape: .*none negative",
    ),
    ("weight-shape", lambda: F.conv2d_backward_weight(Y, X, weight_shape=3), ShapeError, "weight_shape: got 3"),
    ("pool-kernel", lambda: F.max_pool2d(X, 0), ShapeError, "kernel_size: got 0"),
    ("pool-large", lambda: F.max_pool2d(X, 7), ShapeError, "kernel_size: .*larger than the input"),
    ("pool-padding", lambda: F.max_pool2d(X, 2, padding=2), ShapeError, "padding: got 2; allowed: at most half"),
    ("pool-padding-one-side", lambda: F.avg_pool2d(X, 3, padding=((0, 2), (0, 0))), ShapeError, "padding: .*1 rows"),
    (
        "pool-index-type",
        lambda: F.max_pool2d_backward(POOLED, POOLED_AT.astype(np.int64), input_shape=X.shape, kernel_size=2),
        DTypeError,
        "argmax: got int64; allowed: uint8",
    ),
    (
        "pool-index-shape",
        lambda: F.max_pool2d_backward(POOLED, POOLED_AT[:1], input_shape=X.shape, kernel_size=2),
        ShapeError,
        "argmax: got shape",
    ),
    ("dense-features", lambda: F.dense(ROWS, DENSE_W.T), ShapeError, r"weight: got shape \(3, 4\); allowed: \(4, 4\)"),
    (
        "dense-batch",
        lambda: F.dense_backward_weight(CLASSES[:2], ROWS),
        ShapeError,
        r"grad_output: .*allowed: \(5, 3\)",
    ),
    ("dense-empty", lambda: F.dense(ROWS[:, :0], DENSE_W[:0]), ShapeError, "x: got shape .*no empty axis but"),
    ("gamma-length", lambda: F.batch_norm(X, B, C4), ShapeError, r"gamma: got shape \(8,\); allowed: \(4,\)"),
    ("eps-zero", lambda: F.batch_norm(X, C4, C4, eps=0), ArgumentError, "eps: got 0; allowed: a finite number above 0"),
    ("eps-nan", lambda: F.batch_norm(X, C4, C4, eps=math.nan), ArgumentError, "eps: got nan"),
    ("eps-text", lambda: F.batch_norm(X, C4, C4, eps="small"), ArgumentError, "eps: got 'small'"),
    ("label-high", lambda: F.softmax_cross_entropy(CLASSES, LABELS + 1), ArgumentError, "labels: got 3; .*0 to 2"),
    ("label-negative", lambda: F.softmax_cross_entropy(CLASSES, LABELS - 1), ArgumentError, "labels: got -1"),
    (
        "label-beyond-int32",
        lambda: F.softmax_cross_entropy(CLASSES, LABELS + 2**32),
        ArgumentError,
        f"labels: got {2**32 + 2}",
    ),
    ("label-count", lambda: F.softmax_cross_entropy(CLASSES, LABELS[:3]), ShapeError, r"labels: got shape \(3,\)"),
    ("label-float", lambda: F.softmax_cross_entropy(CLASSES, LABELS * 1.0), DTypeError, "labels: got float64"),
    (
        "smoothing",
        lambda: F.softmax_cross_entropy(CLASSES, LABELS, label_smoothing=1.0),
        ArgumentError,
        "label_smoothing: got 1.0; allowed: a finite number at least 0 and below 1",
    ),
    ("dropout-p", lambda: F.dropout(X, 1.0, key=KEY), ArgumentError, "p: got 1.0"),
    ("dropout-negative", lambda: F.dropout(X, -0.1, key=KEY), ArgumentError, "p: got -0.1"),
    ("dropout-key", lambda: F.dropout(X, 0.1, key=7), ArgumentError, r"key: got 7; allowed: .*next_key\(\)"),
    ("slope", lambda: F.leaky_relu(X, math.inf), ArgumentError, "slope: got inf"),
    ("alpha", lambda: F.elu(X, None), ArgumentError, "alpha: got None"),
    ("activation-shape", lambda: F.relu_backward(X, X[:1]), ShapeError, r"grad_output: .*allowed: \(1, 6, 5, 4\)"),
]


@pytest.mark.parametrize(("call", "error", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_refused(call: Callable[[], Any], error: type[Exception], message: str) -> None:
    with use_backend("numpy"), pytest.raises(error, match=message):
        call()
