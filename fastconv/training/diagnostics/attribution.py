"""Which pixels of an image speak for a class: gradients of its score, and what is lost when a part is covered.

All compute as in evaluation: dropout does nothing, normalisations use their running statistics. The score of a class
is what the model puts out for it, usually the logit.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fastconv import _validate as validate
from fastconv import random
from fastconv._calls import tells_habits
from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.types import Array
from fastconv.errors import ArgumentError, ShapeError
from fastconv.nn import Conv2d, Dropout, Layer
from fastconv.nn.core.outputs import of_each
from fastconv.nn.model.checking import checked_model
from fastconv.training.diagnostics.layerwise import Place, layerwise

Classes = int | Sequence[int] | np.ndarray | None


@tells_habits({})
def saliency(model: Layer, x: Array, classes: Classes = None) -> np.ndarray:
    """Return how much each pixel can change the score of a class: ``max_c |d score / d x[n, h, w, c]|``.

    Source: Simonyan, Vedaldi and Zisserman 2013, https://arxiv.org/abs/1312.6034.

    Parameters
    ----------
    model : Layer
        Puts out (N, K) scores; nothing of it changes.
    x : (N, H, W, C) array
        Images as the model takes them.
    classes : int, (N,) ints or None
        Of each image, or one for all; None is what the model takes it for.

    Returns
    -------
    (N, H, W) array
        Of the host, at least 0.

    Raises
    ------
    ShapeError
        `x` is no batch of images, or the model puts out something else.
    ArgumentError
        A class that there is not.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> model = fc.nn.Sequential(fc.nn.Flatten(), fc.nn.Dense(2)).build((2, 2, 1), seed=0)
    >>> found = fc.training.diagnostics.saliency(model, np.ones((1, 2, 2, 1), np.float32), 1)
    >>> weights = fc.to_numpy(model.layers[1].weight.data)[:, 1]
    >>> bool(np.allclose(found.ravel(), np.abs(weights)))
    True
    """
    found: np.ndarray = np.abs(_gradient(model, x, classes)[1]).max(axis=-1)
    return found


@tells_habits({})
def gradient_times_input(model: Layer, x: Array, classes: Classes = None) -> np.ndarray:
    """Return what each pixel gives to the score of a class, to first order: ``sum_c x * d score / d x``.

    Of a model of ReLUs without biases the pixels add up to the score. Source: Shrikumar, Greenside, Shcherbina and
    Kundaje 2016, https://arxiv.org/abs/1605.01713.

    Parameters
    ----------
    model, x, classes
        As of `saliency`.

    Returns
    -------
    (N, H, W) array
        Of the host; what is above 0 speaks for the class.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> model = fc.nn.Sequential(fc.nn.Flatten(), fc.nn.Dense(2, bias=False)).build((2, 2, 1), seed=0)
    >>> x = np.ones((1, 2, 2, 1), np.float32)
    >>> found = fc.training.diagnostics.gradient_times_input(model, x, 1)
    >>> bool(np.isclose(found.sum(), fc.to_numpy(model(x))[0, 1]))
    True
    """
    images, gradient = _gradient(model, x, classes)
    found: np.ndarray = (images * gradient).sum(axis=-1)
    return found


@tells_habits({"sliding_window_shapes": "size", "patch_size": "size", "baseline": "fill", "strides": "stride"})
def occlusion(
    model: Layer, x: Array, classes: Classes = None, *, size: int = 8, stride: int = 4, fill: float = 0.0
) -> np.ndarray:
    """Return how much of a class's score is lost when a square covers a place: ``score(x) - score(x covered)``.

    Source: Zeiler and Fergus 2013, https://arxiv.org/abs/1311.2901.

    Parameters
    ----------
    model, x, classes
        As of `saliency`.
    size, stride : int
        Side of the square, and how far it moves at a time.
    fill : float
        What covers: 0 is grey where the images were normalised.

    Returns
    -------
    (N, (H - size) // stride + 1, (W - size) // stride + 1) array
        Of the host; what is above 0 speaks for the class.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> model = fc.nn.Sequential(fc.nn.GlobalAvgPool2d()).build((4, 4, 1))  # the score is the mean
    >>> fc.training.diagnostics.occlusion(model, np.ones((1, 4, 4, 1), np.float32), 0, size=2, stride=2)
    array([[[0.25, 0.25],
            [0.25, 0.25]]], dtype=float32)
    """
    images = _images(model, x)
    size, stride = validate.at_least_one(size, "size"), validate.at_least_one(stride, "stride")
    if size > min(images.shape[1:3]):
        raise ArgumentError(f"size: got {size}; allowed: at most {min(images.shape[1:3])}, as the images are")
    fill = validate.number(fill, "fill")
    rows, columns = (range(0, side - size + 1, stride) for side in images.shape[1:3])
    whole = _scores(model, images)
    chosen = _chosen(whole, classes)
    number = np.arange(len(images))
    lost = np.empty((len(images), len(rows), len(columns)), whole.dtype)
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            covered = images.copy()
            covered[:, row : row + size, column : column + size] = fill
            lost[:, i, j] = whole[number, chosen] - _scores(model, covered)[number, chosen]
    return lost


@tells_habits(dict.fromkeys(("target_layer", "layer_name", "last_conv_layer_name"), "layer"))
def grad_cam(model: Layer, x: Array, classes: Classes = None, *, layer: str | None = None) -> np.ndarray:
    """Return where the maps of a layer speak for a class: ``max(sum_k mean_hw(d score / d A_k) * A_k, 0)``.

    Source: Selvaraju, Cogswell, Das, Vedantam, Parikh and Batra 2016, https://arxiv.org/abs/1610.02391.

    Parameters
    ----------
    model, x, classes
        As of `saliency`.
    layer : str or None
        Whose output is A, by its name in ``model.summary()``; None is the last one whose maps are as large as those of
        the last convolution.

    Returns
    -------
    (N, h, w) array
        Of the host, of the size of the maps, at least 0.

    Raises
    ------
    ArgumentError
        There is no such layer, or it puts out no maps.

    Examples
    --------
    >>> import numpy as np
    >>> import fastconv as fc
    >>> nn = fc.nn
    >>> model = nn.Sequential(nn.Conv2d(4, 3), nn.ReLU(), nn.GlobalAvgPool2d(), nn.Dense(2)).build((6, 6, 1), seed=0)
    >>> fc.training.diagnostics.grad_cam(model, np.ones((3, 6, 6, 1), np.float32)).shape
    (3, 4, 4)
    """
    look = _Maps(checked_model(model).backend)
    _gradient(model, x, classes, look)
    name = look.last_of_convolution() if layer is None else layer
    if name not in look.outputs or name not in look.gradients:
        raise ArgumentError(
            f"layer: got {layer!r}; allowed: one that puts out maps: {', '.join(look.outputs) or 'none'}"
        )
    weights = look.gradients[name].mean(axis=(1, 2), keepdims=True)
    found: np.ndarray = np.maximum((weights * look.outputs[name]).sum(axis=-1), 0)
    return found


class _Maps:
    """Keeps maps and their gradients."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._last: tuple[int, ...] = ()
        self.outputs: dict[str, np.ndarray] = {}
        self.gradients: dict[str, np.ndarray] = {}

    def forward(self, place: Place, x: Array, y: Array) -> None:
        if y.ndim == 4:
            self.outputs[place.name] = np.array(self._backend.to_numpy(y))
            if isinstance(place.layer, Conv2d):
                self._last = tuple(y.shape[1:3])

    def backward(self, place: Place, grad_output: Array, grad_input: Array | None) -> None:
        if grad_output.ndim == 4:
            self.gradients[place.name] = np.array(self._backend.to_numpy(grad_output))

    def last_of_convolution(self) -> str | None:
        fitting = [name for name, maps in self.outputs.items() if maps.shape[1:3] == self._last]
        return fitting[-1] if fitting else None


def _images(model: Layer, x: Array) -> np.ndarray:
    there = checked_model(model).check_array(x, "x")
    if there.ndim != 4 or not there.shape[0]:
        raise ShapeError(f"x: got shape {tuple(there.shape)}; allowed: (N, H, W, C), a batch of at least one image")
    return np.array(model.backend.to_numpy(there))


def _scores(model: Layer, images: np.ndarray) -> np.ndarray:
    y = model(model.backend.asarray(images))
    if isinstance(y, tuple) or y.ndim != 2:
        shape = of_each(y, lambda part: tuple(part.shape))
        raise ShapeError(f"model: got one that puts out {shape}; allowed: scores of classes, (N, K)")
    return np.array(model.backend.to_numpy(y))


def _chosen(scores: np.ndarray, classes: Classes) -> np.ndarray:
    """Return the class of each image."""
    count, known = scores.shape
    if classes is None:
        best: np.ndarray = scores.argmax(axis=1)
        return best
    given = np.asarray(classes)
    if given.shape not in ((), (count,)) or given.dtype.kind not in "iu" or ((given < 0) | (given >= known)).any():
        raise ArgumentError(f"classes: got {classes!r:.100}; allowed: one of 0 to {known - 1}, or {count} of them")
    return np.broadcast_to(given, (count,))


def _gradient(model: Layer, x: Array, classes: Classes, look: _Maps | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, and the gradient of each one's score with respect to it."""
    images = _images(model, x)
    chosen = _chosen(_scores(model, images), classes)
    copied = layerwise(model, look or _Maps(model.backend)).freeze()  # running statistics stand
    for layer in copied.walk():
        if isinstance(layer, Dropout):
            layer.p = 0.0
    backend = copied.backend
    with random.stream(0, 0):
        y, context = copied.forward(backend.asarray(images), training=True)
    wanted = np.zeros(y.shape, images.dtype)
    wanted[np.arange(len(images)), chosen] = 1
    found = copied.backward(backend.asarray(wanted), context)
    return images, np.array(backend.to_numpy(found))
