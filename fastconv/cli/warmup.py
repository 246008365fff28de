"""``fastconv warmup``: compile kernels ahead, so that the first step of a training does not wait for them."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import get_args

import numpy as np

import fastconv as fc
from fastconv.backends.contract.types import PrecisionChoice
from fastconv.backends.emulator.dry import check_target, kernels_of
from fastconv.cli.choices import MODELS, apply_computing_options, make_optimizer, usual_for
from fastconv.errors import ArgumentError, BackendUnavailableError
from fastconv.kernels.cuda.runtime import cubins, nvrtc
from fastconv.kernels.cuda.runtime.device import Kernel


def run(options: argparse.Namespace) -> int:
    """Run what compiles: a training step with each optimizer of a recipe, an evaluation and an inference plan."""
    if options.target is not None:
        return _compile_for(options)
    if options.jobs is not None:
        raise ArgumentError("--jobs: goes with --target only")
    apply_computing_options(options)
    if fc.get_backend().name == "numpy":
        print("numpy: nothing to compile")
        return 0
    for name in options.models:
        begin = time.perf_counter()
        _run_once(name, options.batch_size)
        print(f"{name}: ready after {time.perf_counter() - begin:.1f} s", flush=True)
    return 0


def kernels_of_models(
    models: Sequence[str], batch: int, target: str, precisions: Sequence[PrecisionChoice] = get_args(PrecisionChoice)
) -> list[Kernel]:
    """Return the CUDA kernels that training, evaluating and compiling the models at a batch size needs."""

    def all_of_them() -> None:
        for precision in precisions:
            for name in models:
                with fc.precision(precision):
                    _run_once(name, batch)

    return kernels_of(all_of_them, target)


def _compile_for(options: argparse.Namespace) -> int:
    if options.backend not in {None, "cupy"}:
        raise ArgumentError(f"--target: compiles for the backend 'cupy', not for {options.backend!r}")
    target, begin = check_target(options.target), time.perf_counter()
    precisions = get_args(PrecisionChoice) if options.precision is None else (options.precision,)
    kernels = kernels_of_models(options.models, options.batch_size, target, precisions)
    try:
        cubins.compile_all(kernels, target, jobs=options.jobs)
    except nvrtc.CompilerUnavailableError as error:
        raise BackendUnavailableError(f"--target: {error}; pip install nvidia-cuda-nvrtc brings one") from error
    except OSError as error:
        where = cubins.directory(target)
        raise ArgumentError(
            f"FASTCONV_CACHE_DIR: {where} cannot be written ({error}); allowed: a folder of yours"
        ) from error
    seconds = time.perf_counter() - begin
    print(f"{target}: {len(kernels)} kernels in {cubins.directory(target)}, ready after {seconds:.1f} s")
    return 0


def _run_once(name: str, batch: int) -> None:
    model = getattr(fc.models, name)(seed=0)
    rng = np.random.default_rng(0)
    x = fc.asarray(rng.standard_normal((batch, *model.input_shape)).astype(np.float32))
    y = fc.asarray(np.zeros(batch, np.int32))
    parameters = model.parameters()
    for optimizer in sorted({usual_for(model).optimizer for model in MODELS}, reverse=True):
        trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), make_optimizer(optimizer, parameters, 1e-3))
        float(trainer.train_step(x, y))
    trainer.evaluate((x, y), batch_size=batch)
    for size in (1, batch):
        model.compile((size, *model.input_shape))(x[:size])
