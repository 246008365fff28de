"""What every command does when something fails: one line on stderr, status 2, nothing half-written."""

import errno
import os
import resource
import shlex
import subprocess
import sys
import warnings
from contextlib import contextmanager
from pathlib import Path

import pytest

import fastconv.backends as registry
from fastconv.cli import gradcheck, main, warmup
from fastconv.data import dataset
from fastconv.training.diagnostics import machine

from .commands import TINY, ascii_stream, fails, files_of, full_stream, only_line, stream_without_reader

NUMPY = ("--backend", "numpy")
COMMANDS = {
    "train": ("train", *TINY, "--output", "new"),
    "resume": ("resume", "run", "--epochs", "3", *NUMPY),
    "lr-find": ("lr-find", *TINY, "--steps", "5"),
    "evaluate": ("evaluate", "run/weights.safetensors", "--limit", "10", *NUMPY),
    "predict": ("predict", "run/weights.safetensors", "--limit", "3", *NUMPY),
    "data": ("data", "list"),
    "summary": ("summary", "lenet5"),
    "explain": ("explain", "lenet5", "--batch-size", "1", *NUMPY),
    "profile": ("profile", "lenet5", "--batch-size", "1", "--repeats", "1", *NUMPY),
    "warmup": ("warmup", "lenet5", "--batch-size", "2", *NUMPY),
    "info": ("info", *NUMPY),
    "gradcheck": ("gradcheck", *NUMPY),
}
COMPUTING = [name for name, words in COMMANDS.items() if "--backend" in words]


@pytest.fixture(autouse=True)
def _quick(trained, monkeypatch):
    """Let every command of COMMANDS be quick, and find its files."""
    monkeypatch.setattr(gradcheck, "_LAYERS", {"SiLU": gradcheck._LAYERS["SiLU"]})
    monkeypatch.setattr(warmup, "_run_once", lambda *_: None)
    monkeypatch.setattr(machine, "_SIDE", 32)
    monkeypatch.setattr(machine, "_NUMBERS", 1 << 12)


def status(words):
    """Return the exit status."""
    try:
        return main(words)
    except SystemExit as stop:
        return stop.code


def test_commands_are_all_commands():
    from fastconv.cli.parser import build_parser

    choices = build_parser()._subparsers._group_actions[0].choices
    assert set(choices) == set(COMMANDS) | {"launch", "report"}  # which need extras: test_launch.py, test_report.py


@pytest.mark.parametrize("name", COMMANDS)
def test_it_works_when_nothing_fails(name, capsys):
    assert main(COMMANDS[name]) == 0
    out, err = capsys.readouterr()
    assert out
    assert err == ""


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("stream", "words"),
    [(full_stream, "No space left on device"), (stream_without_reader, "Broken pipe"), (lambda: None, "closed")],
    ids=["full", "without reader", "closed"],
)
def test_output_that_cannot_be_brought_out_is_an_error(name, stream, words, capsys, monkeypatch):
    with stream() or open(os.devnull) as stdout:
        monkeypatch.setattr(sys, "stdout", None if words == "closed" else stdout)
        assert main(COMMANDS[name]) == 2
        monkeypatch.undo()
    error = only_line(capsys)
    assert error.startswith("error: stdout: got ")
    assert words in error


@pytest.mark.parametrize(
    "name", [name if name in ("info", "evaluate") else pytest.param(name, marks=pytest.mark.slow) for name in COMMANDS]
)
@pytest.mark.parametrize("stream", [lambda: None, full_stream, stream_without_reader], ids=["closed", "full", "pipe"])
def test_nobody_need_read_stderr(name, stream, monkeypatch):
    stderr = stream()
    for words, code in ((COMMANDS[name], 0), ((name, "--fly"), 2), (("evaluate", "none", *NUMPY), 2)):
        monkeypatch.setattr(sys, "stderr", stderr)
        assert status(words) == code
    monkeypatch.undo()
    if stderr is not None:
        stderr.close()


@pytest.mark.parametrize("name", COMMANDS)
def test_what_an_encoding_cannot_show_is_an_escape(name, monkeypatch):
    monkeypatch.setattr(dataset.Dataset, "__post_init__", lambda self: object.__setattr__(self, "name", "naïve/测试"))
    with ascii_stream() as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert main(COMMANDS[name]) == 0
        monkeypatch.undo()
        out.seek(0)
        text = out.read()
    assert text
    assert ("na\\xefve/\\u6d4b\\u8bd5" in text) == (name in ("train", "resume", "evaluate"))


@pytest.mark.parametrize("folder", ["café", "测试 [a]", "\udcff\udcfe", "tab\tline\nend"])
def test_a_path_that_an_encoding_cannot_show_is_written_and_printed_for_a_shell(folder, monkeypatch, tmp_path):
    with ascii_stream() as out:
        monkeypatch.setattr(sys, "stdout", out)
        assert main(["train", *TINY, "--output", folder]) == 0
        monkeypatch.undo()
        out.seek(0)
        text = out.read()
    monkeypatch.chdir(tmp_path)
    assert (Path(folder) / "weights.safetensors").exists()
    command = next(line for line in text.splitlines() if line.startswith("next")).removeprefix("next      ")
    shown = subprocess.run(
        ["bash", "-c", f'fastconv() {{ printf "%s\\0" "$@"; }}; {command}'], capture_output=True, check=True, timeout=60
    )
    words = [os.fsdecode(word) for word in shown.stdout.split(b"\0")]
    assert words[:2] == ["evaluate", folder]


@pytest.mark.parametrize("name", COMPUTING)
@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("raise ValueError('FASTCONV_NUM_THREADS: got 0; allowed: more')", "FASTCONV_NUM_THREADS: got 0; allowed"),
        ("None.get_call_template", "import failed with AttributeError: "),
        ("raise RuntimeError('first\\nsecond')", "import failed with RuntimeError: first second"),
        ("import a_module_that_is_not_there", "a_module_that_is_not_there"),
        ("open('/dev/null/x')", "NotADirectoryError"),
    ],
    ids=["variable", "attribute", "lines", "module", "system"],
)
def test_a_backend_that_cannot_be_imported_is_an_error(name, source, words, tmp_path, monkeypatch, capsys):
    (tmp_path / "broken_backend.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_backend", raising=False)
    monkeypatch.setitem(registry._CLASSES, "numba", "broken_backend:Backend")
    monkeypatch.setattr(registry, "_instances", {k: v for k, v in registry._instances.items() if k != "numba"})
    command = [word if word != "numpy" else "numba" for word in COMMANDS[name]]
    assert main(command) == 2
    assert words in only_line(capsys)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("variable", "value", "command"),
    [
        ("FASTCONV_NUM_THREADS", "0", "info"),
        ("NUMBA_DISABLE_JIT", "1", "train"),
    ],
)
def test_a_variable_that_the_kernels_cannot_use_is_an_error(variable, value, command):
    words = [word if word != "numpy" else "numba" for word in COMMANDS[command]]
    done = run_process(words, env={**os.environ, variable: value})
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert not Path("new").exists()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.EIO, "Input/output error"), "system: got Input/output error"),
        (OSError(errno.EACCES, "Permission denied", "/a [b]\nc"), "/a [b] c: got Permission denied"),
        (MemoryError(), "memory: got none left"),
        (MemoryError("Unable to allocate 9 TiB"), "memory: got Unable to allocate 9 TiB"),
        (ImportError("no such thing"), "import: got no such thing"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_the_system_refuses_is_one_line(name, error, words, monkeypatch, capsys):
    from fastconv.cli import options

    def refuse(_):
        raise error

    monkeypatch.setattr(options, "_lazy", lambda command: refuse)
    assert main(COMMANDS[name]) == 2
    assert words in only_line(capsys)


@pytest.mark.parametrize("name", COMMANDS)
def test_an_interrupt_ends_with_130(name, monkeypatch, capsys):
    from fastconv.cli import options

    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(options, "_lazy", lambda command: interrupt)
    assert main(COMMANDS[name]) == 130
    assert capsys.readouterr().err == "interrupted\n"


@contextmanager
def largest_file(size):
    """Let the system refuse to make any file larger than `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_found_before_the_first_epoch(tmp_path, capsys, fitted):
    with largest_file(1000):
        error = fails(capsys, *COMMANDS["train"])
    assert error == "error: --output: got new (File too large); allowed: a folder that can be written\n"
    assert not fitted
    assert not (tmp_path / "new").exists()


WITHOUT_STATE = {"environment.json", "log.jsonl", "run.toml", "weights.safetensors"}


@pytest.mark.parametrize(("size", "written"), [(10_000, set()), (300_000, WITHOUT_STATE)])
def test_a_disk_that_fills_up_leaves_whole_files(tmp_path, capsys, size, written):
    with largest_file(size):
        error = fails(capsys, *COMMANDS["train"])
    assert "--output: got new (File too large) after epoch 1; allowed: " in error
    folder = tmp_path / "new"
    assert {path.name for path in folder.iterdir()} == written if written else not folder.exists()
    if written:
        assert main(["evaluate", "new/weights.safetensors", "--limit", "10", *NUMPY]) == 0


def test_a_full_disk_while_resuming_keeps_what_was_there(tmp_path, capsys):
    before = files_of(tmp_path / "run")
    with largest_file(10_000):
        fails(capsys, "resume", "run", "--epochs", "3")
    assert files_of(tmp_path / "run") == before


def run_process(words, **options):
    words = [sys.executable, "-m", "fastconv", *words]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, **options)


@pytest.mark.parametrize(
    ("redirection", "code", "words", "command"),
    [
        (">&-", 2, "stdout: got a closed stream", ("summary", "mlp")),
        ("> /dev/full", 2, "stdout: got No space left on device", ("summary", "mlp")),
        ("> /dev/full", 2, "stdout: got No space left on device", ("summary", "--help")),
        ("2>&-", 0, "", ("summary", "mlp")),
        ("2> /dev/full", 2, "", ("summary", "--fly")),
        ("<&- >&- 2>&-", 2, "", ("summary", "mlp")),
    ],
)
def test_streams_of_a_process(redirection, code, words, command):
    """The interpreter too has nothing to add when it ends."""
    line = f"exec {shlex.join([sys.executable, '-m', 'fastconv', *command])} {redirection}"
    env = {**os.environ, "PYTHONUNBUFFERED": "1" if "--help" in command else ""}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=120, check=False, env=env)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.count("\n") == bool(words)


def test_a_closed_stderr_does_not_lead_into_the_files(tmp_path):
    """The first file that a process opens takes the place of a closed stream, and what is printed goes into it."""
    line = f"exec {shlex.join([sys.executable, '-m', 'fastconv', *COMMANDS['train']])} 2>&- > log"
    assert subprocess.run(["bash", "-c", line], timeout=120, check=False).returncode == 0
    assert main(["evaluate", "new/weights.safetensors", "--limit", "10", *NUMPY]) == 0
    assert "epoch 1/1" in Path("log").read_text()


def test_warnings_are_one_line_each(capsys, monkeypatch):
    from fastconv.cli import options

    def warn(_):
        warnings.simplefilter("always")
        warnings.warn("one\nline", stacklevel=1)
        warnings.warn("unread\nTraceback (most recent call last):\n  File x\nValueError: why", stacklevel=1)
        return 0

    monkeypatch.setattr(options, "_lazy", lambda command: warn)
    assert main(COMMANDS["info"]) == 0
    assert capsys.readouterr().err == "warning: one line\nwarning: unread ValueError: why\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "--dataset", "cifar10", "--data-dir", "nowhere", *NUMPY), ("nowhere", "kriz/cifar.html")),
        (("train", "--backend", "abacus"), ("backend: got 'abacus'; allowed: numba",)),
        (("train", *TINY, "--data-dir", "x"), ("--data-dir", "allowed: ")),
        (("train", *TINY, "--optimizer", "sgd"), ("--lr", "allowed: ")),
        (("train", *TINY, "--seed", "-1"), ("seed: got -1", "allowed: ")),
        (("train", *TINY, "--label-smoothing", "1"), ("label_smoothing: got 1", "allowed: ")),
        (("train", *TINY, "--label-smoothing", "nan"), ("label_smoothing: got nan", "allowed: ")),
        (("train", *TINY, "--weight-decay", "nan"), ("weight_decay: got nan", "allowed: ")),
        (("train", *TINY, "--weight-decay", "-1"), ("weight_decay: got -1", "allowed: ")),
        (("train", *TINY, "--precision", "fast"), ("fast", "numpy")),
        (("train", *TINY, "--algorithm", "tuned"), ("algorithm: got 'tuned'", "numpy", "allowed: shapes")),
        (
            ("explain", "lenet5", "--threads", "1000000", "--backend", "numba"),
            ("num_threads: got 1000000", "allowed: "),
        ),
        (("explain", "mlp", *NUMPY, "--batch-size", "2000000000"), ("memory: got ", "allowed: ")),
        (("resume", "nowhere"), ("run: got 'nowhere', which is no folder", "allowed: ")),
        (("resume", "."), ("without run.toml", "allowed: the folder of a run")),
        (("evaluate", "nothing", *NUMPY), ("run: got 'nothing', which does not exist; allowed: the folder",)),
        (("predict", "nothing", *NUMPY), ("run: got 'nothing', which does not exist; allowed: the folder",)),
        (("predict", "n" * 300, *NUMPY), ("File name too long",)),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(capsys, arguments, words):
    error = fails(capsys, *arguments)
    for word in words:
        assert word in error
    assert not Path("runs/shapes10-lenet5").exists()
