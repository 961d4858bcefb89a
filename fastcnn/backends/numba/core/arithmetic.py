"""Arithmetic of SIMD vectors, lane by lane. Requires numba. The vectors: :mod:`fastcnn.backends.numba.core.vectors`."""

from typing import Any

from numba.extending import intrinsic

from fastcnn.backends.numba.core.vectors import Vector, repeat


def of_two(name: str) -> Any:
    """The function of two vectors that is LLVM's instruction `name`, in compiled code."""

    @intrinsic
    def operation(typingctx, a, b):
        return a(a, b), lambda context, builder, signature, args: getattr(builder, name)(*args)

    return operation


add, subtract, multiply, divide = of_two("fadd"), of_two("fsub"), of_two("fmul"), of_two("fdiv")


@intrinsic
def at_least(typingctx, a, low):
    """Lane by lane `low` where a is below it, else a; NaN stays."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<", *args), args[1], args[0])

    return a(a, low), codegen


@intrinsic
def fill(typingctx, array, value):
    """The scalar `value` in every lane, of the dtype of `array`."""
    vector = Vector(array.dtype)
    return vector(array, array.dtype), lambda context, builder, signature, args: repeat(
        builder, vector.llvm_type, args[1]
    )
