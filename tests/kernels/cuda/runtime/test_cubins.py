"""Compiled kernels on disk: made once, found by what they were made from, and by nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fastconv.kernels.cache_root import CacheWarning, cache_root
from fastconv.kernels.cuda.runtime import build, cubins, nvrtc
from fastconv.kernels.cuda.runtime.device import Kernel
from tests.benchmarks.test_cuda_compile import needs_nvrtc

SCALE = Kernel("elementwise.cu", "scale_array", (("ELEMENT", "float"),))
WIDE = Kernel("elementwise.cu", "scale_array", (("ELEMENT", "double"),))
ADD = Kernel("elementwise.cu", "add_arrays", (("ELEMENT", "float"),))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCONV_CACHE_DIR", str(tmp_path / "kept"))
    monkeypatch.setattr(cubins, "_FOLDERS", [])


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A compiler that notes what it compiles."""
    texts: list[str] = []

    def compile_text(text: str, name: str, target: str, flags: tuple[str, ...]) -> tuple[bytes, str]:
        texts.append(text)
        return f"{target}\n{text}".encode(), ""

    monkeypatch.setattr(nvrtc, "compile_text", compile_text)
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0")
    return texts


def test_macros_are_lines_of_the_source() -> None:
    assert build.source_text(SCALE).startswith('#define ELEMENT float\n#line 1 "elementwise.cu"\n')


def test_compiled_once_and_found_again(compiled: list[str], tmp_path: Path) -> None:
    path = cubins.ensure(SCALE, "sm_90")
    assert path.parent == tmp_path / "kept" / "cubins" / "sm_90"
    assert path == cubins.cubin_path(SCALE, "sm_90") == cubins.find(SCALE, "sm_90") == cubins.ensure(SCALE, "sm_90")
    assert len(compiled) == 1
    record = cubins.describe(path)
    assert (record["kernel"], record["target"], record["nvrtc"]) == ("scale_array", "sm_90", "13.0")
    assert record["defines"] == {"ELEMENT": "float"}
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, path.with_suffix(".json").name]


def test_each_variant_and_target_has_its_own_file(compiled: list[str]) -> None:
    made = {cubins.ensure(kernel, target) for kernel in (SCALE, WIDE, ADD) for target in ("sm_80", "sm_90", "sm_90a")}
    assert len(made) == len(compiled) == 9


@pytest.mark.parametrize("what", ["source", "flags"])
def test_another_source_or_flag_is_another_file(what: str, compiled: list[str], monkeypatch) -> None:
    cubins.ensure(SCALE, "sm_90")
    if what == "source":
        text = build.source_text(SCALE)
        monkeypatch.setattr(build, "source_text", lambda kernel: text + "// changed\n")
    else:
        monkeypatch.setattr(build, "FLAGS", (*build.FLAGS, "--use_fast_math"))
    assert cubins.find(SCALE, "sm_90") is None
    cubins.ensure(SCALE, "sm_90")
    assert len(compiled) == 2


def test_the_compilers_release_does_not_matter(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder made by one NVRTC serves a machine with another."""
    path = cubins.ensure(SCALE, "sm_90")
    monkeypatch.setattr(nvrtc, "version", lambda: "14.1")
    assert cubins.ensure(SCALE, "sm_90") == path
    assert len(compiled) == 1


DAMAGE: dict[str, Callable[[Path], object]] = {
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "changed": lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]),
    "empty": lambda path: path.write_bytes(b""),
    "no-record": lambda path: path.with_suffix(".json").unlink(),
    "half-a-record": lambda path: path.with_suffix(".json").write_text('{"sha256": '),
    "no-sum": lambda path: path.with_suffix(".json").write_text("{}"),
    "list": lambda path: path.with_suffix(".json").write_text("[]"),
    "no-code": lambda path: path.unlink(),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_what_is_damaged_is_compiled_anew(name: str, compiled: list[str]) -> None:
    path = cubins.ensure(SCALE, "sm_90")
    whole = path.read_bytes()
    DAMAGE[name](path)
    assert cubins.find(SCALE, "sm_90") is None
    assert cubins.ensure(SCALE, "sm_90").read_bytes() == whole
    assert len(compiled) == 2


def test_a_folder_that_cannot_be_written_is_read(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What is missing in it is kept for the process, with one warning."""
    kept = cubins.ensure(SCALE, "sm_90")

    def refuse(**_: object) -> None:
        raise PermissionError("read-only")

    monkeypatch.setattr(cubins.tempfile, "NamedTemporaryFile", refuse)
    assert cubins.ensure(SCALE, "sm_90") == kept
    monkeypatch.undo()
    monkeypatch.setattr(cubins, "_FOLDERS", [])
    monkeypatch.setattr(nvrtc, "compile_text", lambda text, *_: (text.encode(), ""))
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0")
    monkeypatch.setenv("FASTCONV_CACHE_DIR", str(kept / "no-folder"))  # below a file
    with pytest.warns(CacheWarning, match=r"not kept on disk .*FASTCONV_CACHE_DIR"):
        path = cubins.ensure(ADD, "sm_90")
    assert cubins.ensure(ADD, "sm_90") == path
    assert cubins.ensure(SCALE, "sm_90").parent == path.parent  # and no second warning


def test_without_a_home_it_works(compiled: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(cubins, "cache_root", homeless)
    with pytest.warns(CacheWarning, match="home directory"):
        path = cubins.ensure(SCALE, "sm_90")
    assert cubins.ensure(SCALE, "sm_90") == path
    assert len(compiled) == 1


def test_without_a_compiler_it_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvrtc, "library_path", lambda: None)
    nvrtc._library.cache_clear()
    nvrtc.supported.cache_clear()
    try:
        with pytest.raises(
            nvrtc.CompilerUnavailableError, match=r"not installed, and .*sm_90/scale_array-\w+\.cubin is not"
        ):
            cubins.ensure(SCALE, "sm_90")
        with pytest.raises(nvrtc.CompilerUnavailableError, match="not installed"):
            cubins.compile_all([SCALE, ADD], "sm_90")
    finally:
        nvrtc._library.cache_clear()
        nvrtc.supported.cache_clear()


def test_the_compiler_is_found_where_it_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA's packages in both their layouts, the newer release first, then the toolkit."""
    toolkit, packages = tmp_path / "cuda", tmp_path / "site"
    files = [
        packages / "nvidia" / "cu13" / "lib" / "libnvrtc.so.13",
        packages / "nvidia" / "cuda_nvrtc" / "lib" / "libnvrtc.so.12",
        toolkit / "lib64" / "libnvrtc.so.13.0.88",
    ]
    for file in files:
        file.parent.mkdir(parents=True)
        file.touch()
        file.with_name("libnvrtc-builtins.so.13.0").touch()
        file.with_name("libnvrtc.alt.so.13").touch()
    environment = {k: v for k, v in os.environ.items() if k not in {"CUDA_HOME", "CUDA_PATH"}}
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import importlib.util; spec = importlib.util.spec_from_file_location('nvrtc', sys.argv[2])\n"
        "module = importlib.util.module_from_spec(spec); spec.loader.exec_module(module); print(module.library_path())"
    )
    for file in files:
        command = [sys.executable, "-I", "-S", "-c", code, str(packages), nvrtc.__file__]
        done = subprocess.run(command, env=environment | {"CUDA_HOME": str(toolkit)}, capture_output=True, text=True)
        assert done.stdout.strip() == str(file), done.stderr
        file.unlink()


def test_one_root_for_all_that_is_compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_root() == tmp_path / "kept"
    monkeypatch.delenv("FASTCONV_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() == tmp_path / "xdg" / "fastconv"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "fastconv"
    monkeypatch.setenv("FASTCONV_CACHE_DIR", "~/kept")  # from a file that no shell reads
    assert cache_root() == tmp_path / "kept"


def test_the_loader_needs_neither_cupy_nor_numba() -> None:
    code = (
        "import sys; sys.modules['cupy'] = sys.modules['numba'] = None\n"
        "import fastconv.backends.emulator.dry\n"
        "from fastconv.kernels.cuda.runtime import cubins; print(cubins.directory('sm_90'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == str(cubins.directory("sm_90")), done.stderr


@needs_nvrtc
def test_machine_code_is_the_same_from_one_process_or_several() -> None:
    one = {kernel: cubins.ensure(kernel, "sm_90").read_bytes() for kernel in (SCALE, ADD)}
    for path in cubins.directory("sm_90").iterdir():
        path.unlink()
    several = cubins.compile_all([SCALE, ADD, SCALE], "sm_90", jobs=2)
    assert {kernel: path.read_bytes() for kernel, path in several.items()} == one
    assert all(code[:4] == b"\x7fELF" for code in one.values())
    assert json.loads(several[ADD].with_suffix(".json").read_text())["nvrtc"] == nvrtc.version()


@needs_nvrtc
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_kernel_that_does_not_compile_stops_no_other(jobs: int) -> None:
    wrong = [Kernel("elementwise.cu", "scale_array", (("ELEMENT", f"floot{i}"),)) for i in range(2)]
    with pytest.raises(nvrtc.CompileError, match=r"(?s)2 of 3 kernels do not compile; the first: .*floot0"):
        cubins.compile_all([*wrong, SCALE], "sm_90", jobs=jobs)
    assert cubins.find(SCALE, "sm_90")


@needs_nvrtc
def test_a_target_that_the_compiler_does_not_know() -> None:
    with pytest.raises(nvrtc.CompilerUnavailableError, match=r"NVRTC [\d.]+ does not compile for sm_999"):
        cubins.ensure(SCALE, "sm_999")
    assert cubins.ensure(SCALE, "sm_90a") != cubins.ensure(SCALE, "sm_90")
