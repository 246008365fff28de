"""What is compiled, and how often: each kernel once.

Numba makes every function that another one calls callable by itself as well: it is optimised and turned into machine
code, and optimised again inside each of its callers. For a kernel made of many small functions that is most of the time
of its compilation. Here the parts of a kernel are typed and lowered, no more; all of them, each once, are linked into
the function that Python calls, and that one is optimised and coded, in one run of LLVM's passes. Numba's other runs,
for counts of references and for vectors, are left out: kernels of this package are compiled without counts, and leave
no loops to a vectoriser. A cold step of resnet20 came down from 85 to 40 s so (Zen 3, 210 functions). Linking the parts
only at the end, not each into its callers on the way there, took another tenth off (Zen 5, "fast": 33 to 30 s, and 1.0
to 0.6 GB).

It builds on `numba.core`: on the lowering pass, and on the class of code libraries.
"""

import contextlib
import gc
import inspect
import os

import numba
from llvmlite import binding as llvm
from numba.core import types
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_lock import global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.registry import CPUDispatcher
from numba.core.typed_passes import DumpParforDiagnostics, InlineOverloads, NativeLowering, NopythonRewrites
from numba.core.untyped_passes import (
    FindLiterallyCalls,
    InlineClosureLikes,
    InlineInlinables,
    LiteralUnroll,
    MakeFunctionToJitFunction,
    WithLifting,
)

from .cache import KernelCache
from .settings import bounds_checked

OPTIONS = {"nogil": True, "error_model": "numpy", "boundscheck": bounds_checked()}
_PACKAGE = __name__.removesuffix(".cpu.runtime.compiler")

# A process that is forked while another thread compiles would wait for that thread for ever, at its first kernel, and
# LLVM would be in the midst of something: forking waits for what is being compiled.
os.register_at_fork(
    before=global_compiler_lock.acquire,
    after_in_parent=global_compiler_lock.release,
    after_in_child=global_compiler_lock.release,
)


def _options(function):
    """Return Numba's options: without counts of references in functions of this package, which allocate nothing.

    A count for an array that is taken out of a tuple was a call in the innermost loop, around which vectors went to
    memory and back: over 1.25 million parameters SGD takes half the time without, RMSProp 0.6 and Adam 0.8 of it
    (Cascade Lake, two threads); compiling a step of resnet20 0.85. A kernel that is declared elsewhere may allocate.
    """
    return OPTIONS | {"_nrt": not _is_ours(function)}


def _is_ours(function):
    """Tell whether a function is of this package."""
    return f"{function.__module__}.".startswith(f"{_PACKAGE}.")


class NeedsInterpreterError(TypeError):
    """A kernel asks for Python's interpreter, which the threads that share its tasks run without."""


class _PartLibrary(JITCodeLibrary):
    """Code of one function, to be linked into other code; what it calls itself is linked beside it."""

    def add_llvm_module(self, ll_module):
        ll_module.data_layout = self._codegen._data_layout
        self._final_module.link_in(ll_module)

    def finalize(self):
        self._raise_if_finalized()
        for function in self._final_module.functions:
            if not function.is_declaration and function.linkage == llvm.Linkage.external:
                function.linkage = "linkonce_odr"
        self._finalized = True

    def _get_module_for_linking(self):
        """Return the function with its parts, for a caller that Numba compiles in its own way."""
        if self._shared_module is None:
            self._shared_module = self._final_module.clone()
            _link_all(self._shared_module, self._linking_libraries)
        return self._shared_module


class _WholeLibrary(JITCodeLibrary):
    """Code that Python calls."""

    add_llvm_module = _PartLibrary.add_llvm_module

    def finalize(self):
        self._raise_if_finalized()
        libraries = _link_all(self._final_module, self._linking_libraries)
        _refuse_interpreter(self._final_module, libraries)
        self._linking_libraries = []
        super().finalize()

    def _optimize_final_module(self):
        passes, builder = self._codegen._module_pass_manager(loop_vectorize=False, slp_vectorize=False)
        with self._recorded_timings.record("Module passes", builder):
            passes.run(self._final_module, builder)


def _link_all(module, libraries):
    """Link libraries, and all that parts among them are made of, each once.

    A part comes before its own, in order: what nobody refers to yet would be dropped. So libraries of Numba, which all
    may refer to, come last. LLVM spends registers by this order too. Returns all that was linked.
    """
    linked = {}
    left = list(libraries)[::-1]
    while left:
        library = left.pop()
        if library in linked:
            continue
        linked[library] = isinstance(library, _PartLibrary)
        if linked[library]:
            left += library._linking_libraries[::-1]
            module.link_in(library._final_module, preserve=True)
    for library, part_of_ours in linked.items():
        if not part_of_ours:
            module.link_in(library._get_module_for_linking(), preserve=True)
    return list(linked)


def _calls_interpreter(module):
    """Tell whether code takes the interpreter's lock and gives it back: print, objmode, calls of Python's functions.

    BLAS and LAPACK as Numba calls them take it only to end the process, and never give it back.
    """
    try:
        module.get_function("numba_gil_release")
    except NameError:
        return False
    return True


def _refuse_interpreter(module, libraries):
    """Raise where linked code needs the interpreter: threads that wait for its lock there may wait for ever."""
    if not _calls_interpreter(module):
        return
    names = sorted({lib.name for lib in libraries if _calls_interpreter(lib._final_module)})
    raise NeedsInterpreterError(
        f"kernel: got code that calls Python's interpreter, in {', '.join(names)}; allowed: what runs without it, so"
        " neither print nor objmode; write to an array, and print that after the launch"
    )


@register_pass(mutates_CFG=True, analysis_only=False)
class _PartLowering(NativeLowering):
    """Lowering of a function that is a part of another one."""

    _name = "part_lowering"

    def run_pass(self, state):
        state.library = _PartLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        flags = state.flags
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        super().run_pass(state)

        # Callers find compiled code by its entry point, an object of its own for each.
        def entry_point(*arguments):
            raise TypeError(f"{state.func_id.func_qualname} is a part of kernels, for them to call")

        state.targetctx.insert_user_function(entry_point, state["cr"].fndesc, [state.library])
        state["cr"] = state["cr"]._replace(cfunc=entry_point)
        return True


@register_pass(mutates_CFG=True, analysis_only=False)
class _WholeLowering(NativeLowering):
    """Lowering of a function with all its parts."""

    _name = "whole_lowering"

    def run_pass(self, state):
        state.library = _WholeLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        state.flags.no_cfunc_wrapper = True  # it is for callers in C
        return super().run_pass(state)


@contextlib.contextmanager
def _collector_paused():
    """Within this, Python looks for no cycles among objects.

    Each search goes through all that the compiler keeps: a tenth of the time of a cold step.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


# Passes for closures, for functions that Numba copies into their callers, for literals that are asked for, for loops
# left to Python and for expressions over whole arrays. Kernels of this package have none of these, and each pass goes
# through all of a function: a cold step of resnet20 takes 0.9 of its time without them, to machine code of the same
# length, kernel by kernel (Ice Lake, alternated).
_UNUSED = (WithLifting, InlineClosureLikes, MakeFunctionToJitFunction, InlineInlinables, FindLiterallyCalls)
_UNUSED += (LiteralUnroll, InlineOverloads, NopythonRewrites, DumpParforDiagnostics)


def _make_pipeline(lowering):
    class Pipeline(CompilerBase):
        """Numba's pipeline with another lowering."""

        def compile_extra(self, function):
            with _collector_paused():
                return super().compile_extra(function)

        def define_pipelines(self):
            manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
            unused = _UNUSED if _is_ours(self.state.func_id.func) else ()
            manager.passes = [
                (lowering if p is NativeLowering else p, text) for p, text in manager.passes if p not in unused
            ]
            manager.finalize()
            return [manager]

    return Pipeline


_PartPipeline, _WholePipeline = _make_pipeline(_PartLowering), _make_pipeline(_WholeLowering)


def part(function, **options):
    """Make a function that kernels call, compiled for plain types: a number written in the code is one like any other.

    Numba would compile it anew for each such number, which has a type of its own.
    """
    dispatcher = numba.njit(pipeline_class=_PartPipeline, **_options(function), **options)(function)
    template_of = dispatcher.get_call_template

    def get_call_template(arguments, keywords):
        plain = {name: types.unliteral(kind) for name, kind in keywords.items()}
        return template_of(tuple(map(types.unliteral, arguments)), plain)

    def add_overload(result):  # Numba's own also tells its dispatcher in C, which wants machine code
        dispatcher.overloads[tuple(result.signature.args)] = result

    dispatcher.get_call_template, dispatcher.add_overload = get_call_template, add_overload
    return dispatcher


def chosen_by_types(choose):
    """Make a function that kernels call and that stands for others, made by `part`: ``choose(types of arguments)``."""

    def nothing():
        pass

    dispatcher = part(nothing)
    dispatcher.get_call_template = lambda arguments, keywords: choose(arguments).get_call_template(arguments, keywords)
    dispatcher.get_overload = lambda arguments: choose(arguments).get_overload(arguments)
    return dispatcher


def whole(function):
    """Make a function that Python calls, compiled with all its parts."""
    return numba.njit(pipeline_class=_WholePipeline, **_options(function))(function)


class LaunchedKernel(CPUDispatcher):
    """What `launch` takes. Called like a function, it would write its arguments to the address that `begin` is."""

    def __repr__(self):
        return f"<kernel {self.function.__name__}{inspect.signature(self.function)}>"

    def __reduce__(self):  # by its name, as functions are: another process has it from its own import of the module
        return self.function.__qualname__

    def get_call_template(self, arguments, keywords):  # asked for by the compiler, of a call in another kernel
        name = self.function.__name__
        raise TypeError(f"{name}: got a call of a kernel in a kernel; allowed: there, a function made by `device`")

    def __call__(self, *arguments, **named):
        name = self.function.__name__
        allowed = f"launch({name}, tasks, *arguments), or {name}.function(begin, end, *arguments) in Python"
        raise TypeError(f"{name}: got a call of a kernel; allowed: {allowed}")


class OwnKernel(LaunchedKernel):
    """One that is declared outside of this package: its arrays are looked at before each launch."""


CALL = CPUDispatcher.__call__
"""Calls a `LaunchedKernel` with the address for its arguments before these."""


def compiled_now(signature):
    """Compile a function for these types when it is defined, or take it from the disk: for those that Python calls."""

    def decorate(function):
        dispatcher = whole(function)
        dispatcher._cache = KernelCache(function)
        dispatcher.compile(signature)
        dispatcher.disable_compile()
        return dispatcher

    return decorate
