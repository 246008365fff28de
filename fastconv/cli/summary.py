"""``fastconv summary``: the layers of a model."""

from __future__ import annotations

import argparse

import fastconv as fc


def run(options: argparse.Namespace) -> int:
    """Print the table."""
    with fc.use_backend("numpy"):  # nothing is computed, so nothing need be compiled
        model = getattr(fc.models, options.model)(input_shape=tuple(options.input_shape))
        print(model.summary())
    return 0
