"""``fastconv summary``: the layers of a model."""

from __future__ import annotations

import argparse

import fastconv as fc


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    print(getattr(fc.models, options.model).unbuilt().summary(options.input_shape))
    return 0
