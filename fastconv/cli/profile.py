"""``fastconv profile``: how long each layer of a model takes in training, and its share of the roofline."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import fastconv as fc
from fastconv._console import one_line
from fastconv.cli.choices import apply_computing_options
from fastconv.training.callbacks.writing import check_file
from fastconv.training.diagnostics import profile_layers, trace_step


def run(options: argparse.Namespace) -> int:
    """Print the table, and write the trace of a step if that is asked for."""
    apply_computing_options(options)
    if options.trace is not None:
        check_file("--trace", Path(options.trace))
    model = getattr(fc.models, options.model)(seed=0)
    shape = (options.batch_size, *model.input_shape)
    x = fc.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
    print(profile_layers(model, x, repeats=options.repeats))
    if options.trace is not None:
        y = fc.asarray(np.zeros(options.batch_size, np.int32))
        loss, optimizer = fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.01, momentum=0.9)
        trace_step(fc.Trainer(model, loss, optimizer), x, y).save(options.trace)
        print(one_line(f"trace     {options.trace} (opens in https://ui.perfetto.dev)"))
    return 0
