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
def sum_lanes(typingctx, a, b):
    """The sum of all lanes of a, and that of b.

    Their halves are put into one vector, and both are summed together by half as many instructions: what lies in the
    upper half of the lanes that are left is added to the lower one until there is one.
    """

    def codegen(context, builder, signature, args):
        number, half = ir.IntType(32), a.lanes // 2
        if a.lanes == 1:
            return context.make_tuple(
                builder, signature.return_type, [builder.extract_element(x, number(0)) for x in args]
            )

        def chosen(first, second, lanes):
            return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(number, len(lanes)), lanes))

        low, upper = list(range(half)), list(range(half, a.lanes))
        total = builder.fadd(
            chosen(*args, low + [a.lanes + i for i in low]), chosen(*args, upper + [a.lanes + i for i in upper])
        )
        while half > 1:
            half //= 2
            total = builder.fadd(total, chosen(total, total, [i ^ half for i in range(a.lanes)]))
        sums = [builder.extract_element(total, number(i)) for i in (0, a.lanes // 2)]
        return context.make_tuple(builder, signature.return_type, sums)

    return types.UniTuple(a.scalar, 2)(a, b), codegen
