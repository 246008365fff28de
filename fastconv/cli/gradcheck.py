"""``fastconv gradcheck``: whether the gradients of all layers and losses are right on this backend."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import fastconv as fc
from fastconv import nn
from fastconv._console import make_table, print_table
from fastconv.cli.choices import apply_computing_options
from fastconv.losses import LOSSES, Loss
from fastconv.nn import Layer
from fastconv.nn.layers.activations import LAYERS
from fastconv.random import checked_seed
from fastconv.testing import Report, gradcheck

_IMAGE = (3, 7, 6, 4)
_ROW = (5, 12)

# Sizes at which strides do not fit, channels fill no vector, and windows overlap.
_LAYERS: dict[str, tuple[Callable[[], Layer], tuple[int, ...]]] = {
    "Conv2d 3x3": (lambda: nn.Conv2d(5, 3, padding="same"), _IMAGE),
    "Conv2d stride 2": (lambda: nn.Conv2d(5, 3, stride=2, padding=((1, 0), (2, 1))), _IMAGE),
    "Conv2d dilation 2": (lambda: nn.Conv2d(5, (2, 3), dilation=2), _IMAGE),
    "Conv2d groups": (lambda: nn.Conv2d(6, 3, groups=2, bias=False), _IMAGE),
    "Conv2d depthwise": (lambda: nn.Conv2d(4, 3, padding=1, groups=4), _IMAGE),
    "DepthwiseConv2d": (lambda: nn.DepthwiseConv2d(3, 2, padding=1), _IMAGE),
    "ConvTranspose2d": (lambda: nn.ConvTranspose2d(5, 3, stride=2, output_padding=1), _IMAGE),
    "Dense": (lambda: nn.Dense(7), _ROW),
    "MaxPool2d": (lambda: nn.MaxPool2d(3, stride=2, padding=1), _IMAGE),
    "AvgPool2d": (lambda: nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True, count_include_pad=False), _IMAGE),
    "GlobalMaxPool2d": (nn.GlobalMaxPool2d, _IMAGE),
    "GlobalAvgPool2d": (nn.GlobalAvgPool2d, _IMAGE),
    "AdaptiveAvgPool2d": (lambda: nn.AdaptiveAvgPool2d((4, 2)), _IMAGE),
    "Upsample": (lambda: nn.Upsample((2, 3)), _IMAGE),
    "SubsamplePad": (lambda: nn.SubsamplePad(7, stride=2), _IMAGE),
    "BatchNorm2d": (nn.BatchNorm2d, _IMAGE),
    "SyncBatchNorm": (nn.SyncBatchNorm, _IMAGE),
    "GroupNorm": (lambda: nn.GroupNorm(2), _IMAGE),
    "LocalResponseNorm": (lambda: nn.LocalResponseNorm(3, alpha=0.5), _IMAGE),
    "Dropout": (lambda: nn.Dropout(0.4), _ROW),
    "Flatten": (nn.Flatten, _IMAGE),
    "Scale": (lambda: nn.Scale(0.125), _ROW),
    "PReLU": (nn.PReLU, _IMAGE),
    "Maxout": (lambda: nn.Maxout(2), _IMAGE),
    "Softmax": (nn.Softmax, _ROW),
    **{name: (layer, _ROW) for name, layer in LAYERS.items()},
    "Residual": (lambda: nn.Residual(nn.Sequential(nn.Conv2d(4, 3, padding=1), nn.BatchNorm2d(), nn.ReLU())), _IMAGE),
    "Parallel": (lambda: nn.Parallel(nn.Identity(), nn.Conv2d(3, 1), mode="concatenate"), _IMAGE),
    "Graph": (lambda: nn.Graph({"a": (nn.Conv2d(4, 1), "input"), "b": ("sum", "a", "input")}, outputs="b"), _IMAGE),
    "small network": (
        lambda: nn.Sequential(
            *(nn.Conv2d(6, 3, padding="same"), nn.BatchNorm2d(), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(5, 3), nn.SiLU(), nn.Flatten(), nn.Dense(4)),
        ),
        (3, 8, 8, 3),
    ),
}


def run(options: argparse.Namespace) -> int:
    """Print a table; the exit code is 1 if a gradient is wrong."""
    apply_computing_options(options)
    figures = ("derivatives", "at kinks", "worst error")
    table = make_table("layer", "result", *figures, "of", right=figures)
    for column in table.columns[:-1]:
        column.no_wrap = True
    failed = []
    for name, report in _reports(checked_seed(options.seed)):
        if not report.ok:
            failed.append(name)
        error, place = _worst(report)
        table.add_row(name, "passed" if report.ok else "FAILED", str(report.checked), str(report.kinks), error, place)
    print_table(table)
    count = table.row_count
    if failed:
        print(f"{len(failed)} of {count} FAILED on {fc.get_backend().name}: {', '.join(failed)}")
        return 1
    print(f"all {count} passed on {fc.get_backend().name}")
    return 0


def _worst(report: Report) -> tuple[str, str]:
    """Return the greatest relative error, beyond what rounding explains, and where it is."""
    if report.worst is None:
        return "", ""
    if not report.worst.error:
        return "within rounding", ""
    return f"{report.worst.error:.1e}", f"{report.worst.variable}, {report.worst.direction}"


def _reports(seed: int) -> Iterator[tuple[str, Report]]:
    generator = np.random.default_rng(seed)
    for name, (make, shape) in _LAYERS.items():
        x = generator.standard_normal(shape)
        yield name, gradcheck(make(), x, seed=seed, raise_on_failure=False)
    for loss in LOSSES.values():
        rows = loss.function.over == "rows"
        targets = fc.asarray(np.array([1, 0, 3], np.int32) if rows else generator.uniform(0, 1, (3, 4)))
        x = generator.standard_normal((3, 4))
        yield loss.__name__, gradcheck(_of_loss(loss(), targets), x, seed=seed, raise_on_failure=False)


def _of_loss(loss: Loss, targets: Any) -> Callable[[Any], tuple[Any, Callable[[Any], Any]]]:
    def function(x: Any) -> tuple[Any, Callable[[Any], Any]]:
        value, grad = loss(x, targets)
        return value, lambda grad_loss: fc.asarray(fc.to_numpy(grad) * fc.to_numpy(grad_loss))

    return function
