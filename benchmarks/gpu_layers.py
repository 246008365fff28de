"""The layers that GPU figures are about, and one pass of them on a backend: for the report and for measurements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from benchmarks.shapes import CONVOLUTIONS, Conv
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array, PrecisionChoice
from fastconv.kernels.epilogue import NO_EPILOGUE

BATCH = 512
DIRECTIONS = ("forward", "backward_input", "backward_weight")
PRECISIONS: tuple[PrecisionChoice, ...] = ("default", "fast")
_NAMES = (
    *("stem_3_64_at_32", "64_64_at_32", "128_128_at_16", "256_256_at_8", "512_512_at_4", "stride2_64_128_at_32"),
    "1x1_256_64_at_16",
)
LAYERS = (
    *(conv for conv in CONVOLUTIONS if conv.name in _NAMES),
    Conv("1x1_64_256_at_16", 64, 16, 256, kernel=1, padding=0),
    Conv("1x1_stride2_64_128_at_32", 64, 32, 128, kernel=1, stride=2, padding=0),
)
_TELLING = ("64_64_at_32", "128_128_at_16", "256_256_at_8", "512_512_at_4", "stem_3_64_at_32")
TELLING = tuple(next(conv for conv in LAYERS if conv.name == name) for name in _TELLING)
"""The five that the run-book measures first, in its order."""
MORE = (
    *(conv for conv in LAYERS if conv not in TELLING),
    next(conv for conv in CONVOLUTIONS if conv.name == "16_16_at_32"),
)
"""The others, with a layer of resnet20."""


def tiny(conv: Conv) -> Conv:
    """Return a layer of the same kind that the emulator computes in a moment."""
    sizes = {"channels": min(conv.channels, 16), "outputs": min(conv.outputs, 16), "size": min(conv.size, 8)}
    return replace(conv, **sizes, batch=2)


def result_shape(conv: Conv, direction: str) -> tuple[int, ...]:
    """Return the shape of what a pass writes."""
    out = (conv.batch, conv.out_size, conv.out_size, conv.outputs)
    return {"forward": out, "backward_input": conv.x_shape, "backward_weight": conv.weight_shape}[direction]


def operation(
    backend: Backend, conv: Conv, direction: str, precision: PrecisionChoice, arrays: dict[str, Array]
) -> Callable[[], None]:
    """Return what runs one pass from `arrays` ("x", "weight", "grad") into "out", the weight's preparation included."""
    geometry, pool, out = conv.geometry, backend.pool, arrays["out"]

    def run() -> None:
        if direction == "backward_weight":
            how: Any = {"geometry": geometry, "precision": precision, "algorithm": "shapes"}
            backend.conv2d_backward_weight(arrays["grad"], arrays["x"], **how, out=out, workspace=pool)
            return
        how = {"input_shape": conv.x_shape, "precision": precision, "algorithm": "shapes", "workspace": pool}
        if direction == "forward":
            prepared = backend.prepare_conv2d_weight(arrays["weight"], geometry=geometry, **how)
            backend.conv2d(arrays["x"], prepared, None, NO_EPILOGUE, out=out, workspace=pool)
        else:
            prepared = backend.prepare_conv2d_weight(arrays["weight"], geometry=geometry.transposed(), **how)
            backend.conv2d_backward_input(arrays["grad"], prepared, out=out, workspace=pool)

    return run
