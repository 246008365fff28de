"""TABLE and the kernels that exist are the same list."""

import importlib
import inspect
import pkgutil

import pytest

from fastconv.backends.contract.normalisation import Normalisations
from fastconv.backends.cpu.backend import NumbaBackend
from tests.backends.op_case import FUSED, OPERATIONS

cpu = pytest.importorskip("fastconv.kernels.cpu")


def _values(module):
    """What a module holds, by itself or in a dictionary of kernels by the names of functions."""
    for value in vars(module).values():
        yield from value.values() if isinstance(value, dict) else (value,)


def _kernels():
    found = {}
    for module_info in pkgutil.walk_packages(cpu.__path__, f"{cpu.__name__}."):
        module = importlib.import_module(module_info.name)
        for value in _values(module):
            function = getattr(value, "function", None)
            if inspect.isfunction(function) and hasattr(value, "py_func"):
                found[id(value)] = function.__name__
    return found


def test_every_operation_of_the_contract_is_listed():
    assert set(cpu.TABLE) == OPERATIONS


def test_fusions_listed_are_those_that_the_backend_has_natively():
    native = {name for name in FUSED if getattr(NumbaBackend, name) is not getattr(Normalisations, name)}
    assert set(cpu.TABLE) & FUSED == native
    assert native == FUSED  # an operation that is only composed would be no faster than its parts


def test_every_listed_kernel_exists():
    for operation, names in cpu.TABLE.items():
        for name in names:
            module_name, _, function_name = name.rpartition(".")
            module = importlib.import_module(f"{cpu.__name__}.{module_name}")
            functions = (getattr(value, "function", None) for value in _values(module))
            assert function_name in {getattr(function, "__name__", "") for function in functions}, (operation, name)


def test_every_kernel_is_listed():
    listed = {name.rpartition(".")[2] for names in cpu.TABLE.values() for name in names}
    # Kernels made by a factory carry their own name, not the factory's module.
    existing = set(_kernels().values())
    assert existing == listed
