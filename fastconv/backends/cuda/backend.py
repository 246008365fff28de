"""What CuPy and the emulator share: operations are the functions of `fastconv.kernels.cuda` that launch the kernels.

Arrays, pool and device are the subclasses'.
"""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from types import MethodType
from typing import Any, get_args

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.composing import Composing
from fastconv.backends.contract.types import PrecisionChoice
from fastconv.backends.cuda.launches import Launch
from fastconv.errors import BackendUnavailableError
from fastconv.kernels.cache_root import archive_of
from fastconv.kernels.cuda import NATIVE
from fastconv.kernels.cuda.conv import operations
from fastconv.kernels.cuda.elementwise import augment as augmentation
from fastconv.kernels.cuda.elementwise import (
    channels,
    clipping,
    elementwise,
    gram,
    move,
    optimizer,
    pointwise,
    reduce,
    transform,
)
from fastconv.kernels.cuda.elementwise import dropout as dropping
from fastconv.kernels.cuda.loss import losses, metrics, probabilities
from fastconv.kernels.cuda.norm import batch_norm as norm
from fastconv.kernels.cuda.norm import group_norm as grouped
from fastconv.kernels.cuda.norm import local_response
from fastconv.kernels.cuda.pool import adaptive_pool, avg_pool, max_pool, upsample
from fastconv.kernels.cuda.runtime import build
from fastconv.kernels.epilogue import ALL_NATIVE


class OnDevice:
    """A function of the kernels as a method of a backend, whose device it is given first."""

    def __init__(self, function: Any) -> None:
        self.function = function

    def __get__(self, backend: CudaBackend | None, owner: type[CudaBackend]) -> Any:
        return self.function if backend is None else MethodType(self.function, backend.device)


def _composing(function: Any) -> Composing:
    """Return an operation with what is not native of it."""
    return Composing(OnDevice(function), NATIVE[function.__name__])


class CudaBackend(Backend):
    """CUDA kernels on the arrays of a device."""

    native = NATIVE
    precisions = get_args(PrecisionChoice)
    captures = True
    device: Any
    """A `fastconv.kernels.cuda.runtime.device.Device` that is a `LaunchList` too."""

    def __init__(self) -> None:
        archive = archive_of(Path(build.__file__))
        if archive is not None:
            raise BackendUnavailableError(
                f"backend {self.name!r}: its CUDA sources must be files, but fastconv is read from {str(archive)!r};"
                " unpack it, or install it with pip"
            )

    def capture_parts(self, function: Callable[[Callable[[], None]], None]) -> list[Callable[[], bool]]:
        ends: list[int] = []
        # No warnings of what somebody's own code computes from memory that nothing was written to.
        with self.device.recording() as launches, np.errstate(all="ignore"):
            function(lambda: ends.append(len(launches)))
        return [self._replay(launches[begin:end]) for begin, end in pairwise([0, *ends, len(launches)])]

    def _replay(self, launches: Sequence[Launch]) -> Callable[[], bool]:
        repeat = self._repeat(launches)  # a CUDA graph knows of arrays only the addresses: `launches` hold them

        def replay() -> bool:
            ends = self.device.tell(launches)
            repeat()
            for end in ends if len(launches) == 1 else ():
                end()
            return True

        return replay

    @abc.abstractmethod
    def _repeat(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """Return what runs these launches."""

    def trace(self, note: Callable[[str], Callable[[], None] | None]) -> AbstractContextManager[None]:
        def begins(launch: Launch) -> Callable[[], None] | None:
            ended = note(launch.kernel.name)
            if ended is None:
                return None

            def ends() -> None:
                self.synchronize()
                ended()

            return ends

        listening: AbstractContextManager[None] = self.device.listening(begins)
        return listening

    conv2d_reasons = OnDevice(operations.conv2d_reasons)
    prepare_conv2d_weight = OnDevice(operations.prepare_conv2d_weight)
    conv2d = _composing(operations.conv2d)
    conv2d_statistics = Composing(OnDevice(operations.conv2d_statistics), ALL_NATIVE)  # it composes itself what is not
    conv2d_backward_input = _composing(operations.conv2d_backward_input)
    conv2d_backward_weight = OnDevice(operations.conv2d_backward_weight)
    prepare_dense_weight = OnDevice(operations.prepare_dense_weight)
    dense = OnDevice(operations.dense)
    dense_backward_input = OnDevice(operations.dense_backward_input)
    dense_backward_weight = OnDevice(operations.dense_backward_weight)
    sum_rows = OnDevice(reduce.sum_rows)
    max_pool2d = OnDevice(max_pool.max_pool2d)
    max_pool2d_backward = OnDevice(max_pool.max_pool2d_backward)
    avg_pool2d = OnDevice(avg_pool.avg_pool2d)
    avg_pool2d_backward = OnDevice(avg_pool.avg_pool2d_backward)
    batch_norm = OnDevice(norm.batch_norm)
    batch_norm_backward = _composing(norm.batch_norm_backward)
    normalise = _composing(norm.normalise)
    update_running_stats = OnDevice(norm.update_running_stats)
    activate = OnDevice(pointwise.activate)
    activate_backward = OnDevice(pointwise.activate_backward)
    activate_backward_bias = OnDevice(reduce.activate_backward_bias)
    add = OnDevice(elementwise.add)
    scale = OnDevice(elementwise.scale)
    copy = OnDevice(elementwise.copy)
    fill = OnDevice(elementwise.fill)
    clip = OnDevice(clipping.clip)
    sum_squares = OnDevice(clipping.sum_squares)
    clip_norm = OnDevice(clipping.clip_norm)
    concatenate = OnDevice(move.concatenate)
    split = OnDevice(move.split)
    subsample_pad = OnDevice(move.subsample_pad)
    subsample_pad_backward = OnDevice(move.subsample_pad_backward)
    add_bias = OnDevice(channels.add_bias)
    prelu = OnDevice(channels.prelu)
    prelu_backward = OnDevice(channels.prelu_backward)
    softmax = OnDevice(probabilities.softmax)
    softmax_backward = OnDevice(probabilities.softmax_backward)
    local_response_norm = OnDevice(local_response.local_response_norm)
    local_response_norm_backward = OnDevice(local_response.local_response_norm_backward)
    group_norm = OnDevice(grouped.group_norm)
    group_norm_backward = OnDevice(grouped.group_norm_backward)
    adaptive_avg_pool2d = OnDevice(adaptive_pool.adaptive_avg_pool2d)
    adaptive_avg_pool2d_backward = OnDevice(adaptive_pool.adaptive_avg_pool2d_backward)
    upsample2d = OnDevice(upsample.upsample2d)
    upsample2d_backward = OnDevice(upsample.upsample2d_backward)
    loss_and_grad = OnDevice(losses.loss_and_grad)
    loss_divisor = OnDevice(losses.loss_divisor)
    count_correct = OnDevice(metrics.count_correct)
    count_confusions = OnDevice(metrics.count_confusions)
    sum_errors = OnDevice(metrics.sum_errors)
    dropout = OnDevice(dropping.dropout)
    augment = OnDevice(augmentation.augment)
    transform_images = OnDevice(transform.transform_images)
    update = OnDevice(optimizer.update)
    normalise_gram = OnDevice(gram.normalise_gram)
    gram_polynomial = OnDevice(gram.gram_polynomial)
