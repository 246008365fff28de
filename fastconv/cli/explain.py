"""``fastconv explain``: which kernels and fusions the layers of a model get."""

from __future__ import annotations

import argparse

import fastconv as fc
from fastconv.cli.choices import apply_computing_options


def run(options: argparse.Namespace) -> int:
    """Print the explanation."""
    apply_computing_options(options)
    model = getattr(fc.models, options.model)()
    print(fc.explain(model, (options.batch_size, *model.input_shape)))
    return 0
