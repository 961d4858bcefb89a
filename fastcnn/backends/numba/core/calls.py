"""Compiled functions that kernels call by their addresses (see `jit.by_address`). Requires numba.

A kernel that held the code of everything it may be asked for would take seconds more to compile for each of them.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcnn.backends.numba.core.vectors import address


@intrinsic
def call(typingctx, function, places, numbers):
    """Call the function at the address `function`: a pointer for each of `places`, which are (array, index of an
    element), then the integers `numbers`."""

    def codegen(context, builder, signature, args):
        def pointer(k):
            array, index = (builder.extract_value(builder.extract_value(args[1], k), i) for i in (0, 1))
            return address(context, builder, signature.args[1][k][0], array, index)

        values = [pointer(k) for k in range(len(places))]
        values += [builder.extract_value(args[2], i) for i in range(len(numbers))]
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in values])
        builder.call(builder.inttoptr(args[0], kind.as_pointer()), values)
        return context.get_dummy_value()

    elements = types.Tuple([types.Tuple((place[0], types.intp)) for place in places])
    return types.void(types.intp, elements, types.UniTuple(types.intp, len(numbers))), codegen
