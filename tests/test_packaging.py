"""What gets installed: the names in the wheel, and that it trains from a bare environment, away from the checkout."""

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def run(*command, cwd, **environment):
    """Run `command` without what the surroundings say about Python or fastconv, and return what it printed."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "FASTCONV", "VIRTUAL_ENV", "COV"))}
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=kept | environment, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, f"{command}:\n{result.stdout}\n{result.stderr}"
    return result.stdout


def test_all_packages_are_listed():
    """A package that pyproject.toml forgets is missing from the wheel, and from nothing else."""
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "fastconv").rglob("__init__.py")}
    found |= {
        ".".join(("fastconv", *path.parent.relative_to(ROOT).parts)) for path in (ROOT / "kernels").rglob("__init__.py")
    }
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == found


def test_versions_agree():
    import fastconv

    assert fastconv.__version__ == PROJECT["project"]["version"]
    assert f"\n## [{fastconv.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_import_is_light(tmp_path):
    """``import fastconv`` and ``fastconv --help`` load no compiler, and nothing of a GPU."""
    code = (
        "import sys, fastconv, fastconv.nn, fastconv.data, fastconv.models, fastconv.cli\n"
        "fastconv.cli.build_parser()\n"
        "print(sorted({'numba', 'llvmlite', 'cupy', 'torch', 'safetensors.numpy'} & set(sys.modules)))"
    )
    assert run(sys.executable, "-W", "error", "-c", code, cwd=tmp_path).strip() == "[]"


def test_a_bare_checkout_runs_in_place(tmp_path):
    """A copy of the checkout, nowhere installed, finds its kernels through the link fastconv/kernels."""
    for name in ("fastconv", "kernels"):
        shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    code = "import fastconv.kernels.cpu, fastconv.kernels.cuda as cuda; print(cuda.__file__)"
    found = run(sys.executable, "-W", "error", "-c", code, cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert Path(found.strip()).is_relative_to(tmp_path)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel, built from a copy of the sources, so that nothing of an earlier build gets into it."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in ("fastconv", "kernels"):
        shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, cwd=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_holds_the_package_and_nothing_else(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        size = sum(entry.file_size for entry in archive.infolist())
    assert {name.split("/")[0] for name in names} == {"fastconv", f"fastconv-{PROJECT['project']['version']}.dist-info"}
    sources = {".py", ".cu", ".cuh", ".cpp", ".h", ".typed", ".html", ".css", ".js"}
    expected = {
        f"{package}/{path.relative_to(folder)}"
        for package, folder in (("fastconv", ROOT / "fastconv"), ("fastconv/kernels", ROOT / "kernels"))
        for path in folder.rglob("*")
        if path.suffix in sources
    }
    assert expected == {name for name in names if name.startswith("fastconv/")}
    assert any(name.endswith("/LICENSE") for name in names)
    assert size < 5e6, f"the package unpacks to {size:,} bytes"


TRAIN_A_STEP = """
import sys
import numpy as np
import fastconv as fc
from fastconv.backends import get_backend

assert not sys.modules.keys() & {"torch", "cupy"}
fc.seed(0)
data = fc.data.shapes10(size=32)
model = fc.models.lenet5()
trainer = fc.Trainer(model, fc.losses.SoftmaxCrossEntropy(), fc.optim.SGD(model.parameters(), 0.05, momentum=0.9))
x, labels = next(iter(fc.data.DataLoader(data, 32)))
losses = [float(trainer.train_step(x, labels)) for _ in range(20)]
assert losses[-1] < 0.8 * losses[0], losses
print(get_backend().name, fc.__file__)
"""


@pytest.mark.slow
def test_wheel_trains_from_a_bare_environment(wheel, tmp_path):
    run(sys.executable, "-m", "venv", tmp_path / "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", wheel, cwd=tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    backend, file = run(python, "-W", "error", "-c", TRAIN_A_STEP, cwd=outside, **environment).split()
    assert backend == "numba"
    assert Path(file).is_relative_to(tmp_path / "venv")
    find = "import importlib.util as u; print(u.find_spec('kernels'), u.find_spec('fastconv.kernels.cpu').origin)"
    top_level, kernels = run(python, "-c", find, cwd=outside).split()
    assert top_level == "None"
    assert Path(kernels).is_relative_to(tmp_path / "venv")
    assert "numba" in run(tmp_path / "venv" / "bin" / "fastconv", "info", cwd=outside, **environment)
    assert list(outside.iterdir()) == []
