"""``fastconv train``: train a network, show how it goes, and write what came out."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import fastconv as fc
from fastconv.cli.recipes import recipe_of
from fastconv.cli.run_folder import claim_folder
from fastconv.cli.running import TrainingRun, compute_as
from fastconv.training.named import NAME
from fastconv.training.run_data import load_data


def run(options: argparse.Namespace) -> int:
    """Train, and print where the results are."""
    began = time.perf_counter()
    recipe = recipe_of(options)
    compute_as(recipe, options.threads)
    active = {"backend": fc.get_backend().name, "precision": fc.get_precision(), "algorithm": fc.get_algorithm()}
    recipe = recipe.changed("run", **active)
    train, test = load_data(recipe)
    default = Path("runs") / f"{recipe.tables['data'][NAME]}-{recipe.tables['model'][NAME]}"
    with claim_folder(options.output, default) as files:
        this = TrainingRun.prepare(recipe, files, train, test)
        this.announce()
        return this.fit(options, began)
