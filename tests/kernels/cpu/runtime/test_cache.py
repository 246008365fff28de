"""The disk cache of compiled kernels, in real processes: used, private, self-healing, never the reason of a failure."""

import errno
import importlib
import os
import pkgutil
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fastconv.kernels import cpu
from fastconv.kernels.cpu.elementwise import maps
from fastconv.kernels.cpu.runtime import cache as original

_FOLDER = Path(cpu.__file__).parents[1]  # with what CUDA shares

CODE = """
import sys, warnings
import numpy as np
warnings.simplefilter("always")
from fastconv.kernels.cpu.elementwise import maps
from fastconv.kernels.cpu.runtime import cache
x = np.arange(10, dtype=np.float32)
out = np.empty_like(x)
maps.scale(x, factor=2.0, out=out)
assert (out == 2 * x).all()
print(cache.cache_directory(), sum(maps.scale_array.stats.cache_hits.values()))
"""


def _run(directory, code=CODE):
    environment = os.environ | {"FASTCONV_CACHE_DIR": str(directory)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )


APPLY = """
import sys
import numpy as np
from fastconv.kernels.cpu.elementwise import pointwise
from fastconv.kernels.cpu.runtime import launch
from fastconv.kernels.pointwise import Activation
launch.set_num_threads(2)
x = np.linspace(-3, 3, 100_000, dtype=np.float32)  # several tasks, that threads share
for name in sys.argv[1:]:
    out = np.empty_like(x)
    pointwise.activate(Activation(name), x, out=out)
    print(name, hash(out.tobytes()))
"""


@pytest.fixture(scope="module")
def filled_once(tmp_path_factory):
    cache = tmp_path_factory.mktemp("filled") / "cache"
    assert _run(cache).stderr == ""
    return cache


@pytest.fixture
def filled(filled_once, tmp_path):
    """A directory that a process filled, and the one in it that is of these sources."""
    shutil.copytree(filled_once, tmp_path / "cache")
    (directory,) = (tmp_path / "cache" / "kernels").iterdir()
    return tmp_path / "cache", directory


def _kernel_files(directory):
    return sorted(directory.glob("elementwise.maps.scale_array-*.kernel"))


def test_second_process_finds_the_kernel(filled):
    cache, directory = filled
    assert len(_kernel_files(directory)) == 1
    written = _kernel_files(directory)[0].stat().st_mtime_ns
    assert _run(cache).stdout.split()[0] == str(directory)
    assert _kernel_files(directory)[0].stat().st_mtime_ns == written


def test_directory_is_private(filled):
    assert stat.S_IMODE(filled[1].stat().st_mode) == 0o700


def _flipped(whole, bit):
    return whole[: bit // 8] + bytes([whole[bit // 8] ^ 1 << bit % 8]) + whole[bit // 8 + 1 :]


@pytest.mark.slow
def test_damaged_file_is_compiled_anew(filled):
    cache, directory = filled
    (path,) = _kernel_files(directory)
    damaged = _flipped(path.read_bytes(), 4 * path.stat().st_size)  # in the middle
    path.write_bytes(damaged)
    done = _run(cache)
    assert (done.stderr, done.stdout.split()[1]) == ("", "0")  # nothing was taken from the file
    assert _kernel_files(directory) == [path]
    assert path.read_bytes() != damaged
    assert _run(cache).stdout.split()[1] == "1"


def test_no_damage_is_taken_for_a_kernel(filled, monkeypatch, rng):
    monkeypatch.setattr(original, "cache_directory", lambda: filled[1])
    maps.scale(np.ones(4, np.float32), factor=2.0, out=np.empty(4, np.float32))
    dispatcher, (path,) = maps.scale_array, _kernel_files(filled[1])
    (signature,) = (s for s in dispatcher.overloads if dispatcher._cache._path(s) == path)
    whole = path.read_bytes()
    bits = [0, 8 * len(whole) - 1, *rng.integers(0, 8 * len(whole), 60)]
    for damaged in (
        b"",
        b"nonsense",
        whole[: len(whole) // 2],
        whole[:-1],
        *(_flipped(whole, int(bit)) for bit in bits),
    ):
        path.write_bytes(damaged)
        assert dispatcher._cache.load_overload(signature, dispatcher.targetctx) is None
        assert not path.exists()
    path.write_bytes(whole)
    assert dispatcher._cache.load_overload(signature, dispatcher.targetctx) is not None


@pytest.mark.slow
def test_directory_of_somebody_else_is_not_used(filled):
    cache, directory = filled
    directory.chmod(0o777)
    done = _run(cache)
    assert done.stdout.split()[0] == "None"
    assert done.stderr.count("CacheWarning") == 1


@pytest.mark.slow
def test_place_that_cannot_be_written_costs_one_warning(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    done = _run(tmp_path / "file" / "below")
    assert done.stdout.split()[0] == "None"
    assert done.stderr.count("CacheWarning") == 1
    assert "FASTCONV_CACHE_DIR" in done.stderr


@pytest.mark.slow
def test_other_compiler_settings_have_a_directory_of_their_own(filled):
    cache, directory = filled
    environment = os.environ | {"FASTCONV_CACHE_DIR": str(cache), "NUMBA_OPT": "2"}
    subprocess.run([sys.executable, "-c", CODE], env=environment, check=True, capture_output=True, timeout=120)
    assert len(list(directory.parent.iterdir())) == 2


@pytest.fixture
def sources(tmp_path):
    folder = tmp_path / "kernels"
    shutil.copytree(_FOLDER, folder, ignore=shutil.ignore_patterns("__pycache__"))
    assert original._hash_sources(folder) == original.SOURCES_HASH
    return folder


def test_change_in_any_source_gives_another_directory(sources):
    """A helper's file too: Numba's own cache looks at the kernel's alone."""
    hashes = [original.SOURCES_HASH]
    files = [*sorted(sources.glob("*.py")), *sorted((sources / "cpu").rglob("*.py"))]
    assert sources / "pointwise.py" in files
    for path in files:
        text = path.read_text()
        path.write_text(text + "# changed\n")
        hashes.append(original._hash_sources(sources))
        path.write_text(text)
    for name in ("another.py", "cpu/another.py", "cpu/wing/another.py"):
        (sources / name).parent.mkdir(exist_ok=True)
        (sources / name).write_text("")
        hashes.append(original._hash_sources(sources))
    (sources / "cpu" / "vector" / "tile.py").rename(sources / "cpu" / "vector" / "tiles.py")
    hashes.append(original._hash_sources(sources))
    assert len(files) > 50
    assert len(set(hashes)) == len(hashes)


VERSIONS = [
    *((original.numba, "__version__"), (original.llvmlite, "__version__"), (original.np, "__version__")),
    *((original.llvm, "llvm_version_info"), (original, "CACHES")),
]


def test_versions_and_cpu_give_another_directory(sources, monkeypatch):
    hashes = [original.SOURCES_HASH]
    for place, name in VERSIONS:
        with monkeypatch.context() as patched:
            patched.setattr(place, name, "another")
            hashes.append(original._hash_sources(sources))
    functions = ((original.platform, "python_version"), (original.llvm, "get_host_cpu_name"))
    for place, name in functions:
        with monkeypatch.context() as patched:
            patched.setattr(place, name, lambda: "another")
            hashes.append(original._hash_sources(sources))
    features = original.llvm.get_host_cpu_features()
    name, on = next(iter(features.items()))
    features[name] = not on
    monkeypatch.setattr(original.llvm, "get_host_cpu_features", lambda: features)
    hashes.append(original._hash_sources(sources))
    assert len(set(hashes)) == len(hashes)


def test_sources_in_a_zip_file_are_told_apart(sources, tmp_path):
    """Their hash was that of no file: kernels of one version ran in the place of another one's."""
    hashes, archive = set(), Path(shutil.make_archive(str(tmp_path / "app"), "zip", tmp_path, "kernels"))
    for content in (archive.read_bytes(), archive.read_bytes() + b"another"):
        archive.write_bytes(content)
        assert original._sources(archive / "kernels") == [archive]
        hashes.add(original._hash_sources(archive / "kernels"))
    assert len(hashes) == 2


SETTINGS = [*((name, "another") for name in original._NUMBA_SETTINGS), ("FASTCONV_BOUNDSCHECK", "1")]


@pytest.mark.parametrize(("name", "value"), SETTINGS)
def test_settings_of_the_compiler_give_other_files(name, value, monkeypatch):
    """Also those that change in a process: Numba looks at its variables whenever it compiles."""
    cache, signature = maps.scale_array._cache, ("float32",)
    before = original.SOURCES_HASH, cache._path(signature)
    if name.startswith("FASTCONV"):
        monkeypatch.setenv(name, value)
    else:
        monkeypatch.setattr(original.numba.config, name, value)
    assert original._hash_sources(_FOLDER) != before[0]
    assert cache._path(signature) not in (before[1], None)


def test_nothing_is_kept_of_sources_that_changed(sources, monkeypatch):
    """Modules may have been imported again since: nobody knows whether the hash is that of their code."""
    cache, signature = maps.scale_array._cache, ("float32",)
    monkeypatch.setattr(original, "_FOLDER", sources)
    monkeypatch.setattr(original, "_SOURCES", original._state_of_sources())
    assert cache._path(signature) is not None
    path = sources / "cpu" / "vector" / "simd.py"
    text = path.read_text()
    path.write_text(text.replace("a", "b", 1))
    assert cache._path(signature) is None


def test_every_kernel_of_the_package_is_kept_under_a_name_of_its_own():
    kernels = {}
    for module_info in pkgutil.walk_packages(cpu.__path__, f"{cpu.__name__}."):
        held = list(vars(importlib.import_module(module_info.name)).values())
        held += [kernel for table in held if isinstance(table, dict) for kernel in table.values()]
        for value in held:
            if isinstance(getattr(value, "_cache", None), original.KernelCache):
                kernels[id(value)] = value._cache
    assert len(kernels) > 60
    assert all(cache.is_declared_here for cache in kernels.values())
    names = [cache._name for cache in kernels.values()]
    assert len(set(names)) == len(names)


FULL = """
import resource
from fastconv.kernels.cpu.conv import autotune
from fastconv.kernels.cpu.runtime import cache
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
"""


@pytest.mark.slow
def test_a_full_disk_costs_one_warning_that_says_so(filled):
    """A limit on the size of files stands for it."""
    cache, directory = filled
    before = sorted(directory.iterdir())
    code = 'import sys, warnings; warnings.simplefilter("always"); sys.argv += ["relu", "silu", "gelu"]' + FULL + APPLY
    code += "autotune._save({'key ' * 1000: 'direct'})"
    done = _run(cache, code)
    assert len(done.stdout.splitlines()) == 3
    warned = [line for line in done.stderr.splitlines() if "Warning: " in line]
    assert len(warned) == 2, done.stderr
    assert "CacheWarning: compiled kernels are not kept on disk ([Errno 27] File too large: " in warned[0]
    assert f"'{directory}'); free some space, or set FASTCONV_CACHE_DIR to a directory on another disk" in warned[0]
    assert "AutotuneWarning: measured algorithms are not kept in" in warned[1]
    assert "free some space; until then each process measures again" in warned[1]
    assert sorted(directory.iterdir()) == before


@pytest.mark.parametrize("number", original.NO_SPACE)
def test_no_space_is_told_from_no_permission(number):
    for error, advice in ((number, "free some space"), (errno.EACCES, "that you alone can write")):
        with pytest.warns(original.CacheWarning, match=advice):
            original._warn(OSError(error, os.strerror(error)))


def test_a_file_is_replaced_all_at_once(tmp_path, monkeypatch):
    path = tmp_path / "file"
    original.replace_file(path, b"old")

    def fail(*paths):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), *paths)

    with monkeypatch.context() as patched:
        patched.setattr(original.os, "replace", fail)
        with pytest.raises(OSError, match="No space left"):
            original.replace_file(path, b"new")
    assert [(found, found.read_bytes()) for found in tmp_path.iterdir()] == [(path, b"old")]
    original.replace_file(path, b"new")
    assert path.read_bytes() == b"new"


@pytest.mark.slow
def test_kernels_that_two_processes_compiled_are_told_apart(tmp_path):
    def apply(directory, *names):
        command = [sys.executable, "-c", APPLY, *names]
        environment = os.environ | {"FASTCONV_CACHE_DIR": str(directory), "PYTHONHASHSEED": "0"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout

    together = tmp_path / "together"
    alone = [apply(together, name) for name in ("relu", "silu")]  # each the first kernel of its process
    assert alone[0].split()[1] != alone[1].split()[1]
    assert apply(together, "relu", "silu") == "".join(alone)
