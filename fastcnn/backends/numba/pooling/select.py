"""Choosing between SIMD vectors lane by lane, and the integers that say what was chosen: what pooling needs.

Requires numba. The vectors themselves are in :mod:`fastcnn.backends.numba.core.vectors`.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic, register_model

from fastcnn.backends.numba.core.vectors import VectorModel, read, repeat, vector_at, write


class Integers(types.Type):
    """The numba type of as many integers as a vector has lanes."""

    def __init__(self, integer: types.Integer, lanes: int):
        self.llvm_type = ir.VectorType(ir.IntType(integer.bitwidth), lanes)
        super().__init__(name=f"Integers({integer}, {lanes})")


register_model(Integers)(VectorModel)


@intrinsic
def where_larger(typingctx, value, best, a, b):
    """Lane by lane `a` where `value` is larger than `best`, or NaN and `best` is not; else `b`."""

    def codegen(context, builder, signature, args):
        larger_or_nan = builder.fcmp_unordered(">", args[0], args[1])
        return builder.select(builder.and_(larger_or_nan, builder.fcmp_ordered("ord", args[1], args[1])), *args[2:])

    return a(value, best, a, b), codegen


@intrinsic
def where_passes(typingctx, largest, first, a, b):
    """Lane by lane `a` where a ReLU before a maximum lets the gradient pass, else `b`.

    `largest` is the maximum of max(x, 0) over a window, `first` the first x: the maximum is above 0, or 0 and x too.
    """

    def codegen(context, builder, signature, args):
        zero = ir.Constant(largest.llvm_type, None)
        at_zero = builder.and_(builder.fcmp_ordered(">=", args[0], zero), builder.fcmp_ordered(">=", args[1], zero))
        return builder.select(builder.or_(builder.fcmp_ordered(">", args[0], zero), at_zero), *args[2:])

    return a(largest, first, a, b), codegen


@intrinsic
def store_integers(typingctx, array, index, vector, count):
    """Write the first `count` lanes, whole numbers, to array[index : index + count] of integers."""
    integers = ir.VectorType(ir.IntType(array.dtype.bitwidth), vector.lanes)

    def codegen(context, builder, signature, args):
        place = vector_at(context, builder, signature, args, integers)
        convert = builder.fptosi if array.dtype.signed else builder.fptoui
        write(builder, convert(args[2], integers), place, args[3])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), codegen


@intrinsic
def load_integers(typingctx, array, index, vector, count):
    """array[index : index + count] of integers, as many lanes as `vector` has."""
    integers = Integers(array.dtype, vector.lanes)

    def codegen(context, builder, signature, args):
        place = vector_at(context, builder, signature, args, integers.llvm_type)
        return read(builder, integers.llvm_type, place, args[3])

    return integers(array, types.intp, vector, types.intp), codegen


@intrinsic
def where_equal(typingctx, integers, number, vector):
    """Lane by lane `vector` where `integers` equal `number`, else 0."""

    def codegen(context, builder, signature, args):
        lanes = signature.args[0].llvm_type
        number = builder.trunc(args[1], lanes.element)
        equal = builder.icmp_unsigned("==", args[0], repeat(builder, lanes, number))
        return builder.select(equal, args[2], ir.Constant(vector.llvm_type, None))

    return vector(integers, types.int64, vector), codegen
