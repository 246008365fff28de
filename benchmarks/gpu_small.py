"""A small set of everything, for ``compute-sanitizer --tool memcheck python -m benchmarks.gpu_small``.

Training steps of small models in each precision, so that every tensor-core kernel and most others run, on memory that
is allocated array by array: CuPy's pool would hide an access behind the end of one.
"""

from __future__ import annotations

import math
import sys
from typing import get_args

import numpy as np

import fastconv as fc
from fastconv import nn
from fastconv.backends.contract.types import PrecisionChoice


def model() -> nn.Layer:
    """Return a model with a stem, patches, strides, 1x1, depthwise and grouped convolutions, and ragged channels."""
    return nn.Sequential(
        *(nn.Conv2d(16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 3, padding=1, bias=False), nn.BatchNorm2d()),
        *(nn.ReLU(), nn.MaxPool2d(2)),
        nn.Residual(nn.Sequential(nn.Conv2d(16, 3, padding=1, bias=False), nn.BatchNorm2d())),
        *(nn.ReLU(), nn.Conv2d(36, 3, stride=2, padding=1), nn.ReLU(), nn.Conv2d(20, 1), nn.GELU()),
        *(nn.Conv2d(20, 3, padding=1, groups=20), nn.Conv2d(24, 3, padding=1, groups=4), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Dropout(0.3), nn.Dense(33), nn.Tanh(), nn.Dense(10)),
    ).build((15, 13, 3), seed=1)


def run() -> list[float]:
    """Train two steps in each precision, one of them with Adam; return the losses."""
    rng = np.random.default_rng(0)
    x = fc.asarray(rng.standard_normal((5, 15, 13, 3)).astype(np.float32))
    y = fc.asarray(rng.integers(0, 10, 5).astype(np.int32))
    losses = []
    for precision in get_args(PrecisionChoice):
        net = model()
        optimizer: fc.optim.Optimizer = fc.optim.SGD(net.parameters(), 0.05, momentum=0.9, nesterov=True)
        if precision == "fast":
            optimizer = fc.optim.Adam(net.parameters(), 0.01)
        trainer = fc.Trainer(net, fc.losses.SoftmaxCrossEntropy(), optimizer, seed=1, capture=False)
        with fc.precision(precision):
            losses += [float(fc.to_numpy(trainer.train_step(x, y))) for _ in range(2)]
            losses.append(trainer.evaluate((x, y))["loss"])
    return losses


def main() -> int:
    """Run on the GPU, with plain allocations."""
    import cupy

    cupy.cuda.set_allocator(None)
    with fc.use_backend("cupy"):
        losses = run()
    print(losses)
    return not all(map(math.isfinite, losses))


if __name__ == "__main__":
    sys.exit(main())
