"""What is asked of NVRTC, of a stand-in that keeps books: every program that is made is destroyed."""

from __future__ import annotations

from typing import Any

import pytest

from kernels.cuda.runtime import nvrtc


class Library:
    """NVRTC for sm_90 and sm_100: its machine code is the source, and it refuses a source that says `error`."""

    def __init__(self) -> None:
        self.alive: dict[int, bytes] = {}
        self.made = 0
        self.options: list[bytes] = []

    def nvrtcGetNumSupportedArchs(self, count: Any) -> int:  # noqa: N802
        count._obj.value = 2
        return 0

    def nvrtcGetSupportedArchs(self, found: Any) -> int:  # noqa: N802
        found[:] = (90, 100)
        return 0

    def nvrtcVersion(self, major: Any, minor: Any) -> int:  # noqa: N802
        major._obj.value, minor._obj.value = 13, 0
        return 0

    def nvrtcCreateProgram(self, program: Any, text: bytes, *_: Any) -> int:  # noqa: N802
        self.made += 1
        program._obj.value = self.made
        self.alive[self.made] = text
        return 0

    def nvrtcCompileProgram(self, program: Any, count: int, options: Any) -> int:  # noqa: N802
        assert count == len(options)
        self.options = list(options)
        return 6 if b"error" in self.alive[program.value] else 0

    def nvrtcDestroyProgram(self, program: Any) -> int:  # noqa: N802
        del self.alive[program._obj.value]
        return 0

    def __getattr__(self, name: str) -> Any:
        if name.endswith("Size"):
            return lambda program, size: setattr(size._obj, "value", len(self._text(name, program))) or 0
        return lambda program, buffer: setattr(buffer, "raw", self._text(name, program)) or 0

    def _text(self, name: str, program: Any) -> bytes:
        assert name.removesuffix("Size") in ("nvrtcGetProgramLog", "nvrtcGetCUBIN"), name
        text = self.alive[program.value]
        return b"a log of " + text + b"\0" if "Log" in name else text


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> Library:
    """The stand-in, in NVRTC's place."""
    fake = Library()
    monkeypatch.setattr(nvrtc, "_library", lambda: fake)
    monkeypatch.setattr(nvrtc, "supported", nvrtc.supported.__wrapped__)  # asked anew: what was found is kept
    return fake


def test_a_program_is_destroyed_when_its_code_is_read(library: Library) -> None:
    for text in ("one", "another one"):
        code, log = nvrtc.compile_text(text, "name.cu", "sm_90a", ("--flag",))
        assert (code, log) == (text.encode(), f"a log of {text}")
    assert library.options == [b"--flag", b"-arch=sm_90a"]
    assert (library.made, library.alive) == (2, {})


def test_a_program_is_destroyed_when_its_source_is_refused(library: Library) -> None:
    with pytest.raises(nvrtc.CompileError, match=r"name\.cu for sm_100:\na log of an error$"):
        nvrtc.compile_text("an error", "name.cu", "sm_100", ())
    assert (library.made, library.alive) == (1, {})


def test_no_program_is_made_for_a_device_that_is_not_known(library: Library) -> None:
    with pytest.raises(nvrtc.CompilerUnavailableError, match=r"NVRTC 13\.0 does not compile for sm_50"):
        nvrtc.compile_text("text", "name.cu", "sm_50", ())
    assert library.made == 0
