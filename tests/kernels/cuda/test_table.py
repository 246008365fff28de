"""TABLE of the CUDA kernels against what is launched and what the sources hold."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastconv.backends.contract.normalisation import Normalisations
from fastconv.backends.cuda.backend import CudaBackend
from fastconv.backends.cuda.launches import Launch
from fastconv.backends.emulator.dry import DryBackend
from fastconv.kernels import cuda
from fastconv.kernels.cuda.runtime import build
from fastconv.kernels.pointwise import POINTWISE
from tests.backends.cases import CASES
from tests.backends.op_case import FUSED, OPERATIONS

_FOLDER = Path(cuda.__file__).parent
_KERNEL = re.compile(r'extern "C" __global__ void\s+(?:__launch_bounds__\([^)]*\)\s+)?(?!__)(\w+)\(')
_LOSSES = re.compile(r"^#define (?:ELEMENT|ROW)_LOSSES", re.MULTILINE)
_FUNCTION = re.compile(r"^    FUNCTION\((\w+),", re.MULTILINE)


def _name(launch: Launch) -> str:
    return f"{launch.kernel.source.removesuffix('.cu')}.{launch.kernel.name}"


def _launched() -> dict[str, set[str]]:
    """Kernels of each operation, over all cases of the contract in all types and precisions; nothing is run.

    Those of the parts of what is composed are the parts'.
    """
    found: dict[str, set[str]] = defaultdict(set)
    backend, running = DryBackend(), [""]

    def watch(name: str) -> Callable[..., None]:
        run = getattr(backend, name)

        def watched(*arrays: Any, **more: Any) -> Any:
            running.append(name)
            try:
                return run(*arrays, **more)
            finally:
                running.pop()

        return watched

    for name in OPERATIONS:
        setattr(backend, name, watch(name))
    for case in CASES:
        for dtype in ("float32", "float64"):
            made = case.arrays(np.random.default_rng(0), dtype)
            arrays = {name: backend.asarray(a) for name, a in made.items()}
            results = {}
            for name, spec in case.outputs.items():
                shape, kind = spec if spec and isinstance(spec[0], tuple) else (spec, dtype)
                results[name] = backend.empty(shape, kind)
            with backend.device.listening(lambda launch: found[running[-1]].add(_name(launch))):
                case.call(backend, arrays, results, backend.pool)
    return found


@pytest.fixture(scope="module")
def launched() -> dict[str, set[str]]:
    return _launched()


def test_every_operation_is_listed_with_what_it_launches(launched: dict[str, set[str]]) -> None:
    fast_only = {"pack.pack_input"}  # no case has the precision "fast": tests/backends/cuda/test_fast.py
    for op, kernels in cuda.TABLE.items():
        assert set(kernels) - fast_only == launched[op], op


def test_every_operation_of_the_contract_is_listed() -> None:
    assert set(cuda.TABLE) - FUSED == OPERATIONS - FUSED


def test_fusions_listed_are_those_that_the_backend_has_natively() -> None:
    native = {name for name in FUSED if getattr(CudaBackend, name) is not getattr(Normalisations, name)}
    assert set(cuda.TABLE) & FUSED == native


def test_every_kernel_of_the_sources_is_listed() -> None:
    written = {f"{path.stem}.{name}" for path in _FOLDER.glob("*/*.cu") for name in _KERNEL.findall(path.read_text())}
    functions = _FUNCTION.findall(build.path_of("pointwise.cuh").read_text())
    assert functions == list(POINTWISE)
    by_macro = {f"pointwise.{name}_{kind}" for name in functions for kind in ("forward", "gradient")}
    lists = _LOSSES.split(build.path_of("formulas.cuh").read_text())[1:]
    elements, rows = (set(_FUNCTION.findall(text)) for text in lists)
    by_macro |= {f"losses.{name}_elements" for name in elements} | {f"losses.{name}_rows" for name in rows}
    existing = written | by_macro
    listed = {name for names in cuda.TABLE.values() for name in names}
    assert existing == listed


def test_inline_assembly_is_in_one_header() -> None:
    with_assembly = {path.name for path in _FOLDER.glob("*/*.cu*") if re.search(r"\basm\b", path.read_text())}
    assert with_assembly == {"ptx.cuh"}


def test_sources_include_nothing_but_each_other() -> None:
    for path in _FOLDER.glob("*/*.cu*"):
        for line in path.read_text().splitlines():
            if line.lstrip().startswith("#include"):
                header = re.fullmatch(r'#include "(\w+\.cuh)"', line)
                assert header, (path.name, line)
                assert build.path_of(header[1]).parent in (path.parent, _FOLDER / "common"), (path.name, line)


def test_no_two_sources_have_the_same_name() -> None:
    names = [path.name for path in _FOLDER.glob("*/*.cu*")]
    assert len(names) == len(set(names))


def test_headers_are_inlined_once_with_the_lines_of_their_files() -> None:
    from fastconv.kernels.cuda.runtime.device import Kernel

    text = build.source_text(Kernel("conv2d_gather.cu", "conv2d_gather"))
    assert "#include" not in text
    assert text.count('#line 1 "ptx.cuh"') == 1
    number = next(
        n
        for n, line in enumerate(build.path_of("conv2d_gather.cu").read_text().splitlines(), 1)
        if "struct Shared" in line
    )
    lines = text.splitlines()
    here = next(n for n, line in enumerate(lines) if "struct Shared" in line)
    marker = next(n for n in range(here, -1, -1) if lines[n].startswith("#line"))
    assert int(lines[marker].split()[1]) + here - marker - 1 == number
