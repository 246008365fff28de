"""The emulator itself: layouts of fragments, collectives, and what it says of kernels that do wrong."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from fastconv.backends import get_backend
from fastconv.errors import ArgumentError
from fastconv.kernels.cuda.runtime import build
from fastconv.kernels.cuda.runtime.device import Kernel
from tests.backends.emulator.emulated import emulator_or_skip


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    """Run a source's kernel "probe" on arrays, with settings as in FASTCONV_EMULATOR."""
    backend = emulator_or_skip()

    def run(body: str, *arrays: np.ndarray, threads: int = 32, blocks: int = 1, shared: int = 0, how: str = ""):
        monkeypatch.setenv("FASTCONV_EMULATOR", how)
        text = '#line 1 "probe.cu"\n' + body
        monkeypatch.setattr(build, "source_text", lambda kernel: text)
        moved = [backend.asarray(a) for a in arrays]
        backend.device.launch(Kernel("probe.cu", "probe"), (blocks, 1, 1), (threads, 1, 1), moved, shared_bytes=shared)
        return [backend.to_numpy(a) for a in moved]

    return run


def _ptx() -> str:
    return build.path_of("ptx.cuh").read_text()


# Where lane l keeps element i of a fragment, as (row, column): the tables of the PTX ISA written down as lane and index
# of each element, the other way round than the emulator computes them.
def _place_16x8(row: int, column: int) -> tuple[int, int]:
    return row % 8 * 4 + column // 2, column % 2 + row // 8 * 2


@pytest.mark.parametrize("kind", ["tf32", "bf16", "half"])
def test_matrix_product_has_the_layout_of_the_ptx_isa(run, kind: str) -> None:
    depth, rng = (8 if kind == "tf32" else 16), np.random.default_rng(1)
    a, b, c = (rng.integers(-4, 5, shape).astype(np.float32) for shape in ((16, depth), (depth, 8), (16, 8)))
    a_words, b_words = np.zeros((32, 4), np.uint32), np.zeros((32, 2), np.uint32)
    if kind == "tf32":
        for row, k in np.ndindex(16, 8):
            a_words[row % 8 * 4 + k % 4, k // 4 * 2 + row // 8] = a[row, k].view(np.uint32)
        for k, column in np.ndindex(8, 8):
            b_words[column * 4 + k % 4, k // 4] = b[k, column].view(np.uint32)
    else:

        def bits(v: np.float32) -> int:
            return int(v.view(np.uint32)) >> 16 if kind == "bf16" else int(np.float16(v).view(np.uint16))

        for row, k in np.ndindex(16, 16):
            a_words[row % 8 * 4 + k // 2 % 4, k // 8 * 2 + row // 8] |= np.uint32(bits(a[row, k]) << 16 * (k % 2))
        for k, column in np.ndindex(16, 8):
            b_words[column * 4 + k // 2 % 4, k // 8] |= np.uint32(bits(b[k, column]) << 16 * (k % 2))
    d = np.zeros((32, 4), np.float32)
    for row, column in np.ndindex(16, 8):
        d[_place_16x8(row, column)] = c[row, column]
    body = (
        _ptx()
        + f"""
extern "C" __global__ void probe(const unsigned* a, const unsigned* b, float* d) {{
    unsigned x[4], y[2];
    float z[4];
    const int lane = threadIdx.x;
    for (int i = 0; i < 4; ++i) x[i] = a[lane * 4 + i], z[i] = d[lane * 4 + i];
    for (int i = 0; i < 2; ++i) y[i] = b[lane * 2 + i];
    mma_{kind}(z, x, y);
    for (int i = 0; i < 4; ++i) d[lane * 4 + i] = z[i];
}}
"""
    )
    got = run(body, a_words, b_words, d)[2]
    expected = a @ b + c
    for row, column in np.ndindex(16, 8):
        assert got[_place_16x8(row, column)] == expected[row, column]


@pytest.mark.parametrize("transposed", [False, True])
def test_ldmatrix_has_the_layout_of_the_ptx_isa(run, transposed: bool) -> None:
    matrices = np.arange(4 * 64, dtype=np.uint16).reshape(4, 8, 8)
    name = "ldmatrix_x4_trans" if transposed else "ldmatrix_x4"
    body = (
        _ptx()
        + f"""
extern "C" __global__ void probe(const unsigned short* m, unsigned* out) {{
    extern __shared__ __align__(128) char memory[];
    unsigned short* rows = (unsigned short*)memory;
    for (int i = threadIdx.x; i < 256; i += 32) rows[i] = m[i];
    __syncthreads();
    unsigned r[4];
    {name}(r, rows + threadIdx.x * 8);
    for (int i = 0; i < 4; ++i) out[threadIdx.x * 4 + i] = r[i];
}}
"""
    )
    out = run(body, matrices, np.zeros((32, 4), np.uint32), shared=512)[1]
    for i, lane, half in np.ndindex(4, 32, 2):
        row, column = lane // 4, lane % 4 * 2 + half
        want = matrices[i, column, row] if transposed else matrices[i, row, column]
        assert out[lane, i] >> 16 * half & 0xFFFF == want


def test_conversions_are_those_of_numpy(run) -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(0, 2**32, 4096, dtype=np.uint32).view(np.float32)
    x[:6] = [65519.996, 65520.0, 2**-25, 3 * 2.0**-25, 0.0, -0.0]
    body = (
        _ptx()
        + """
extern "C" __global__ void probe(const float* x, unsigned short* half, unsigned short* bf16, unsigned* tf32,
                                 float* back) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    half[i] = to_half(x[i]);
    bf16[i] = to_bf16(x[i]);
    tf32[i] = to_tf32(x[i]);
    back[i] = from_half(half[i]);
}
"""
    )
    empty = [np.zeros(4096, kind) for kind in (np.uint16, np.uint16, np.uint32, np.float32)]
    _, half, bf16, tf32, back = run(body, x, *empty, threads=256, blocks=16)
    with np.errstate(over="ignore", invalid="ignore"):
        expected = x.astype(np.float16)
    normal = (np.abs(x) >= np.finfo(np.float32).tiny) | (x == 0)  # subnormals are flushed
    nan = np.isnan(x)
    np.testing.assert_array_equal(half.view(np.float16)[normal], expected[normal])
    np.testing.assert_array_equal(back[normal & ~nan], expected[normal & ~nan].astype(np.float32))
    kept = (bf16.astype(np.uint32) << 16).view(np.float32)
    good = normal & np.isfinite(x) & (np.abs(x) < 3e38)
    assert (np.abs(kept[good] - x[good]) <= np.abs(x[good]) * 2.0**-8).all()
    np.testing.assert_array_equal(np.isnan(kept), nan)
    cut = tf32.view(np.float32)
    assert not (tf32[good] & 0x1FFF).any()
    assert (np.abs(cut[good] - x[good]) <= np.abs(x[good]) * 2.0**-11).all()


WRONG = {
    "race": (
        "__shared__ float s[64]; s[threadIdx.x] = x[threadIdx.x]; x[threadIdx.x] = s[(threadIdx.x + 32) % 64];",
        "checks",
        r"race: (read after write|write after read).*shared memory.*probe\.cu:\d+",
    ),
    "race of two blocks": ("x[0] = blockIdx.x;", "checks", r"race: write after write.*(another block|thread)"),
    "read behind the end": (
        "if (x[threadIdx.x + 1] == 3) x[threadIdx.x] = 0;",
        "checks",
        r"out of bounds: read of 4 bytes at byte 256 of array 0, which has 256",
    ),
    "write behind a shared array": (
        "__shared__ float s[64]; s[threadIdx.x + 1] = 0;",
        "checks",
        r"out of bounds: write of 4 bytes.*shared memory, in no array",
    ),
    "two bytes behind the end": (
        "((short*)x)[128 + threadIdx.x] = 0;",
        "checks",
        r"out of bounds: write of 2 bytes at byte \d+ of array 0, which has 256",
    ),
    "misaligned": ("*(float4*)(x + threadIdx.x % 2) = float4{};", "", r"misaligned"),
    "barrier that not all reach": ("if (threadIdx.x < 32) __syncthreads();", "", r"ended while|have ended"),
    "barriers in two places": (
        "if (threadIdx.x < 32)\n__syncthreads();\nelse\n__syncthreads();",
        "",
        r"__syncthreads: thread 0 waits in line \d+, thread 32 in line \d+",
    ),
    "lane outside its mask": ("x[threadIdx.x] = __shfl_sync(1, x[threadIdx.x], 0);", "", "itself not among them"),
    "lanes that do not meet": (
        "if (threadIdx.x % 2) x[0] = __shfl_sync(~0u, 1.0f, 0); else __syncwarp();",
        "",
        r"deadlock.*__shfl_sync.*__syncwarp|deadlock.*__syncwarp.*__shfl_sync",
    ),
    "division by zero": ("x[threadIdx.x] = 7 / (int)(x[threadIdx.x] * 0);", "", "division by zero"),
    "too large local arrays": (
        "volatile char a[400000]; for (int i = 0; i < 400000; i += 64) a[i] = 1; x[0] = a[64];",
        "",
        "stack overflows",
    ),
}


# One for the default suite: each compiles a kernel of its own.
@pytest.mark.parametrize(
    "name", ["race", *(pytest.param(name, marks=pytest.mark.emulator) for name in WRONG if name != "race")]
)
def test_wrong_kernel_is_stopped_with_the_reason(run, name: str) -> None:
    from fastconv.backends.emulator import KernelError

    body, how, message = WRONG[name]
    source = f'extern "C" __global__ void probe(float* x) {{\n{body}\n}}\n'
    with pytest.raises(KernelError, match=rf"(?s)probe: .*{message}"):
        run(source, np.ones(64, np.float32), threads=64, blocks=2 if "blocks" in name else 1, how=how)
    (after,) = run('extern "C" __global__ void probe(float* x) { x[threadIdx.x] *= 2; }', np.ones(64, np.float32))
    assert (after[:32] == 2).all()  # the emulator goes on working


@pytest.mark.emulator
def test_an_invalid_address_is_no_overflow_of_a_stack(run) -> None:
    from fastconv.backends.emulator import KernelError

    body = 'extern "C" __global__ void probe(float* x) { x[0] = *(volatile float*)((unsigned long long)x[0] << 12); }'
    for page in range(1, 65):  # as many as a stack has: each lies as a guard page would, behind one of them
        with pytest.raises(KernelError, match=r"probe: .*access to an invalid address"):
            run(body, np.full(1, page, np.float32))


def test_a_block_gets_all_the_shared_memory_and_no_more(run) -> None:
    from fastconv.backends.emulator import KernelError

    limit = get_backend("cuda-emulator").device.shared_memory_per_block
    probe, x = 'extern "C" __global__ void probe(float* x) { x[threadIdx.x] *= 2; }', np.ones(32, np.float32)
    (after,) = run(probe, x, shared=limit)
    assert (after == 2).all()
    with pytest.raises(KernelError, match=f"the block asks for {limit + 1} bytes of {limit}"):
        run(probe, x, shared=limit + 1)


def test_a_listener_hears_what_is_launched_while_it_listens(run) -> None:
    probe, x, heard = 'extern "C" __global__ void probe(float* x) {}', np.ones(32, np.float32), []
    with get_backend("cuda-emulator").device.listening(lambda launch: heard.append(launch.kernel.name)):
        run(probe, x)
    run(probe, x)
    assert heard == ["probe"]


def test_copies_land_late_or_at_once(run) -> None:
    body = (
        _ptx()
        + """
extern "C" __global__ void probe(float* x) {
    extern __shared__ __align__(128) char memory[];
    float* s = (float*)memory;
    s[0] = 1;
    cp_async_4(s, x, true);
    cp_async_commit();
    x[1] = s[0];
    cp_async_wait<0>();
    x[2] = s[0];
}
"""
    )
    for how, before in (("lazy", 1), ("eager", 7)):
        (x,) = run(body, np.array([7, 0, 0], np.float32), threads=1, shared=16, how=how)
        assert list(x) == [7, before, 7]


@pytest.mark.emulator
def test_counters_of_known_cases(run) -> None:
    """Bank conflicts and sectors where the answer is known by hand."""
    device = get_backend("cuda-emulator").device
    for stride, ways in ((1, 1), (2, 2), (8, 8), (32, 32), (33, 1)):
        body = f"""extern "C" __global__ void probe(float* x) {{
    __shared__ float s[1100];
    s[threadIdx.x * {stride} % 1100] = 1;
    x[threadIdx.x * {stride}] = 2;
}}
"""
        with device.counting() as counters:
            run(body, np.zeros(1100, np.float32), how="checks")
        shared, memory = (next(c for c in counters if c.shared is kind) for kind in (True, False))
        assert (shared.taken, shared.best) == (ways, 1)
        assert (memory.taken, memory.best) == (min(32, 4 * stride), 4)
        assert "probe.cu:3" in shared.line


@pytest.mark.emulator
def test_the_least_sectors_are_those_of_the_bytes(run) -> None:
    """Of 31 lanes by 16 bytes: fifteen and a half."""
    device = get_backend("cuda-emulator").device
    body = """extern "C" __global__ void probe(float* x) {
    if (threadIdx.x < 31) ((float4*)x)[threadIdx.x] = ((float4*)x)[31];
}
"""
    with device.counting() as counters:
        run(body, np.zeros(128, np.float32), how="checks")
    assert {(c.requests, c.taken, c.best) for c in counters if c.write and not c.shared} == {(1, 16, 16)}, counters


@pytest.mark.parametrize(("stride", "wavefronts"), [(4, 8), (8, 16)])
def test_counters_of_copies(run, stride: int, wavefronts: int) -> None:
    """A copy is a request to each memory; of the first one the odd lanes read nothing, and write zeros."""
    device = get_backend("cuda-emulator").device
    body = f"""
extern "C" __global__ void probe(float* x) {{
    extern __shared__ __align__(128) char memory[];
    float* s = (float*)memory;
    for (int i = 0; i < 2; ++i) {{
        const int chunk = i * 32 + threadIdx.x;
        cp_async_16(s + chunk * {stride}, x + chunk * 4, i == 1 || threadIdx.x % 2 == 0);
    }}
    cp_async_commit();
    cp_async_wait<0>();
}}
"""
    with device.counting() as counters:
        run(_ptx() + body, np.zeros(256, np.float32), shared=64 * stride * 4, how="checks")
    assert all(counter.write is counter.shared for counter in counters)
    # The compiler may unroll the loop, which makes two places of one.
    shared, memory = (
        [sum(getattr(c, name) for c in counters if c.shared is kind) for name in ("requests", "taken", "best")]
        for kind in (True, False)
    )
    assert shared == [2, wavefronts, 8]
    assert memory == [2, 16 + 16, 8 + 16]  # 16 lanes in 16 sectors, of which they need half; then 512 bytes in a row


def _xorshift(seed: int, count: int) -> list[int]:
    """Numbers of Marsaglia's generator with the shifts 13, 7 and 17, 64 bits, of which each gives bits 16 to 47."""
    state, drawn = 0x9E3779B97F4A7C15 ^ seed, []
    for _ in range(count):
        for shift in (13, -7, 17):
            state ^= (state << shift if shift > 0 else state >> -shift) % 2**64
        drawn.append((state >> 16) % 2**32)
    return drawn


@pytest.mark.parametrize("seed", [1, 2, 2**32 - 1])
def test_a_seed_draws_the_same_order_everywhere(run, seed: int) -> None:
    body = """extern "C" __global__ void probe(float* order, float* count) {
    if (threadIdx.x % 32 == 0) order[(int)atomicAdd(count, 1.0f)] = threadIdx.x / 32;
}
"""
    order, _ = run(body, np.zeros(8, np.float32), np.zeros(1, np.float32), threads=256, how=f"skewed:{seed}")
    drawn = _xorshift(seed, 8)
    assert order.tolist() == sorted(range(8), key=lambda warp: -drawn[warp])


def test_settings_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastconv.backends.emulator import settings

    assert settings.parse("skewed:7, eager,checks") == settings.Settings("skewed", 7, "eager", checks=True)
    with pytest.raises(ArgumentError, match=r"FASTCONV_EMULATOR: got 'sideways'; allowed.*skewed:SEED.*checks"):
        settings.parse("sideways")
    for text, twice in (("forward,reverse", "order"), ("skewed:1,skewed:2", "order"), ("lazy,eager", "copies")):
        with pytest.raises(ArgumentError, match=f"FASTCONV_EMULATOR: got '{text}', which says {twice} twice; allowed"):
            settings.parse(text)
    with pytest.raises(ArgumentError, match="FASTCONV_EMULATOR: got seed 4294967296; allowed: an int from 0"):
        settings.parse(f"skewed:{2**32}")
    monkeypatch.delenv(settings.VARIABLE, raising=False)
    with settings.using(settings.parse("reverse")):
        assert settings.current() == settings.Settings("reverse")
    assert settings.current() == settings.Settings()


def test_without_a_compiler_it_says_what_to_install() -> None:
    code = (
        "import fastconv as fc\ntry:\n    fc.set_backend('cuda-emulator')\n"
        "except fc.errors.BackendUnavailableError as e:\n    print(e)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "CXX": "no-such-compiler"}, capture_output=True, text=True
    )
    assert "no C++ compiler (no-such-compiler not found); install g++" in run.stdout, run.stderr
