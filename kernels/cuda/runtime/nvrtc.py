"""NVRTC, CUDA's compiler as a library, called through ctypes. It needs no GPU and no driver."""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import importlib.util
import os
from pathlib import Path


class CompilerUnavailableError(RuntimeError):
    """There is no NVRTC, or it knows nothing of the target."""


class CompileError(RuntimeError):
    """NVRTC refused a source, or its log does not name the kernel."""


def library_path() -> str | None:
    """Return the path or name of NVRTC's library, or None if there is none.

    Looked for in NVIDIA's packages for Python (``nvidia/cuda_nvrtc`` and ``nvidia/cu13``), in the toolkit
    (``CUDA_HOME``, ``CUDA_PATH``, ``/usr/local/cuda``), then where the system keeps libraries.
    """
    for folder in (*_packages(), *_toolkits()):
        found = sorted(folder.glob("libnvrtc.so.*"), key=lambda path: len(path.name))
        if found:
            return str(found[0])
    return ctypes.util.find_library("nvrtc")


def _packages() -> list[Path]:
    spec = importlib.util.find_spec("nvidia")
    roots = [Path(root) for root in (spec.submodule_search_locations or ())] if spec else []
    return [folder for root in roots for name in ("cu*/lib", "cuda_nvrtc/lib") for folder in sorted(root.glob(name))]


def _toolkits() -> list[Path]:
    roots = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
    return [Path(root) / name for root in roots if root for name in ("lib64", "lib", "targets/x86_64-linux/lib")]


@functools.cache
def _library() -> ctypes.CDLL:
    path = library_path()
    if path is None:
        raise CompilerUnavailableError("NVRTC, CUDA's compiler, is not installed")
    try:
        library = ctypes.CDLL(path)
    except OSError as error:
        raise CompilerUnavailableError(f"NVRTC cannot be loaded ({error})") from error
    library.nvrtcGetErrorString.restype = ctypes.c_char_p
    return library


def version() -> str:
    """Return NVRTC's version, ``"13.0"``.

    Raises
    ------
    CompilerUnavailableError
        There is no NVRTC.
    """
    major, minor = ctypes.c_int(), ctypes.c_int()
    _call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


@functools.cache
def supported() -> tuple[int, ...]:
    """Return the compute capabilities, times ten, that this NVRTC compiles for."""
    count = ctypes.c_int()
    _call("nvrtcGetNumSupportedArchs", ctypes.byref(count))
    found = (ctypes.c_int * count.value)()
    _call("nvrtcGetSupportedArchs", found)
    return tuple(found)


def compile_text(text: str, name: str, target: str, flags: tuple[str, ...]) -> tuple[bytes, str]:
    """Compile a source to machine code.

    Parameters
    ----------
    text : str
        The whole source.
    name : str
        What messages call it.
    target : str
        ``"sm_90"``, or ``"sm_90a"`` for what other devices of the family lack.
    flags : tuple of str
        Further options.

    Returns
    -------
    tuple of (bytes, str)
        The cubin, and the compiler's log.

    Raises
    ------
    CompilerUnavailableError
        There is no NVRTC, or it does not know the target.
    CompileError
        It refused the source; the message ends with its log.
    """
    if int(target.removeprefix("sm_").rstrip("af")) not in supported():
        raise CompilerUnavailableError(f"NVRTC {version()} does not compile for {target}")
    nvrtc, program = _library(), ctypes.c_void_p()
    _call("nvrtcCreateProgram", ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
    try:
        options = [option.encode() for option in (*flags, f"-arch={target}")]
        array = (ctypes.c_char_p * len(options))(*options)
        failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
        log = _read("nvrtcGetProgramLog", program).decode(errors="replace").rstrip("\0")
        if failed:
            raise CompileError(f"{name} for {target}:\n{log[-4000:]}")
        return _read("nvrtcGetCUBIN", program), log
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))


def _read(function: str, program: ctypes.c_void_p) -> bytes:
    size = ctypes.c_size_t()
    _call(f"{function}Size", program, ctypes.byref(size))
    buffer = ctypes.create_string_buffer(size.value)
    _call(function, program, buffer)
    return buffer.raw


def _call(function: str, *arguments: object) -> None:
    nvrtc = _library()
    failed = getattr(nvrtc, function)(*arguments)
    if failed:
        raise CompileError(f"NVRTC: {function}: {nvrtc.nvrtcGetErrorString(failed).decode()}")
