"""The README and the pages of docs/ tell the truth: their code runs, commands parse, links lead somewhere."""

import ast
import importlib.util
import inspect
import operator
import re
import shlex
from pathlib import Path

import numpy as np
import pytest

import fastconv as fc
from fastconv.backends import set_backend
from fastconv.cli.parser import build_parser
from fastconv.kernels.pointwise import POINTWISE
from tests.backends.usable import backend_or_skip
from tests.optim.listed import OPTIMIZERS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
BACKENDS = (ROOT / "docs" / "backends.md").read_text()
PAGES = {path: path.read_text() for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
WITH_CODE = [path for path, text in PAGES.items() if "```python" in text and path.stem != "recipes"]  # see test_recipes
BLOCKS = {"quickstart": 1, "own_parts": 4}
ON_THE_EMULATOR = {"README", "gpu", "own_parts"}
"""Pages that run there too, in up to a minute; the operations of the others have cases of their own there."""


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 120
    assert max(map(len, README.splitlines())) <= 120


def pages_with_code():
    """Yield backends with the pages that run on them."""
    for page in WITH_CODE:
        yield pytest.param("numba", page, id=page.stem)
        if page.stem in ON_THE_EMULATOR:
            yield pytest.param("cuda-emulator", page, id=f"cuda-emulator-{page.stem}", marks=pytest.mark.emulator)


@pytest.mark.parametrize(("name", "page"), list(pages_with_code()))
def test_python_blocks_run(capsys, name, page):
    backend_or_skip(name)
    set_backend(name)
    blocks = re.findall(r"```python\n(.*?)```", PAGES[page], re.DOTALL)
    assert len(blocks) == BLOCKS.get(page.stem, 3)
    exec(compile("\n".join(blocks), page.name, "exec"), {"__name__": page.stem})
    assert capsys.readouterr().out.count("\n") >= len(blocks) - 1


def equivalents():
    """Yield what stands in the right columns of the page for those who come from elsewhere."""
    for line in PAGES[ROOT / "docs" / "moving.md"].splitlines():
        if line.startswith("| ") and line.count("|") == 3 and "---" not in line:
            yield from re.findall(r"`((?:fc|model|trainer)\.[^`]+)`", line.split("|")[2])


def test_what_moves_to_here_exists_with_its_arguments():
    found = list(equivalents())
    assert len(found) > 50
    for text in found:
        called = ast.parse(text, mode="eval").body
        function = called.func if isinstance(called, ast.Call) else called
        start, _, path = ast.unparse(function).partition(".")
        thing = operator.attrgetter(path)({"fc": fc, "model": fc.nn.Sequential, "trainer": fc.Trainer}[start])
        if isinstance(called, ast.Call):
            taken = inspect.signature(thing).parameters
            assert {argument.id for argument in called.args} <= set(taken), text
            for keyword in called.keywords:  # what Keras has by default, and we have not
                assert taken[keyword.arg].default != ast.literal_eval(keyword.value), text


def keras_rmsprop(grads, lr=1e-3, rho=0.9, epsilon=1e-7):
    """Yield the steps of Keras 3's RMSprop."""
    squares = 0.0
    for grad in grads:
        squares = rho * squares + (1 - rho) * grad**2
        yield lr * grad / np.sqrt(squares + epsilon)


def keras_nadam(grads, lr=1e-3, beta1=0.9, beta2=0.999, epsilon=1e-7):
    """Yield the steps of Keras 3's Nadam."""
    mean, squares, product = 0.0, 0.0, 1.0
    for t, grad in enumerate(grads, 1):
        now, then = (beta1 * (1 - 0.5 * 0.96**i) for i in (t, t + 1))
        product *= now
        mean, squares = beta1 * mean + (1 - beta1) * grad, beta2 * squares + (1 - beta2) * grad**2
        ahead = then * mean / (1 - product * then) + (1 - now) * grad / (1 - product)
        yield lr * ahead / (np.sqrt(squares / (1 - beta2**t)) + epsilon)


@pytest.mark.parametrize(
    ("name", "theirs", "low", "high"),
    [("RMSProp", keras_rmsprop, 0.7, 1.1), ("NAdam", keras_nadam, 0.9999, 1.0001)],
)
def test_an_optimizer_steps_as_keras_with_what_the_guide_says(rng, name, theirs, low, high):
    (call,) = [text for text in equivalents() if text.startswith(f"fc.optim.{name}(") and "=" in text]
    settings = {each.arg: ast.literal_eval(each.value) for each in ast.parse(call).body[0].value.keywords}
    layer = fc.nn.Dense(1, bias=False).build((40,), np.float64)
    optimizer = getattr(fc.optim, name)(layer.parameters(), **settings)
    scales = np.logspace(-6, 1, 40)[:, None]  # of gradients, one for each weight
    grads = scales * rng.uniform(0.5, 2, (9, 40, 1))
    for grad, expected in zip(grads, theirs(grads), strict=True):
        before = fc.to_numpy(layer.weight.data).copy()
        optimizer.zero_grad()
        layer.weight.add_grad(fc.asarray(grad))
        optimizer.step()
        ratio = (before - fc.to_numpy(layer.weight.data)) / expected
        assert low < ratio.min() <= ratio.max() < high


def without_code(text):
    return re.sub(r"```.*?```", "", text, flags=re.DOTALL)


def commands():
    lines = [line for text in PAGES.values() for line in without_code(text).splitlines()]
    return [line.strip() for line in lines if line.startswith("    ")]


def test_commands_parse():
    calls = [
        shlex.split(call)[1:] for line in commands() for call in line.split(" && ") if call.startswith("fastconv ")
    ]
    assert len(calls) == 36
    for call in calls:
        build_parser().parse_args(call)


def test_modules_that_are_run_are_there():
    pages = [*PAGES.values(), *(path.read_text() for path in (ROOT / "kernels").rglob("*.md"))]
    named = {name for text in pages for name in re.findall(r"python -m ([a-z_.]+\w)", text)}
    assert len(named) > 10
    assert not [name for name in named if importlib.util.find_spec(name) is None]


def test_test_command_is_what_ci_runs():
    (command,) = [line for line in commands() if line.endswith("pytest")]
    ci = (ROOT / ".ci" / "run").read_text()
    for part in command.split(" && "):
        assert re.search(rf'^(stage "[a-z ]+" |  ){re.escape(part)}$', ci, re.MULTILINE), part


def test_all_activations_are_in_the_table():
    (row,) = (line for line in BACKENDS.splitlines() if line.startswith("| ReLU, "))
    assert row.split(" | ")[0] == "| " + ", ".join(function.layer for function in POINTWISE.values())


def test_all_optimizers_are_in_the_table():
    (row,) = (line for line in BACKENDS.splitlines() if line.startswith("| SGD, "))
    assert row.split(" | ")[0] == "| " + ", ".join(optimizer.__name__ for optimizer in OPTIMIZERS.values())


@pytest.mark.parametrize(
    ("page", "target"),
    [
        (page.name, target)
        for page, text in PAGES.items()
        for target in sorted(set(re.findall(r"\]\(([^)#:]+)[)#]", without_code(text))))
    ],
)
def test_links_lead_somewhere(page, target):
    (path,) = [path for path in PAGES if path.name == page]
    made_with_the_site = path.stem == "index" and target == "lecture/index"
    assert made_with_the_site or (path.parent / target).exists()
