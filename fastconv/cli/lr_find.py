"""``fastconv lr-find``: which learning rates are of use for a recipe."""

from __future__ import annotations

import argparse

from fastconv._console import make_table, print_table, short_number
from fastconv.cli.recipes import place_of_rate, recipe_of
from fastconv.cli.running import compute_as
from fastconv.training import find_learning_rate
from fastconv.training.recipe import Recipe
from fastconv.training.run_data import load_data

_ROWS = 20
_ANY_RATE = 1e-3  # the test sets each step's own


def run(options: argparse.Namespace) -> int:
    """Print the loss at rising rates, and two rates to begin with; nothing is written."""
    recipe = Recipe.of({**recipe_of(options, any_rate=_ANY_RATE).tables, "callbacks": []})
    compute_as(recipe, options.threads)
    train, _ = load_data(recipe)
    model = recipe.make_model(train.images.shape[1:], len(train.class_names))
    loader = recipe.make_loader(train)
    trainer = recipe.make_trainer(model, len(loader), ())
    found = find_learning_rate(trainer, loader, options.low, options.high, options.steps)
    table = make_table("rate", "loss", "smoothed", right=("rate", "loss", "smoothed"))
    for i in range(0, len(found.rates), -(-len(found.rates) // _ROWS)):
        table.add_row(f"{found.rates[i]:.2e}", short_number(found.losses[i]), short_number(found.smoothed[i]))
    print_table(table)
    if found.diverged:
        print(f"it diverged at {found.rates[-1]:.2e}")
    if found.suggestion is None:
        print("the loss never fell: no rate to begin with (try more --steps, or another --low)")
    else:
        place = place_of_rate(recipe.tables["optimizer"])
        option = "--lr " if place == "optimizer" else f"--set {place}.lr="
        print(f"steepest fall      {option}{found.suggestion.steepest:.1e}")
        print(f"tenth of the least {option}{found.suggestion.tenth_of_minimum:.1e}")
    return 0
