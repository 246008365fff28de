"""What a rank gets of the data: of each batch the shards that are its own, and of nothing else a row.

A data set that knows how makes only these (`DataLoader.part`); of other batches the rows are taken, views of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

from fastconv.backends.contract.types import Array
from fastconv.data.rows import bounds

Piece = tuple[Array, ...]
Reader = Callable[[Any], Iterator[Any]]


@runtime_checkable
class Parted(Protocol):
    """Batches that can be made in parts."""

    def part(self, first: int, last: int, count: int) -> Any:
        """Return an iterable with a length that yields, of each batch, the parts `first` to ``last - 1`` of `count`.

        They come in a list, each (x, y) or (x, y, weight), perhaps of no rows.
        """
        ...


class Sliced:
    """Batches of which each rank has all, cut by rows as `read` yields them."""

    def __init__(self, batches: Any, own: range, count: int, read: Reader = iter) -> None:
        self._batches, self._own, self._count, self._read = batches, own, count, read

    def __len__(self) -> int:
        return len(self._batches)

    def __repr__(self) -> str:
        return repr(self._batches)

    def set_epoch(self, epoch: int) -> None:
        """Hand it on, to who counts epochs."""
        if hasattr(self._batches, "set_epoch"):
            self._batches.set_epoch(epoch)

    def __iter__(self) -> Iterator[list[Piece]]:
        for batch in self._read(self._batches):
            cuts = bounds(len(batch[0]), self._count)
            yield [tuple(array[slice(*cuts[shard])] for array in batch) for shard in self._own]


def own_share(batches: Any, own: range, count: int, read: Reader = iter) -> Any:
    """Return an iterable of lists of the own shards of each batch; `read` yields those that are not made in parts."""
    if isinstance(batches, Parted):
        return batches.part(own.start, own.stop, count)
    return Sliced(batches, own, count, read)
