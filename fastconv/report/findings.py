"""What the weights of a run show: what is taken for what, the worst images, zeros, and how long the layers take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastconv.data import Dataset
from fastconv.errors import DataError
from fastconv.metrics import ConfusionMatrix
from fastconv.nn import Conv2d, Layer, Parameter
from fastconv.report.runs import Run
from fastconv.training.diagnostics import Machine, Profile, profile_layers
from fastconv.training.logits import compute_logits, probabilities
from fastconv.training.run_data import at_most, load_test

_BATCH = 256
_WORST = 12
_REPEATS = 3


@dataclass(frozen=True)
class Mistake:
    """An image that is taken for something else.

    Attributes
    ----------
    index : int
        In the test images.
    image : (H, W, C) uint8 array
    label, guess : str
    probability : float
        That the network gives its guess.
    """

    index: int
    image: np.ndarray
    label: str
    guess: str
    probability: float


@dataclass(frozen=True)
class Judged:
    """What a network makes of the test images.

    Attributes
    ----------
    name : str
        Of the images.
    class_names : tuple of str
    counts : (K, K) array
        How many of class i are taken for class j.
    worst : tuple of Mistake
        Those whose own class gets the least probability, the worst first.
    """

    name: str
    class_names: tuple[str, ...]
    counts: np.ndarray
    worst: tuple[Mistake, ...]


@dataclass(frozen=True)
class Sparsity:
    """How many numbers of a weight are zero."""

    name: str
    shape: tuple[int, ...]
    size: int
    zeros: int

    @property
    def share(self) -> float:
        """How many of all."""
        return self.zeros / self.size


@dataclass(frozen=True)
class Findings:
    """What the weights of a run show.

    Attributes
    ----------
    judged : Judged or None
    unjudged : str
        Why there is nothing of the images, if there is not.
    sparsity : tuple of Sparsity
    first : Conv2d or None
        The first convolution, if its filters can be shown as pictures.
    profile : Profile or None
    """

    judged: Judged | None = None
    unjudged: str = ""
    sparsity: tuple[Sparsity, ...] = ()
    first: Conv2d | None = None
    profile: Profile | None = None


def look_into(run: Run, *, limit: int | None, timed: bool, machine: Machine | None) -> Findings:
    """Look at the weights after the last whole epoch; nothing is found if there are none yet.

    Parameters
    ----------
    limit : int or None
        How many test images to look at, of an own folder each class's share; all of the run's by default.
    timed : bool
        Whether to time the layers.
    machine : Machine or None
        What the times are held against; measured if None.
    """
    if not run.folder.weights.is_file():
        return Findings(unjudged=run.missing or "there are no weights before the first epoch is over")
    about: Mapping[str, Any] = run.folder.read_about()
    model = run.folder.load_model()
    judged, unjudged = None, ""
    try:
        own = "images" in run.recipe.tables["data"]
        judged = _judge(model, at_most(load_test(run.recipe), limit, own=own), about)
    except DataError as error:  # a run can be looked at where its images are not
        unjudged = str(error)
    profile = _profile(run, model, machine) if timed else None
    first = next((layer for layer in model.walk() if isinstance(layer, Conv2d)), None)
    shown = first if first is not None and first.weight.shape[2] in (1, 3) else None
    return Findings(judged, unjudged, _zeros(model), shown, profile)


def _judge(model: Layer, data: Dataset, about: Mapping[str, Any]) -> Judged:
    logits = compute_logits(model, data, _BATCH, about)
    counts = np.asarray(ConfusionMatrix()(model.backend.asarray(logits), model.backend.asarray(data.labels)))
    probability, guesses = probabilities(logits), logits.argmax(1)
    own = np.where(guesses == data.labels, 2.0, probability[np.arange(len(data)), data.labels])
    worst = [i for i in np.argsort(own, kind="stable")[:_WORST] if own[i] <= 1]
    names = data.class_names
    mistakes = (
        Mistake(int(i), data.images[i], names[data.labels[i]], names[guesses[i]], float(probability[i, guesses[i]]))
        for i in worst
    )
    return Judged(data.name, names, counts, tuple(mistakes))


def _zeros(model: Layer) -> tuple[Sparsity, ...]:
    """Count the zeros of all weights, those parameters that have more than one axis."""
    found = []
    for name, tensor in model.named_tensors().items():
        if isinstance(tensor, Parameter) and len(tensor.shape) > 1:
            values = model.backend.to_numpy(tensor.array)
            found.append(Sparsity(name, tuple(tensor.shape), values.size, int(values.size - np.count_nonzero(values))))
    return tuple(found)


def _profile(run: Run, model: Layer, machine: Machine | None) -> Profile:
    shape = (int(run.recipe.tables["loader"]["batch_size"]), *model.input_shape)
    x = np.random.default_rng(0).standard_normal(shape, np.float32).astype(model.dtype)
    return profile_layers(model, model.backend.asarray(x), repeats=_REPEATS, machine=machine)
