"""Where the windows of a convolution or a pooling lie, as a value: made once, by what calls an operation.

Needs neither Numba nor CuPy, nor anything of fastconv.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields, replace

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]


def output_length(size: int, kernel: int, stride: int, padding: Pair, dilation: int, *, ceil_mode: bool = False) -> int:
    """Return how many windows an axis of `size` cells has; below one if not even the first fits.

    ``floor((size + low + high - dilation * (kernel - 1) - 1) / stride) + 1``; `ceil_mode` rounds up, less a last
    window that would start in the padding at the end.
    """
    low, high = padding
    room = size + low + high - dilation * (kernel - 1) - 1
    windows = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    return windows - 1 if ceil_mode and (windows - 1) * stride >= size + low else windows


@dataclass(frozen=True)
class Windows:
    """Windows that move over a map.

    Attributes
    ----------
    kernel_size, stride, dilation : (h, w)
    padding : ((top, bottom), (left, right))
    """

    kernel_size: Pair
    stride: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)

    def __post_init__(self) -> None:
        # Once, for caches look these values up at each call of an operation.
        object.__setattr__(self, "_hash", hash(tuple(getattr(self, field.name) for field in fields(self))))

    def __hash__(self) -> int:
        value: int = self._hash  # type: ignore[attr-defined]
        return value

    def output_size(self, h: int, w: int) -> Pair:
        """Return how many windows a map of h x w cells has along each axis: see `output_length`."""
        return _output_size(self, h, w, False)


@functools.lru_cache(maxsize=1024)
def _output_size(windows: Windows, h: int, w: int, ceil_mode: bool) -> Pair:
    axes = zip((h, w), windows.kernel_size, windows.stride, windows.padding, windows.dilation, strict=True)
    rows, columns = (output_length(*axis, ceil_mode=ceil_mode) for axis in axes)
    return rows, columns


@dataclass(frozen=True)
class PoolWindows(Windows):
    """Windows of a pooling.

    Attributes
    ----------
    ceil_mode : bool
        Whether their number is rounded up.
    count_include_pad : bool
        Whether padded cells count for a mean.
    """

    ceil_mode: bool = False
    count_include_pad: bool = True

    __hash__ = Windows.__hash__

    def output_size(self, h: int, w: int) -> Pair:
        """Return how many windows a map of h x w cells has along each axis: see `output_length`."""
        return _output_size(self, h, w, self.ceil_mode)


@functools.lru_cache(maxsize=1024)
def whole_map(h: int, w: int) -> PoolWindows:
    """Return the one window of a global pooling."""
    return PoolWindows((h, w), (h, w))


@dataclass(frozen=True)
class ConvGeometry(Windows):
    """Geometry of a convolution, or of the transposed one: the gradient of its input.

    Attributes
    ----------
    groups : int
        Parts of the channels that have nothing to do with each other.
    is_transposed : bool
        Whether the sum runs the other way: from the map of windows to the one that they move over, which all other
        attributes describe in either case.
    """

    groups: int = 1
    is_transposed: bool = False

    __hash__ = Windows.__hash__

    def transposed(self) -> ConvGeometry:
        """Return the geometry of the other way."""
        return _transposed(self)

    def output_size(self, h: int, w: int) -> Pair:
        """Return rows and columns of the output for an input of h x w pixels.

        Transposed, of all sizes that give so many windows it is the least.
        """
        if not self.is_transposed:
            return super().output_size(h, w)
        axes = zip((h, w), self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        rows, columns = ((n - 1) * s + d * (k - 1) + 1 - low - high for n, k, s, (low, high), d in axes)
        return rows, columns

    @property
    def padding_before(self) -> Pair:
        """Rows above and columns left of the map that the first output pixel is summed from, with stride 1."""
        before = tuple(low for low, _ in self.padding)
        if self.is_transposed:
            axes = zip(self.kernel_size, before, self.dilation, strict=True)
            before = tuple(d * (k - 1) - low for k, low, d in axes)
        return before[0], before[1]


@functools.lru_cache(maxsize=1024)
def _transposed(geometry: ConvGeometry) -> ConvGeometry:
    return replace(geometry, is_transposed=not geometry.is_transposed)


DENSE_GEOMETRY = ConvGeometry((1, 1))
"""A dense layer is a 1x1 convolution of maps of one pixel."""
