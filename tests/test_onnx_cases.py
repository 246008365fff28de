"""The node cases of the ONNX standard that convolution networks of two dimensions need, on every backend.

onnx builds its cases in memory when the modules of its operators are imported. They are NCHW and OIHW; this file
converts.
"""

from __future__ import annotations

import functools
import importlib
import math
from typing import Any

import numpy as np
import pytest

from fastconv import functional as F
from fastconv.backends.contract.backend import Backend
from fastconv.kernels.geometry import Padding, Pair, PoolWindows
from tests.compare import assert_close

pytestmark = pytest.mark.peer

MODULES = ("conv", "maxpool", "averagepool", "globalaveragepool", "globalmaxpool", "gemm", "batch_normalization")
NAMES = [
    "basic_conv_with_padding",
    "basic_conv_without_padding",
    "conv_with_strides_padding",
    "conv_with_strides_no_padding",
    "conv_with_strides_and_asymmetric_padding",
    "conv_with_autopad_same",
    "maxpool_2d_default",
    "maxpool_2d_ceil",
    "maxpool_2d_ceil_output_size_reduce_by_one",
    "maxpool_2d_dilations",
    "maxpool_2d_pads",
    "maxpool_2d_precomputed_pads",
    "maxpool_2d_precomputed_same_upper",
    "maxpool_2d_precomputed_strides",
    "maxpool_2d_same_lower",
    "maxpool_2d_same_upper",
    "maxpool_2d_strides",
    "maxpool_with_argmax_2d_precomputed_pads",
    "maxpool_with_argmax_2d_precomputed_strides",
    "averagepool_2d_default",
    "averagepool_2d_ceil",
    "averagepool_2d_ceil_last_window_starts_on_pad",
    "averagepool_2d_pads",
    "averagepool_2d_pads_count_include_pad",
    "averagepool_2d_precomputed_pads",
    "averagepool_2d_precomputed_pads_count_include_pad",
    "averagepool_2d_precomputed_same_upper",
    "averagepool_2d_precomputed_strides",
    "averagepool_2d_same_lower",
    "averagepool_2d_same_upper",
    "averagepool_2d_strides",
    "globalaveragepool",
    "globalaveragepool_precomputed",
    "globalmaxpool",
    "globalmaxpool_precomputed",
    "gemm_default_no_bias",
    "gemm_default_scalar_bias",
    "gemm_default_single_elem_vector_bias",
    "gemm_default_vector_bias",
    "gemm_default_matrix_bias",
    "gemm_default_zero_bias",
    "gemm_alpha",
    "gemm_beta",
    "gemm_transposeA",
    "gemm_transposeB",
    "gemm_all_attributes",
    "batchnorm_example",
    "batchnorm_epsilon",
    "batchnorm_example_training_mode",
    "batchnorm_epsilon_training_mode",
]

# Cases of the same operators that are left out, each with its reason.
EXCLUDED = {
    "maxpool_1d_default": "one dimension",
    "averagepool_1d_default": "one dimension",
    "maxpool_3d_default": "three dimensions",
    "maxpool_3d_dilations": "three dimensions",
    "maxpool_3d_dilations_use_ref_impl": "three dimensions",
    "maxpool_3d_dilations_use_ref_impl_large": "three dimensions",
    "averagepool_3d_default": "three dimensions",
    "averagepool_3d_dilations_small": "three dimensions",
    "averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_True": "three dimensions",
    "averagepool_3d_dilations_large_count_include_pad_is_0_ceil_mode_is_False": "three dimensions",
    "averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_True": "three dimensions",
    "averagepool_3d_dilations_large_count_include_pad_is_1_ceil_mode_is_False": "three dimensions",
    "averagepool_2d_dilations": "average pooling has no dilation here",
    "maxpool_2d_uint8": "integers are not computed with",
}
# Cases whose inputs and results are written down with so many decimal places only.
PLACES = {"averagepool_2d_ceil_last_window_starts_on_pad": 4}
Results = list[np.ndarray]


@functools.cache
def all_cases() -> dict[str, Any]:
    pytest.importorskip("onnx")
    for module in MODULES:
        importlib.import_module(f"onnx.backend.test.case.node.{module}")
    from onnx.backend.test.case.node import _NodeTestCases

    operators = {"Conv", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Gemm", "BatchNormalization"}
    return {
        case.name.removeprefix("test_"): case
        for case in _NodeTestCases
        if "_expanded" not in case.name and case.model.graph.node[0].op_type in operators
    }


def test_nothing_is_left_out_in_silence() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 50
    assert set(all_cases()) == set(NAMES) | set(EXCLUDED)


@pytest.mark.parametrize("name", NAMES)
def test_node(name: str, backend: Backend) -> None:
    helper = pytest.importorskip("onnx.helper")
    case = all_cases()[name]
    node = case.model.graph.node[0]
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    ((inputs, expected),) = case.data_sets
    results = RUN[node.op_type](backend, attributes, *inputs)[: len(node.output)]  # the index is optional in ONNX
    assert len(results) == len(expected) > 0
    for got, want in zip(results, expected, strict=True):
        if name in PLACES:
            assert got.shape == want.shape
            assert np.abs(got - want).max() < 10.0 ** -PLACES[name]
            continue
        terms = max(math.prod(inputs[0].shape[1:]), 25)
        # Both sides are rounded; sums here are of numbers of about the size of the largest result.
        assert_close(got, want.astype(np.float64), dtype=want.dtype, terms=terms, magnitude=np.abs(want).max())


def nhwc(a: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(a.transpose(0, 2, 3, 1))


def nchw(a: np.ndarray) -> np.ndarray:
    return a.transpose(0, 3, 1, 2)


def geometry(attributes: dict[str, Any], size: Pair, kernel: Pair) -> tuple[Pair, Pair, Padding]:
    """Return stride, dilation and padding; ONNX gives pads as (top, left, bottom, right)."""
    stride = tuple(attributes.get("strides", (1, 1)))
    dilation = tuple(attributes.get("dilations", (1, 1)))
    automatic = attributes.get("auto_pad", b"NOTSET")
    if automatic == b"NOTSET":
        top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
        return stride, dilation, ((top, bottom), (left, right))
    padding = []
    for n, k, step, d in zip(size, kernel, stride, dilation, strict=True):
        total = max((-(-n // step) - 1) * step + d * (k - 1) + 1 - n, 0)
        small, large = total // 2, total - total // 2
        padding.append((small, large) if automatic == b"SAME_UPPER" else (large, small))
    return stride, dilation, (padding[0], padding[1])


def conv(backend: Backend, attributes: dict[str, Any], x: np.ndarray, weight: np.ndarray) -> Results:
    stride, dilation, padding = geometry(attributes, x.shape[2:], weight.shape[2:])
    y = F.conv2d(nhwc(x), weight.transpose(2, 3, 1, 0), stride=stride, padding=padding, dilation=dilation)
    return [nchw(y)]


def windows(attributes: dict[str, Any], x: np.ndarray) -> tuple[PoolWindows, tuple[int, ...]]:
    """Return the windows of a pooling and the shape of its output, NHWC."""
    kernel = tuple(attributes["kernel_shape"])
    modes = (bool(attributes.get("ceil_mode", 0)), bool(attributes.get("count_include_pad", 0)))
    stride, dilation, padding = geometry(attributes, x.shape[2:], kernel)
    found = PoolWindows(kernel, stride, padding, dilation, *modes)
    return found, (x.shape[0], *found.output_size(*x.shape[2:]), x.shape[1])


def max_pool(backend: Backend, attributes: dict[str, Any], x: np.ndarray) -> Results:
    # The backend is called directly: ONNX allows more padding than half of the kernel, the edge does not.
    found, shape = windows(attributes, x)
    out, argmax = np.empty(shape, x.dtype), np.empty(shape, np.uint8)
    backend.max_pool2d(nhwc(x), windows=found, out=out, argmax=argmax)
    return [nchw(out), flat_index(attributes, found, nchw(argmax).astype(np.int64), x.shape)]


def flat_index(attributes: dict[str, Any], found: PoolWindows, place: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Turn places in the window into ONNX's numbers of cells in the whole tensor."""
    n, c, p, q = np.indices(place.shape)
    (top, _), (left, _) = found.padding
    width = found.kernel_size[1]
    h = p * found.stride[0] - top + place // width * found.dilation[0]
    w = q * found.stride[1] - left + place % width * found.dilation[1]
    by_columns = attributes.get("storage_order", 0) == 1
    cell = w * shape[2] + h if by_columns else h * shape[3] + w
    return (n * shape[1] + c) * shape[2] * shape[3] + cell


def avg_pool(backend: Backend, attributes: dict[str, Any], x: np.ndarray) -> Results:
    found, shape = windows(attributes, x)
    assert found.dilation == (1, 1)
    out = np.empty(shape, x.dtype)
    backend.avg_pool2d(nhwc(x), windows=found, out=out)
    return [nchw(out)]


def global_average(backend: Backend, attributes: dict[str, Any], x: np.ndarray) -> Results:
    return [F.global_avg_pool2d(nhwc(x))[:, :, None, None]]


def global_max(backend: Backend, attributes: dict[str, Any], x: np.ndarray) -> Results:
    return [F.global_max_pool2d(nhwc(x))[0][:, :, None, None]]


def gemm(backend: Backend, attributes: dict[str, Any], a: np.ndarray, b: np.ndarray, *c: np.ndarray) -> Results:
    """``alpha * A @ B + beta * C``: alpha goes into A, beta * C is the bias if it is one row."""
    a = np.float32(attributes.get("alpha", 1)) * (a.T if attributes.get("transA") else a)
    b = b.T if attributes.get("transB") else b
    if not c:
        return [F.dense(a, b)]
    added = np.float32(attributes.get("beta", 1)) * c[0]
    if added.ndim < 2 or added.shape[0] == 1:
        return [F.dense(a, b, np.broadcast_to(added.reshape(-1), b.shape[1:]))]
    y = F.dense(a, b)
    backend.add(y, added, out=y)
    return [y]


def batch_norm(backend: Backend, attributes: dict[str, Any], x: np.ndarray, *channels: np.ndarray) -> Results:
    scale, bias, mean, var = channels
    eps = attributes.get("epsilon", 1e-5)
    if not attributes.get("training_mode", 0):
        return [nchw(F.batch_norm_inference(nhwc(x), scale, bias, mean, var, eps=eps))]
    y, batch_mean, batch_var = F.batch_norm(nhwc(x), scale, bias, eps=eps)
    kept = np.float32(attributes.get("momentum", 0.9))  # ONNX stores the biased variance and weighs the old value
    return [nchw(y), mean * kept + batch_mean * (1 - kept), var * kept + batch_var * (1 - kept)]


RUN = {
    "Conv": conv,
    "MaxPool": max_pool,
    "AveragePool": avg_pool,
    "GlobalAveragePool": global_average,
    "GlobalMaxPool": global_max,
    "Gemm": gemm,
    "BatchNormalization": batch_norm,
}
