"""What all models share: how a row of layers becomes a model that is built."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, cast

import numpy as np

from fastconv import _validate as validate
from fastconv._calls import tells_habits
from fastconv._docstrings import completed
from fastconv.backends.contract.types import Shape
from fastconv.errors import ShapeError
from fastconv.nn import Sequential

CIFAR, IMAGENET = (32, 32, 3), (224, 224, 3)
FORMS = {"cifar": CIFAR, "imagenet": IMAGENET}


class Architecture(Protocol):
    """A model by name: called, it is built on the active backend."""

    __name__: str
    unbuilt: Callable[..., Sequential]
    """The same layers without parameters, for a summary that takes no memory: ``vgg16.unbuilt().summary(shape)``."""

    def __call__(
        self,
        num_classes: int = 10,
        *,
        input_shape: Sequence[int] | None = None,
        dtype: Any = np.float32,
        seed: int | None = None,
        **settings: Any,
    ) -> Sequential:
        """Return the model for images of `input_shape`, (H, W, C), with weights drawn by `seed`."""


def architecture(
    input_shape: Shape | None = None, *, forms: Mapping[str, Shape] = FORMS
) -> Callable[[Callable[..., Sequential]], Architecture]:
    """Make what returns layers for `num_classes`, and settings of its own, a model that is built.

    For images of `input_shape`; without one it has a setting `form`, one of `forms`, which tells their usual size.
    """

    def decorate(layers: Callable[..., Sequential]) -> Architecture:
        own = inspect.signature(layers).parameters

        @functools.wraps(layers)
        def unbuilt(num_classes: int = 10, **settings: Any) -> Sequential:
            classes = validate.at_least_one(num_classes, "num_classes")
            form = settings.get("form", own["form"].default) if "form" in own else None
            if "form" in own:
                validate.one_of(form, "form", forms)
            for name, value in settings.items():
                if name in own and isinstance(own[name].default, bool):
                    validate.truth(value, name)
            return layers(classes, **settings)

        @functools.wraps(layers)
        def build(
            num_classes: int = 10,
            *,
            input_shape: Sequence[int] | None = input_shape,
            dtype: Any = np.float32,
            seed: int | None = None,
            **settings: Any,
        ) -> Sequential:
            model = unbuilt(num_classes, **settings)
            if input_shape is None and "form" in own:
                input_shape = forms[settings.get("form", own["form"].default)]
            shape = validate.sizes(input_shape, "input_shape", "sizes without the batch")
            try:
                return model.build(shape, dtype, seed)
            except ShapeError as error:
                raise ShapeError(f"input_shape: got {shape}, which {layers.__name__} does not fit; {error}") from error

        common = list(inspect.signature(build, follow_wrapped=False).parameters.values())[1:-1]
        signature = inspect.Signature([*own.values(), *common])
        vars(build)["__signature__"] = signature
        build = tells_habits(_ABSENT)(build)
        shared = _SHARED.format(or_none=" or None" if "form" in own else "")
        build.__doc__ = completed(layers.__doc__, signature, shared, _RETURNS)
        vars(build)["unbuilt"] = tells_habits(_ABSENT)(unbuilt)
        return cast(Architecture, build)

    return decorate


_FILE = "fc.models.load(name, weights=path)"
_ABSENT = {
    **dict.fromkeys(("pretrained", "weights", "progress"), _FILE),
    "include_top": "fc.models.fine_tune(model, num_classes)",
    "classes": "num_classes",
}
_SHARED = """num_classes : int
    Classes: outputs of the last layer.
form : "cifar" or "imagenet"
    The network for small images, or that of the paper.
batch_norm : bool
    Whether each convolution is followed by a `BatchNorm2d`.
input_shape : (H, W, C){or_none}
    Of one image.
dtype : dtype
    float32 or float64.
seed : int or None
    Of the weights; see `fastconv.nn.Layer.build`."""
_RETURNS = """Returns
-------
Sequential
    Built on the active backend. The function's attribute ``unbuilt`` gives the same layers without parameters."""
