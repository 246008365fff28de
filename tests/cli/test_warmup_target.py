"""``fastconv warmup --target``: CUDA kernels made ahead where there is no GPU. The compiler only notes its work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import fastconv as fc
from fastconv.backends.emulator.dry import kernels_of
from fastconv.cli import main
from fastconv.cli.warmup import kernels_of_models
from fastconv.kernels.cuda.runtime import cubins, nvrtc


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    targets: list[str] = []

    def compile_text(text: str, name: str, target: str, flags: tuple[str, ...]) -> tuple[bytes, str]:
        targets.append(target)
        return text.encode(), ""

    monkeypatch.setenv("FASTCONV_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(nvrtc, "compile_text", compile_text)
    monkeypatch.setattr(nvrtc, "version", lambda: "13.0")
    return targets


def test_all_kernels_of_a_model_are_made(compiled: list[str], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    command = ["warmup", "lenet5", "--target", "sm_90", "--batch-size", "16", "--jobs", "1"]
    assert main(command) == 0
    wanted = kernels_of_models(["lenet5"], 16, "sm_90")
    assert {kernel.name for kernel in wanted} >= {"conv2d_gather", "conv2d_plain", "pack_input", "adam_update"}
    assert all(cubins.find(kernel, "sm_90") for kernel in wanted)
    assert compiled == ["sm_90"] * len(wanted)
    assert f"sm_90: {len(wanted)} kernels in {tmp_path / 'cubins' / 'sm_90'}" in capsys.readouterr().out
    assert main(command) == 0
    assert len(compiled) == len(wanted)  # the second time all are there


def test_one_precision(compiled: list[str]) -> None:
    assert main(["warmup", "lenet5", "--target", "sm_80", "--precision", "strict", "--jobs", "1"]) == 0
    assert len(compiled) == len(kernels_of_models(["lenet5"], 128, "sm_80", ["strict"]))
    assert len(compiled) < len(kernels_of_models(["lenet5"], 128, "sm_80"))


@pytest.mark.slow
def test_kernels_are_those_of_the_target(compiled: list[str]) -> None:
    """A GPU with less shared memory gets other tiles."""
    assert set(kernels_of_models(["resnet9"], 64, "sm_86")) != set(kernels_of_models(["resnet9"], 64, "sm_90"))


def test_nothing_is_left_behind() -> None:
    before = fc.get_backend().name
    kernels = kernels_of(lambda: fc.functional.relu(fc.asarray([1.0])), "sm_90")
    assert [kernel.name for kernel in kernels] == ["relu_forward"]
    assert fc.get_backend().name == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--target", "h100"], r"target: got 'h100'; allowed: sm_80, sm_86, .*sm_90"),
        (["--target", "sm_75"], r"target: got 'sm_75'; allowed: sm_80"),
        (["--target", "sm_90", "--backend", "numba"], r"--target: compiles for the backend 'cupy', not for 'numba'"),
        (["--jobs", "2"], r"--jobs: goes with --target only"),
    ],
)
def test_bad_arguments(words: list[str], message: str, compiled: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(["warmup", "lenet5", *words]) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not compiled


def test_a_folder_that_cannot_be_written(
    compiled: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTCONV_CACHE_DIR", str(tmp_path / "file"))
    assert main(["warmup", "lenet5", "--target", "sm_90", "--precision", "strict"]) == 2
    assert re.search(r"FASTCONV_CACHE_DIR: .*cubins/sm_90 cannot be written", capsys.readouterr().err)
    assert not compiled


def test_without_a_compiler_it_says_what_to_install(
    compiled: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def none_there() -> str:
        raise nvrtc.CompilerUnavailableError("NVRTC, CUDA's compiler, is not installed")

    monkeypatch.setattr(nvrtc, "version", none_there)
    assert main(["warmup", "lenet5", "--target", "sm_90"]) == 2
    assert "NVRTC, CUDA's compiler, is not installed; pip install nvidia-cuda-nvrtc" in capsys.readouterr().err
