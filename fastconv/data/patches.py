"""Whitening of patches of images: their covariance, and the filters that make it the unit matrix."""

from __future__ import annotations

import numpy as np

from fastconv import _validate as validate
from fastconv.backends.contract.types import Pair
from fastconv.errors import ArgumentError, DTypeError, ShapeError

_PIECE = 2**22  # values of patches at once


class Whitening:
    """What whitens patches of `kernel_size` pixels, all in float64.

    With D = kernel_h * kernel_w * C values in a patch, in the order of (kernel_h, kernel_w, C):

    Parameters
    ----------
    kernel_size : pair of int
        Height and width of a patch, in pixels.
    channels : int
        Of the images, C.
    eps : float
        Added to eigenvalues before the root is drawn.
    covariance : (D, D) array
        ``mean over patches of p p^T``, of patches as they are: images that are normalised have a mean near 0.
    eigenvalues : (D,) array
        The largest first.
    eigenvectors : (D, D) array
        A row for each, of length 1; the value that is the largest in size is positive.

    Examples
    --------
    >>> images = np.random.default_rng(0).standard_normal((20, 8, 8, 3))
    >>> found = fc.data.whitening(images, 2)
    >>> found.matrix.shape, found.weight.shape
    ((12, 12), (2, 2, 3, 24))
    """

    def __init__(
        self,
        kernel_size: tuple[int, int],
        channels: int,
        eps: float,
        *,
        covariance: np.ndarray,
        eigenvalues: np.ndarray,
        eigenvectors: np.ndarray,
    ) -> None:
        self.kernel_size, self.channels, self.eps = kernel_size, channels, eps
        self.covariance, self.eigenvalues, self.eigenvectors = covariance, eigenvalues, eigenvectors

    @property
    def matrix(self) -> np.ndarray:
        """The rows that whiten, ``eigenvectors / sqrt(eigenvalues + eps)``, (D, D)."""
        rows: np.ndarray = self.eigenvectors / np.sqrt(self.eigenvalues + self.eps)[:, None]
        return rows

    @property
    def zca(self) -> np.ndarray:
        """The symmetric matrix that whitens and changes a patch least, ``E^T diag(1 / sqrt(eigenvalues + eps)) E``.

        (D, D); (Krizhevsky 2009, appendix A, https://www.cs.toronto.edu/~kriz/learning-features-2009-TR.pdf)
        """
        product: np.ndarray = self.eigenvectors.T @ self.matrix
        return product

    @property
    def weight(self) -> np.ndarray:
        """The weight of a first layer, (kernel_h, kernel_w, C, 2 D): `matrix` and its negative, as filters.

        (Jordan 2024, section 3.2, https://arxiv.org/abs/2404.00498)
        """
        filters = np.concatenate([self.matrix, -self.matrix])
        return np.ascontiguousarray(filters.T).reshape(*self.kernel_size, self.channels, -1)


def whitening(images: np.ndarray, kernel_size: Pair | int = 2, *, eps: float = 5e-4) -> Whitening:
    """Return what whitens the patches of images, all that lie within them.

    Parameters
    ----------
    images : (N, H, W, C) array, float32 or float64
        As the first layer gets them; uint8 are divided by 255. Of NumPy; some thousand images tell enough.
    kernel_size : int or pair (h, w)
        Of a patch.
    eps : float
        At least 0.

    Returns
    -------
    Whitening
        Covariance, eigenvalues and eigenvectors, and the weight of a first layer.

    Raises
    ------
    ShapeError, DTypeError, ArgumentError
        Of an argument that is not like that.

    Examples
    --------
    >>> images = np.random.default_rng(0).standard_normal((20, 8, 8, 1)) * [[[2.0]]]
    >>> fc.data.whitening(images, 1).eigenvalues.round(1)
    array([3.9])
    """
    images = np.asarray(images)
    images = images if images.dtype.isnative else images.astype(images.dtype.newbyteorder("="))
    validate.has_axes(images, "images", "(N, H, W, C)")
    if images.dtype not in (*validate.FLOATS, np.uint8):
        raise DTypeError(f"images: got {images.dtype}; allowed: float32, float64 or uint8")
    size = (kernel_size, kernel_size) if not isinstance(kernel_size, tuple | list) else tuple(kernel_size)
    height, width = validate.sizes(size, "kernel_size", "an int or a pair (h, w)")
    eps = validate.number(eps, "eps", low=0)
    if not len(images) or images.shape[1] < height or images.shape[2] < width or not images.shape[3]:
        raise ShapeError(
            f"images: got shape {images.shape}; allowed: at least one, of {height} x {width} pixels or more"
        )
    length = height * width * images.shape[3]
    total, count = np.zeros((length, length)), 0
    piece = max(1, _PIECE // (length * images.shape[1] * images.shape[2]))
    for begin in range(0, len(images), piece):
        part = images[begin : begin + piece].astype(np.float64)
        windows = np.lib.stride_tricks.sliding_window_view(part, (height, width), (1, 2))
        patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, length)
        total += patches.T @ patches
        count += len(patches)
    if not np.isfinite(total).all():
        raise ArgumentError("images: got a value that is not finite; allowed: finite numbers")
    covariance = total / count / (255**2 if images.dtype == np.uint8 else 1)
    values, vectors = np.linalg.eigh(covariance)
    rows = vectors.T[::-1]
    signs = np.sign(np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1))
    values = np.maximum(values[::-1], 0)  # rounding may bring those near 0 below it
    found = {"covariance": covariance, "eigenvalues": values, "eigenvectors": rows * signs}
    return Whitening((height, width), images.shape[3], eps, **found)
