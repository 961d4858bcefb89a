"""Arithmetic of SIMD vectors, lane by lane. Requires numba. The vectors: :mod:`fastcnn.backends.numba.core.vectors`."""

from __future__ import annotations

from numba.extending import intrinsic

from fastcnn.backends.numba.core.vectors import Vector, multiply_add_of, repeat


@intrinsic
def add(typingctx, a, b):
    """a + b."""

    def codegen(context, builder, signature, args):
        return builder.fadd(*args)

    return a(a, b), codegen


@intrinsic
def subtract(typingctx, a, b):
    """a - b."""

    def codegen(context, builder, signature, args):
        return builder.fsub(*args)

    return a(a, b), codegen


@intrinsic
def multiply(typingctx, a, b):
    """a * b."""

    def codegen(context, builder, signature, args):
        return builder.fmul(*args)

    return a(a, b), codegen


@intrinsic
def multiply_add(typingctx, a, b, c):
    """a * b + c, rounded once where the processor has that instruction."""

    def codegen(context, builder, signature, args):
        return builder.call(multiply_add_of(builder, a), args)

    return a(a, b, c), codegen


@intrinsic
def fill_like(typingctx, vector, value):
    """The number `value` in every lane."""

    def codegen(context, builder, signature, args):
        scalar = context.cast(builder, args[1], signature.args[1], vector.scalar)
        return repeat(builder, vector.llvm_type, scalar)

    return vector(vector, value), codegen


@intrinsic
def at_least(typingctx, a, low):
    """Lane by lane `low` where a is below it, else a; NaN stays."""

    def codegen(context, builder, signature, args):
        return builder.select(builder.fcmp_ordered("<", *args), args[1], args[0])

    return a(a, low), codegen


@intrinsic
def divide(typingctx, a, b):
    """a / b."""

    def codegen(context, builder, signature, args):
        return builder.fdiv(*args)

    return a(a, b), codegen


@intrinsic
def fill(typingctx, array, value):
    """The scalar `value` in every lane, of the dtype of `array`."""
    vector = Vector(array.dtype)

    def codegen(context, builder, signature, args):
        return repeat(builder, vector.llvm_type, args[1])

    return vector(array, array.dtype), codegen
