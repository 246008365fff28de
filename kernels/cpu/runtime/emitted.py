"""Functions of Numba code that are written as the LLVM code that a call of them becomes."""

import functools
import inspect

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

I32, I64 = ir.IntType(32), ir.IntType(64)


def call(builder, name, returns, arguments):
    """Emit the call of a function by its name, most often one of LLVM's own."""
    function_type = ir.FunctionType(returns, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), arguments)


def emitted(define=None, *, constants=False, doc=None):
    """Make a function that kernels call; ``define(*types)`` returns its signature and what emits a call's code.

    That takes the builder and the values of the arguments and returns the result, which nobody reads where the
    signature has none. With `constants`, the type of a number written in the code is a literal one. `doc` is for
    several that have one `define`.
    """
    if define is None:
        return functools.partial(emitted, constants=constants, doc=doc)

    def typing(typingctx, *arguments):
        signature, emit = define(*arguments)

        def codegen(context, builder, sig, args):
            value = emit(builder, *args)
            return context.get_dummy_value() if sig.return_type == types.void else value

        return signature, codegen

    functools.update_wrapper(typing, define)
    names = inspect.signature(define).parameters.values()
    first = inspect.Parameter("typingctx", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    typing.__signature__ = inspect.Signature([first, *names])  # Numba leaves the first one out
    typing.__doc__ = doc or define.__doc__
    return intrinsic(prefer_literal=constants)(typing)
