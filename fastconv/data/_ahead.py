"""Rows of an array on the disk, read one batch ahead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np


def rows_ahead(array: np.ndarray, pieces: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the rows of `array` at each of `pieces`, while another thread reads those of the next.

    The disk is waited for without the interpreter's lock.
    """
    from concurrent.futures import Future, ThreadPoolExecutor

    coming: Future[np.ndarray] | None = None
    with ThreadPoolExecutor(1, "fastconv-rows") as reader:
        for indices in pieces:
            following = reader.submit(np.take, array, indices, 0)
            if coming is not None:
                yield coming.result()
            coming = following
        if coming is not None:
            yield coming.result()
