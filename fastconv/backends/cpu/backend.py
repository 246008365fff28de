"""The CPU backend: its operations are the functions of `fastconv.kernels.cpu` that launch the kernels.

Where a kernel cannot do in one pass what an operation asks for, those compose it: by shapes and values, as
`fastconv.explain` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from functools import partial
from typing import Any, final, get_args

import numpy as np

from fastconv.backends.contract.backend import Backend
from fastconv.backends.contract.checking import checked
from fastconv.backends.contract.converting import computable
from fastconv.backends.contract.types import AlgorithmChoice, Array, PrecisionChoice, Workspace
from fastconv.backends.memory import Pool, idle_limit
from fastconv.errors import ArgumentError, BackendUnavailableError
from fastconv.kernels.cpu.runtime.settings import SettingError

try:
    from fastconv.backends.cpu.compile_note import watch_compilation

    watch_compilation()  # importing the kernels compiles some already
    import fastconv.kernels.cpu.runtime.launch as launch  # first: whatever comes before its error stays imported
    from fastconv.kernels.cpu import NATIVE
    from fastconv.kernels.cpu.conv import conv2d as conv
    from fastconv.kernels.cpu.conv import dense as linear
    from fastconv.kernels.cpu.conv import fused
    from fastconv.kernels.cpu.elementwise import augment as augmentation
    from fastconv.kernels.cpu.elementwise import (
        channels,
        clipping,
        gram,
        maps,
        move,
        optimizer,
        pointwise,
        reduce,
        transform,
    )
    from fastconv.kernels.cpu.elementwise import dropout as dropping
    from fastconv.kernels.cpu.loss import losses, metrics, probabilities, weights
    from fastconv.kernels.cpu.norm import backward, forward, local_response
    from fastconv.kernels.cpu.norm import batch_norm as norm
    from fastconv.kernels.cpu.norm import group_norm as grouped
    from fastconv.kernels.cpu.pool import adaptive_pool, avg_pool, max_pool, upsample
    from fastconv.kernels.cpu.runtime import declared
    from fastconv.kernels.cpu.vector import bf16, bf16_storage
except SettingError as error:
    raise ArgumentError(str(error)) from None
except ImportError as error:
    # An error of Numba's own, such as that it needs another NumPy, names no module.
    if (error.name or "numba").partition(".")[0] not in ("numba", "llvmlite"):
        raise
    absent = isinstance(error, ModuleNotFoundError)
    why = "Numba is not installed; pip install numba" if absent else f"Numba cannot be used: {error}"
    raise BackendUnavailableError(f"backend 'numba': {why}") from error
from fastconv.backends.cpu import machine

_captured_pool: ContextVar[Pool | None] = ContextVar("fastconv_captured_pool", default=None)


def _replay(program: Any, pool: Pool) -> bool:
    """Run what was captured; `pool` keeps its memory. False if it is to be run as it is written, and says why there."""
    try:
        complete: bool = program.run()
    except launch.FailedInProgramError:
        return False
    return complete


@final
class NumbaBackend(Backend):
    """Numba kernels on NumPy arrays."""

    name = "numba"
    on_host = True
    captures = True
    native = NATIVE
    precisions = get_args(PrecisionChoice) if bf16.DOT else Backend.precisions
    fast_needs = "" if bf16.DOT else "a CPU with the bfloat16 dot product (AVX512_BF16)"
    algorithms = get_args(AlgorithmChoice)

    def __init__(self) -> None:
        self._pool: Workspace = Pool(idle_limit())

    @property
    def pool(self) -> Workspace:
        """Where arrays come from: within `capture`, memory of its own."""
        return _captured_pool.get() or self._pool

    @pool.setter
    def pool(self, pool: Workspace) -> None:
        self._pool = pool

    def capture_parts(self, function: Callable[[Callable[[], None]], None]) -> list[Callable[[], bool]] | None:
        # Both are put back as they were, and not by what `set` returns: an interrupt may come before that is kept.
        pool, outer, program_outside = Pool(spare=self._pool.release), _captured_pool.get(), launch._local.program
        programs: list[Any] = []

        def cut() -> None:
            programs.append(launch.Program(lambda array: not pool.holds(array)))
            launch._local.program = programs[-1]

        def put_back() -> None:
            launch._local.program = program_outside
            _captured_pool.set(outer)

        try:
            try:
                _captured_pool.set(pool)
                cut()
                with np.errstate(all="ignore"):  # of what somebody's own code computes from memory without values
                    function(cut)
            except launch.NotRecordableError:
                return None
            finally:
                put_back()
        finally:  # again: an interrupt may come before the first time, and launches would be recorded from then on
            put_back()
        return [partial(_replay, program, pool) for program in programs]

    def code_state(self) -> int:
        number: int = declared.code_state()
        return number

    def kept_dtype(self, dtype: Any, precision: PrecisionChoice) -> np.dtype:
        kept: np.dtype = bf16_storage.STORED if precision == "fast" and dtype == np.float32 else np.dtype(dtype)
        return kept

    def owns(self, array: Any) -> bool:
        return isinstance(array, np.ndarray)

    def asarray(self, array: Any, dtype: Any = None) -> Array:
        if type(array) is np.ndarray and dtype is None and array.flags.carray and array.dtype.isnative:
            return array  # as it nearly always is
        return computable(array, dtype)

    def to_numpy(self, array: Array) -> np.ndarray:
        result: np.ndarray = array
        return result

    def facts(self) -> Mapping[str, str]:
        return machine.facts()

    def free_memory(self) -> int:
        return self._pool.release()  # never that of what is being captured

    @property
    def num_threads(self) -> int:
        threads: int = launch.get_num_threads()
        return threads

    def set_num_threads(self, count: int) -> None:
        try:
            launch.set_num_threads(count)
        except ValueError as error:
            raise ArgumentError(str(error)) from None

    def trace(self, note: Callable[[str], Callable[[], None] | None]) -> AbstractContextManager[None]:
        tracing: AbstractContextManager[None] = launch.trace(note)
        return tracing

    conv2d_reasons = staticmethod(conv.conv2d_reasons)
    prepare_conv2d_weight = staticmethod(conv.prepare_conv2d_weight)
    conv2d = staticmethod(checked(fused.conv2d))
    conv2d_statistics = staticmethod(checked(fused.conv2d_statistics))
    conv2d_backward_input = staticmethod(checked(fused.conv2d_backward_input))
    conv2d_backward_weight = staticmethod(conv.conv2d_backward_weight)
    conv2d_backward_input_norm = staticmethod(checked(fused.conv2d_backward_input_norm))
    conv2d_max_pool2d_backward = staticmethod(checked(fused.conv2d_max_pool2d_backward))
    prepare_dense_weight = staticmethod(linear.prepare_dense_weight)
    dense = staticmethod(linear.dense)
    dense_backward_input = staticmethod(linear.dense_backward_input)
    dense_backward_weight = staticmethod(linear.dense_backward_weight)
    sum_rows = staticmethod(reduce.sum_channels)
    activate_backward_bias = staticmethod(reduce.activate_backward_bias)
    max_pool2d = staticmethod(max_pool.max_pool2d)
    max_pool2d_backward = staticmethod(max_pool.max_pool2d_backward)
    avg_pool2d = staticmethod(avg_pool.avg_pool2d)
    avg_pool2d_backward = staticmethod(avg_pool.avg_pool2d_backward)
    batch_norm = staticmethod(norm.batch_norm)
    update_running_stats = staticmethod(norm.update_running_stats)
    batch_norm_backward = staticmethod(backward.batch_norm_backward)
    batch_norm_backward_apply = staticmethod(backward.batch_norm_backward_apply)
    normalise = staticmethod(forward.normalise)
    activate = staticmethod(pointwise.activate)
    activate_backward = staticmethod(pointwise.activate_backward)
    add = staticmethod(maps.add)
    scale = staticmethod(maps.scale)
    copy = staticmethod(maps.copy)
    fill = staticmethod(maps.fill)
    clip = staticmethod(clipping.clip)
    sum_squares = staticmethod(clipping.sum_squares)
    clip_norm = staticmethod(clipping.clip_norm)
    concatenate = staticmethod(move.concatenate)
    split = staticmethod(move.split)
    subsample_pad = staticmethod(move.subsample_pad)
    subsample_pad_backward = staticmethod(move.subsample_pad_backward)
    add_bias = staticmethod(channels.add_bias)
    prelu = staticmethod(channels.prelu)
    prelu_backward = staticmethod(channels.prelu_backward)
    softmax = staticmethod(probabilities.softmax)
    softmax_backward = staticmethod(probabilities.softmax_backward)
    local_response_norm = staticmethod(local_response.local_response_norm)
    local_response_norm_backward = staticmethod(local_response.local_response_norm_backward)
    group_norm = staticmethod(grouped.group_norm)
    group_norm_backward = staticmethod(grouped.group_norm_backward)
    adaptive_avg_pool2d = staticmethod(adaptive_pool.adaptive_avg_pool2d)
    adaptive_avg_pool2d_backward = staticmethod(adaptive_pool.adaptive_avg_pool2d_backward)
    upsample2d = staticmethod(upsample.upsample2d)
    upsample2d_backward = staticmethod(upsample.upsample2d_backward)
    loss_and_grad = staticmethod(losses.loss_and_grad)
    loss_divisor = staticmethod(weights.loss_divisor)
    count_correct = staticmethod(metrics.count_correct)
    count_confusions = staticmethod(metrics.count_confusions)
    sum_errors = staticmethod(metrics.sum_errors)
    dropout = staticmethod(dropping.dropout)
    augment = staticmethod(augmentation.augment)
    transform_images = staticmethod(transform.transform_images)
    update = staticmethod(optimizer.update)
    normalise_gram = staticmethod(gram.normalise_gram)
    gram_polynomial = staticmethod(gram.gram_polynomial)
