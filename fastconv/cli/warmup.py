"""``fastconv warmup``: compile kernels ahead, so that the first step of a training does not wait for them."""

from __future__ import annotations

import argparse
import time

import numpy as np

import fastconv as fc
from fastconv.cli.choices import apply_computing_options


def run(options: argparse.Namespace) -> int:
    """Run what compiles: a training step with each optimizer, an evaluation and an inference plan."""
    apply_computing_options(options)
    for name in options.models:
        begin = time.perf_counter()
        _run_once(name, options.batch_size)
        print(f"{name}: ready after {time.perf_counter() - begin:.1f} s", flush=True)
    return 0


def _run_once(name: str, batch: int) -> None:
    model = getattr(fc.models, name)(seed=0)
    rng = np.random.default_rng(0)
    x = fc.asarray(rng.standard_normal((batch, *model.input_shape)).astype(np.float32))
    y = fc.asarray(np.zeros(batch, np.int32))
    parameters = model.parameters()
    for optimizer in (fc.optim.SGD(parameters, 1e-3, momentum=0.9, nesterov=True), fc.optim.Adam(parameters, 1e-3)):
        trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), optimizer)
        float(trainer.train_step(x, y))
    trainer.evaluate((x, y), batch_size=batch)
    for size in (1, batch):
        model.compile((size, *model.input_shape))(x[:size])
