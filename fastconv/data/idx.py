"""IDX, the format of MNIST and the sets after its model, also compressed with gzip.

Two zero bytes, one for the type of the numbers, one for the number of axes; then the length of each axis and the
numbers, big-endian, as http://yann.lecun.com/exdb/mnist/ describes it.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from fastconv._files import home_path_of
from fastconv.data._directory import PathLike
from fastconv.errors import DataError

if TYPE_CHECKING:
    from gzip import GzipFile

_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_PIECE = 2**24  # memory is asked for as data comes, not as a header promises it


def read_idx(path: PathLike) -> np.ndarray:
    """Return the array in an IDX file, compressed or not, in the machine's byte order.

    Parameters
    ----------
    path : path
        Of the file, ``.gz`` or not.

    Returns
    -------
    numpy.ndarray
        In the shape that the file says.

    Raises
    ------
    DataError
        The file cannot be read, is no IDX file, or is longer or shorter than its header says.
    ArgumentError
        `path` is no path.

    Examples
    --------
    >>> with open("three.idx", "wb") as file:
    ...     _ = file.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9]))
    >>> fc.data.read_idx("three.idx")
    array([7, 8, 9], dtype=uint8)
    """
    import gzip

    path = home_path_of(path, "path")
    try:
        with path.open("rb") as file:
            packed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            return _read(path, gzip.GzipFile(fileobj=file) if packed else file)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: got a damaged gzip file ({error}); allowed: a whole one") from error
    except OSError as error:
        raise DataError(f"{path}: got {error.strerror or error}; allowed: an IDX file that can be read") from error


def _read(path: Path, file: IO[bytes] | GzipFile) -> np.ndarray:
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _TYPES or not magic[3]:
        raise DataError(f"{path}: got a file that begins with {magic.hex() or 'nothing'}; allowed: an IDX file")
    axes = file.read(4 * magic[3])
    if len(axes) < 4 * magic[3]:
        raise DataError(f"{path}: got a header that is cut off; allowed: the lengths of {magic[3]} axes")
    shape = tuple(np.frombuffer(axes, ">u4").tolist())
    dtype = np.dtype(_TYPES[magic[2]])
    size = math.prod(shape) * dtype.itemsize
    data = bytearray()
    while len(data) < size and (piece := file.read(min(_PIECE, size - len(data)))):
        data += piece
    if len(data) < size:
        raise DataError(f"{path}: got {len(data):,} bytes of numbers; allowed: {size:,}, for an array of shape {shape}")
    if file.read(1):
        raise DataError(f"{path}: got more than {size:,} bytes of numbers; allowed: as many, for the shape {shape}")
    try:
        array = np.frombuffer(data, dtype).reshape(shape)
    except ValueError:  # more axes than NumPy has, or, where one is empty, longer ones than it counts
        lengths = f"{', '.join(map(str, shape[:4]))}{', ...' * (len(shape) > 4)}"
        raise DataError(
            f"{path}: got {len(shape)} axes of {lengths}; allowed: as many and as long ones as NumPy takes"
        ) from None
    return array.astype(dtype.newbyteorder("="), copy=False)
