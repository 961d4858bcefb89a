"""Compiled functions that all kernels share, by name (see `jit.linked`). Requires numba.

numba puts a function into each kernel that calls it, and LLVM then optimizes it again with each of them: the loop over
register tiles took a tenth of the first LeNet step. These are compiled once for each signature. Their callers know them
by a symbol, as they know functions of the C library, and what is kept of a caller on disk says which functions must be
in memory before it is (see `KernelCache.load_overload`).
"""

import hashlib
import importlib
import inspect
from collections.abc import Callable
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils
from numba.core.compiler import CompileResult
from numba.extending import intrinsic

PREFIX = "fastcnn_linked_"  # of the symbols
Link = tuple[str, str, tuple]  # the module of a function, its name, and the types of its arguments

known: dict[str, tuple[Link, CompileResult]] = {}  # what each symbol stands for

SOURCE = """
def {name}(typingctx, {parameters}):
    return _resolve(({parameters},))
"""


def by_name(function: Callable, compiled: Any) -> Any:
    """What kernels call instead of `compiled`, numba's dispatcher for `function`."""
    module, name = function.__module__, function.__name__

    def resolve(kinds: tuple) -> tuple:
        compiled.compile(kinds)
        result = compiled.overloads[kinds]
        symbol = PREFIX + name + "_" + hashlib.sha256(repr((module, kinds)).encode()).hexdigest()[:16]
        if symbol not in known:
            known[symbol] = (module, name, kinds), result
            llvm.add_symbol(symbol, result.library.get_pointer_to_function(result.fndesc.llvm_func_name))

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, args: Any) -> ir.Value:
            returned, conventions = signature.return_type, context.call_conv
            kind = conventions.get_function_type(returned, signature.args)
            callee = cgutils.get_or_insert_function(builder.module, kind, symbol)
            status, value = conventions.call_function(builder, callee, returned, signature.args, args)
            with cgutils.if_unlikely(builder, status.is_error):
                conventions.return_status_propagate(builder, status)
            return value

        return result.signature, codegen

    scope: dict[str, Any] = {"_resolve": resolve, "__name__": module}
    exec(SOURCE.format(name=name, parameters=", ".join(inspect.signature(function).parameters)), scope)
    call = intrinsic(scope[name])
    call.resolve = resolve
    return call


def links_of(result: CompileResult) -> list[Link]:
    """What must be in memory before the machine code of `result` is."""
    return [known[one.name][0] for one in result.library._final_module.functions if one.name.startswith(PREFIX)]


def load(links: list[Link]) -> None:
    """Compile the functions that some machine code calls by name, or load them."""
    for module, name, kinds in links:
        getattr(importlib.import_module(module), name).resolve(kinds)
