"""Tasks that threads take one by one. Requires numba.

numba gives each thread an equal share of a ``prange`` beforehand. On a machine where something else runs too, or whose
cores are not alike, all then wait for the slowest. Kernels run one iteration for each thread instead, which takes
the next task until none is left:

    counter = np.zeros(1, np.int64)
    for it in prange(threads):
        thread, task = np.int64(it), next_task(counter)
        while task < count:
            ...
            task = next_task(counter)

Who does a task does not change its result, so results stay the same bit for bit.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcnn.backends.numba.simd import address


@intrinsic
def next_task(typingctx, counter):
    """counter[0], and add 1 to it: one atomic operation."""

    def codegen(context, builder, signature, args):
        first = address(context, builder, signature.args[0], args[0], ir.Constant(ir.IntType(64), 0))
        return builder.atomic_rmw("add", first, ir.Constant(ir.IntType(64), 1), "monotonic")

    return types.int64(counter), codegen
