"""The disk cache of compiled kernels, in real processes: used, private, self-healing, never the reason of a failure."""

import importlib.util
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fastconv.kernels.cpu import cache as original

CODE = """
import sys, warnings
import numpy as np
warnings.simplefilter("always")
from fastconv.kernels.cpu import cache, elementwise
x = np.arange(10, dtype=np.float32)
out = np.empty_like(x)
elementwise.scale(x, factor=2.0, out=out)
assert (out == 2 * x).all()
print(cache.cache_directory(), sum(elementwise.scale_array.stats.cache_hits.values()))
"""


def _run(directory, code=CODE):
    environment = os.environ | {"FASTCONV_CACHE_DIR": str(directory)}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True, timeout=120
    )


APPLY = """
import sys
import numpy as np
from fastconv.kernels.cpu import activation, launch
launch.set_num_threads(2)
x = np.linspace(-3, 3, 100_000, dtype=np.float32)  # several tasks, that threads share
for name in sys.argv[1:]:
    out = np.empty_like(x)
    getattr(activation, name)(x, out=out)
    print(name, hash(out.tobytes()))
"""


@pytest.fixture
def filled(tmp_path):
    done = _run(tmp_path / "cache")
    assert done.stderr == ""
    (directory,) = (tmp_path / "cache" / "kernels").iterdir()
    return tmp_path / "cache", directory


def _kernel_files(directory):
    return sorted(directory.glob("elementwise.scale_array-*.kernel"))


def test_second_process_finds_the_kernel(filled):
    cache, directory = filled
    assert len(_kernel_files(directory)) == 1
    written = _kernel_files(directory)[0].stat().st_mtime_ns
    assert _run(cache).stdout.split()[0] == str(directory)
    assert _kernel_files(directory)[0].stat().st_mtime_ns == written


def test_directory_is_private(filled):
    assert stat.S_IMODE(filled[1].stat().st_mode) == 0o700


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_damaged_file_is_compiled_anew(filled, damage):
    cache, directory = filled
    (path,) = _kernel_files(directory)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    assert _run(cache).stderr == ""
    (path,) = _kernel_files(directory)
    assert len(path.read_bytes()) > len(whole) // 2


def test_directory_of_somebody_else_is_not_used(filled):
    cache, directory = filled
    directory.chmod(0o777)
    done = _run(cache)
    assert done.stdout.split()[0] == "None"
    assert done.stderr.count("CacheWarning") == 1


def test_place_that_cannot_be_written_costs_one_warning(tmp_path):
    (tmp_path / "file").write_text("not a directory")
    done = _run(tmp_path / "file" / "below")
    assert done.stdout.split()[0] == "None"
    assert done.stderr.count("CacheWarning") == 1
    assert "FASTCONV_CACHE_DIR" in done.stderr


def test_other_compiler_settings_have_a_directory_of_their_own(filled):
    cache, directory = filled
    environment = os.environ | {"FASTCONV_CACHE_DIR": str(cache), "NUMBA_OPT": "2"}
    subprocess.run([sys.executable, "-c", CODE], env=environment, check=True, capture_output=True, timeout=120)
    assert len(list(directory.parent.iterdir())) == 2


def _hash_of(folder, name):
    """SOURCES_HASH as computed among the sources in `folder`."""
    spec = importlib.util.spec_from_file_location(name, folder / "cache.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SOURCES_HASH


def test_change_in_any_source_gives_another_directory(tmp_path):
    """A helper's file too: Numba's own cache looks at the kernel's alone."""
    folder = tmp_path / "cpu"
    shutil.copytree(Path(original.__file__).parent, folder, ignore=shutil.ignore_patterns("__pycache__"))
    assert _hash_of(folder, "cache_copy") == original.SOURCES_HASH
    with open(folder / "simd.py", "a") as file:
        file.write("# changed\n")
    changed = _hash_of(folder, "cache_changed")
    assert changed != original.SOURCES_HASH
    (folder / "another.py").write_text("")
    assert _hash_of(folder, "cache_added") not in (changed, original.SOURCES_HASH)


def test_kernels_that_two_processes_compiled_are_told_apart(tmp_path):
    def apply(directory, *names):
        command = [sys.executable, "-c", APPLY, *names]
        environment = os.environ | {"FASTCONV_CACHE_DIR": str(directory), "PYTHONHASHSEED": "0"}
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120).stdout

    together = tmp_path / "together"
    alone = [apply(together, name) for name in ("relu", "silu")]  # each the first kernel of its process
    assert alone[0].split()[1] != alone[1].split()[1]
    assert apply(together, "relu", "silu") == "".join(alone)
