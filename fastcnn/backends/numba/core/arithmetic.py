"""Arithmetic of SIMD vectors, lane by lane. Requires numba. The vectors: :mod:`fastcnn.backends.numba.core.vectors`."""

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcnn.backends.numba.core.vectors import Vector, mask, multiply_add_of, repeat


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


@intrinsic
def multiply_add(typingctx, a, b, c):
    """a * b + c, rounded once where the processor can."""

    def codegen(context, builder, signature, args):
        return builder.call(multiply_add_of(builder, a), args)

    return a(a, b, c), codegen


@intrinsic
def first_lanes(typingctx, a, count):
    """The first `count` lanes of a, and 0 in the others."""

    def codegen(context, builder, signature, args):
        zero = ir.Constant(a.llvm_type, None)
        return builder.select(mask(builder, args[1], a.lanes), args[0], zero)

    return a(a, types.intp), codegen


@intrinsic
def sum_lanes(typingctx, a):
    """The sum of all lanes, a scalar: the upper half is added to the lower one until there is one lane."""

    def codegen(context, builder, signature, args):
        total, lanes, number = args[0], a.lanes, ir.IntType(32)
        while lanes > 1:
            lanes //= 2
            half = ir.VectorType(number, lanes)
            low, high = (
                builder.shuffle_vector(total, total, ir.Constant(half, list(range(start, start + lanes))))
                for start in (0, lanes)
            )
            total = builder.fadd(low, high)
        return builder.extract_element(total, number(0))

    return a.scalar(a), codegen
