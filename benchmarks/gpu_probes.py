"""Leaf probes: every function of ptx.cuh on its own, so that a GPU's answers can be held against the emulator's.

Inputs are made by NumPy from a fixed seed: values at the edges of formats, ties, infinities and NaNs, fragments of
numbers that tell their place. The emulator's answers are kept in benchmarks/results/emulator_probes.json.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from benchmarks.gpu_record import RESULTS
from fastconv.backends.contract.backend import Backend
from fastconv.kernels.cuda.runtime import build, cubins
from fastconv.kernels.cuda.runtime.device import Kernel

SAVED = RESULTS / "emulator_probes.json"
TOLERANCE = 2e-5
"""Of sums of products of normal numbers, which a tensor core cuts at 2^-23 of the largest: sixteen products of up to 8
lose 1.5e-5 at worst."""
_LANES = 32


@dataclass(frozen=True)
class Probe:
    """One kernel of one warp, or of a thread an element.

    Attributes
    ----------
    body : what the kernel does, with `lane` its thread's number
    inputs : arrays, called a, b, ... in the body
    output : shape and type of `out`
    exact : whether the hardware must give the same bits, any NaN for a NaN; else rounding in the sum is its own
        affair, and the largest difference is noted and held to `TOLERANCE`
    """

    name: str
    body: str
    inputs: tuple[np.ndarray, ...]
    output: tuple[tuple[int, ...], Any]
    threads: int = _LANES
    exact: bool = True


def text_of(probe: Probe) -> str:
    """Return the source: all of ptx.cuh, and the kernel."""
    types = {"float32": "float", "uint32": "unsigned", "uint16": "unsigned short"}
    parameters = [f"const {types[str(a.dtype)]}* {name}" for name, a in zip("abc", probe.inputs, strict=False)]
    parameters.append(f"{types[str(np.dtype(probe.output[1]))]}* out")
    head = build.inlined("ptx.cuh")
    signature = f'extern "C" __global__ void probe_{probe.name}({", ".join(parameters)})'
    line = "const int lane = blockIdx.x * blockDim.x + threadIdx.x;"
    return f'{head}\n#line 1 "{probe.name}.cu"\n{signature} {{\n{line}\n{probe.body}\n}}\n'


def answer(backend: Backend, probe: Probe) -> np.ndarray:
    """Run a probe on a CUDA backend and return what it wrote."""
    arrays = [backend.asarray(a) for a in probe.inputs]
    out = backend.asarray(np.zeros(*probe.output))
    blocks = -(-probe.threads // 256)
    device: Any = backend.device
    with _source_of(probe) as kernel:
        shape = (blocks, 1, 1), (min(256, probe.threads), 1, 1)
        device.launch(kernel, *shape, (*arrays, out), shared_bytes=4096)
    return backend.to_numpy(out)


def compile_ahead(target: str) -> list[Path]:
    """Compile all probes for a target, for a machine that may have no compiler, and return their files."""
    files = []
    for probe in probes():
        with _source_of(probe) as kernel:
            files.append(cubins.ensure(kernel, target))
    return files


@contextmanager
def _source_of(probe: Probe) -> Iterator[Kernel]:
    """Let a probe be a kernel whose source `build` knows."""
    with mock.patch.object(build, "source_text", return_value=text_of(probe)):
        yield Kernel(f"{probe.name}.cu", f"probe_{probe.name}")


def _matrix(kind: str, name: str, a: np.ndarray, b: np.ndarray, c: np.ndarray, *, exact: bool) -> Probe:
    body = f"""unsigned x[4], y[2];
    float z[4];
    for (int i = 0; i < 4; ++i) x[i] = a[lane * 4 + i], z[i] = c[lane * 4 + i];
    for (int i = 0; i < 2; ++i) y[i] = b[lane * 2 + i];
    mma_{kind}(z, x, y);
    for (int i = 0; i < 4; ++i) out[lane * 4 + i] = z[i];"""
    return Probe(f"mma_{kind}_{name}", body, (a, b, c), ((_LANES * 4,), np.float32), exact=exact)


def _words(kind: str, values: np.ndarray) -> np.ndarray:
    """Return floats as registers hold them: one tf32 a word, or two 16-bit numbers, the first one low."""
    values = values.astype(np.float32)
    if kind == "tf32":
        return values.view(np.uint32) & np.uint32(0xFFFFE000)
    halves = values.view(np.uint32) >> 16 if kind == "bf16" else values.astype(np.float16).view(np.uint16)
    halves = halves.astype(np.uint32)
    return halves[0::2] | halves[1::2] << 16


def _matrices(rng: np.random.Generator) -> list[Probe]:
    probes = []
    for kind in ("tf32", "bf16", "half"):
        many = 1 if kind == "tf32" else 2
        sizes = (_LANES * 4 * many, _LANES * 2 * many)
        whole = [_words(kind, rng.integers(-8, 9, n)) for n in sizes]
        sums = rng.integers(-100, 100, _LANES * 4).astype(np.float32)
        probes.append(_matrix(kind, "whole_numbers", *whole, sums, exact=True))
        normal = [_words(kind, rng.standard_normal(n)) for n in sizes]
        rest = rng.standard_normal(_LANES * 4).astype(np.float32)
        probes.append(_matrix(kind, "normal_numbers", *normal, rest, exact=False))
        odd = rng.integers(-2, 3, sizes[0]).astype(np.float32)
        odd[[5, 40, 77]] = [np.inf, np.nan, -np.inf]
        probes.append(_matrix(kind, "infinities", _words(kind, odd), whole[1], sums, exact=True))
    return probes


def _moves() -> list[Probe]:
    numbers = np.arange(256, dtype=np.uint16) * 257
    order = np.random.default_rng(3).permutation(_LANES).astype(np.uint32)
    probes = []
    for name in ("ldmatrix_x4", "ldmatrix_x4_trans"):
        body = f"""extern __shared__ __align__(128) char memory[];
    unsigned short* rows = (unsigned short*)memory;
    for (int i = lane; i < 256; i += 32) rows[i] = a[i];
    __syncthreads();
    unsigned r[4];
    {name}(r, rows + b[lane] * 8);
    for (int i = 0; i < 4; ++i) out[lane * 4 + i] = r[i];"""
        probes.append(Probe(name, body, (numbers, order), ((_LANES * 4,), np.uint32)))
    for size in (4, 16):
        words = size // 4
        source = np.arange(_LANES * words, dtype=np.uint32) * 2654435761
        body = f"""extern __shared__ __align__(128) char memory[];
    unsigned* s = (unsigned*)memory;
    for (int i = 0; i < {words}; ++i) s[lane * {words} + i] = 77;
    __syncthreads();
    cp_async_{size}(s + lane * {words}, a + b[lane] * {words}, b[lane] % 3 != 0);
    cp_async_commit();
    cp_async_wait<0>();
    __syncthreads();
    for (int i = 0; i < {words}; ++i) out[lane * {words} + i] = s[(31 - lane) * {words} + i];"""
        probes.append(Probe(f"cp_async_{size}", body, (source, order), ((_LANES * words,), np.uint32)))
    return probes


def edges() -> np.ndarray:
    """Return float32 numbers at the edges: of their own format, of tf32, bf16 and fp16, ties, and some at random."""
    bits = [0, 1, 0x7FFFFF, 0x800000, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF]
    for exponent in (1, 64, 102, 103, 112, 113, 127, 142, 143, 200, 254):
        base = exponent << 23
        for cut in (13, 16):  # bits that tf32 and fp16, and bf16, leave out
            half = 1 << (cut - 1)
            bits += [base | low | high << cut for high in (0, 1, 2, 3) for low in (0, 1, half - 1, half, half + 1)]
            bits += [base | 0x7FFFFF, base | (0x7FFFFF & ~(half - 1)), base | (0x7FFFFF & ~half)]
    rng = np.random.default_rng(4)
    numbers = np.array(bits, np.uint32)
    everything = np.concatenate([numbers, numbers | 0x80000000, rng.integers(0, 2**32, 512, dtype=np.uint32)])
    return everything.view(np.float32)


def _conversions() -> list[Probe]:
    x, kinds = edges(), {"tf32": np.uint32, "bf16": np.uint16, "half": np.uint16}
    probes = [
        Probe(f"to_{kind}", f"if (lane < {x.size}) out[lane] = to_{kind}(a[lane]);", (x,), ((x.size,), out), x.size)
        for kind, out in kinds.items()
    ]
    halves = np.concatenate([np.arange(0, 1 << 16, 61), [0x3FF, 0x400, 0x7BFF, 0x7C00, 0xFC00]]).astype(np.uint16)
    body = f"if (lane < {halves.size}) out[lane] = from_half(a[lane]);"
    return [*probes, Probe("from_half", body, (halves,), ((halves.size,), np.float32), halves.size)]


def probes() -> list[Probe]:
    """Return all probes."""
    return [*_matrices(np.random.default_rng(2)), *_moves(), *_conversions()]


def _key(probe: Probe) -> str:
    """Return a hash of what a probe computes from what."""
    parts = [probe.body.encode(), *(a.tobytes() for a in probe.inputs)]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def save(backend: Backend) -> None:
    """Keep the emulator's answers."""
    rows = {p.name: {"inputs": _key(p), "answer": answer(backend, p).tobytes().hex()} for p in probes()}
    SAVED.write_text(json.dumps({"command": "python -m benchmarks.gpu save-probes", "probes": rows}, indent=1) + "\n")


def compare_with_saved(backend: Backend) -> list[dict[str, Any]]:
    """Return for each probe how the backend's answer differs from the one kept.

    Raises
    ------
    ValueError
        The answers kept are those of other probes.
    """
    saved = json.loads(SAVED.read_text())["probes"]
    return [_row(backend, probe, saved.get(probe.name)) for probe in probes()]


def _row(backend: Backend, probe: Probe, kept: dict[str, str] | None) -> dict[str, Any]:
    if kept is None or kept["inputs"] != _key(probe):
        raise ValueError(f"{probe.name}: no answer kept; run python -m benchmarks.gpu save-probes")
    got = answer(backend, probe)
    want = np.frombuffer(bytes.fromhex(kept["answer"]), got.dtype)
    other = got.reshape(-1).view(f"u{got.itemsize}") != want.view(f"u{got.itemsize}")
    if got.dtype == np.float32:
        other &= ~(np.isnan(got) & np.isnan(want))  # which NaN comes out is nobody's promise
    different = np.flatnonzero(other)
    row: dict[str, Any] = {"probe": probe.name, "exact": probe.exact, "differences": int(different.size)}
    row["first"] = [{"place": int(i), "here": str(got[i]), "emulator": str(want[i])} for i in different[:8]]
    row["agrees"] = not different.size
    if got.dtype == np.float32:
        both = np.isfinite(got) & np.isfinite(want)
        row["largest"] = float(np.abs(got[both] - want[both]).max(initial=0))
        if not probe.exact:
            row["tolerance"] = TOLERANCE
            row["agrees"] = row["largest"] <= TOLERANCE and not (other & ~both).any()
    return row
