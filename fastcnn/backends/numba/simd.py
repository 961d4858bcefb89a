"""SIMD vectors as numba values: one vector type, and the few operations that a micro-kernel needs.

numba leaves loops over a fixed number of lanes scalar, so dense kernels say what they mean: ``load`` reads LANES
neighbours, ``splat`` repeats one element, ``multiply_add`` computes ``a * b + c`` in every lane. LLVM keeps the values
in registers and emits the processor's own instructions, so the code reads as Python and runs as assembly would.

Arrays are one-dimensional and C-contiguous. Indices are element offsets and are not checked.
These functions exist only in compiled code: they cannot run under ``NUMBA_DISABLE_JIT=1``.
"""

from __future__ import annotations

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model


def vector_bytes() -> int:
    """Bytes in a vector: 32 with AVX, 16 otherwise (SSE, NEON).

    On AVX-512 this stays 32: the tile of `gemm` is two vectors wide, and 32 columns of float32 would leave most of
    a tile empty at the 12 to 24 channels of small networks.
    """
    features = llvm.get_host_cpu_features()
    return 32 if features.get("avx") else 16


VECTOR_BYTES = vector_bytes()


class Vector(types.Type):
    """The numba type of a SIMD vector of float32 or float64."""

    def __init__(self, scalar: types.Float):
        self.scalar = scalar
        self.lanes = VECTOR_BYTES * 8 // scalar.bitwidth
        super().__init__(name=f"Vector({scalar}, {self.lanes})")

    @property
    def llvm_type(self) -> ir.VectorType:
        return ir.VectorType(ir.FloatType() if self.scalar.bitwidth == 32 else ir.DoubleType(), self.lanes)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager, fe_type):
        super().__init__(manager, fe_type, fe_type.llvm_type)


def lanes(array):
    """Elements of `array` in one vector; a constant to the compiler."""
    raise TypeError("lanes exists only in compiled code")


@overload(lanes)
def _lanes(array):
    count = Vector(array.dtype).lanes
    return lambda array: count


def _address(context, builder, array_type, array, index):
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def _repeat(builder, vector_type, scalar):
    """One scalar in every lane: an insertion and a shuffle, which LLVM turns into a single broadcast."""
    empty = ir.Constant(vector_type, ir.Undefined)
    first = builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(ir.IntType(32), vector_type.count), None))


@intrinsic
def load(typingctx, array, index):
    """The vector array[index : index + lanes]."""
    vector = Vector(array.dtype)

    def codegen(context, builder, signature, args):
        address = _address(context, builder, signature.args[0], *args)
        value = builder.load(builder.bitcast(address, vector.llvm_type.as_pointer()))
        value.align = vector.scalar.bitwidth // 8  # any element may start a vector
        return value

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, vector):
    """Write `vector` to array[index : index + lanes]."""

    def codegen(context, builder, signature, args):
        address = _address(context, builder, signature.args[0], args[0], args[1])
        done = builder.store(args[2], builder.bitcast(address, vector.llvm_type.as_pointer()))
        done.align = vector.scalar.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def splat(typingctx, array, index):
    """array[index] in every lane."""
    vector = Vector(array.dtype)

    def codegen(context, builder, signature, args):
        return _repeat(builder, vector.llvm_type, builder.load(_address(context, builder, signature.args[0], *args)))

    return vector(array, types.intp), codegen


@intrinsic
def multiply_add(typingctx, a, b, c):
    """a * b + c, rounded once where the processor has that instruction."""

    def codegen(context, builder, signature, args):
        # fmuladd, not fma: a processor without the instruction multiplies and adds instead of calling libm.
        name = f"llvm.fmuladd.v{a.lanes}f{a.scalar.bitwidth}"
        function_type = ir.FunctionType(a.llvm_type, [a.llvm_type] * 3)
        return builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), args)

    return a(a, b, c), codegen


@intrinsic
def add(typingctx, a, b):
    """a + b."""

    def codegen(context, builder, signature, args):
        return builder.fadd(*args)

    return a(a, b), codegen


@intrinsic
def fill(typingctx, array, value):
    """The scalar `value` in every lane, of the dtype of `array`."""
    vector = Vector(array.dtype)

    def codegen(context, builder, signature, args):
        return _repeat(builder, vector.llvm_type, args[1])

    return vector(array, array.dtype), codegen


@intrinsic
def where_larger(typingctx, value, best, a, b):
    """Lane by lane `a` where `value` is larger than `best`, or NaN and `best` is not; else `b`."""

    def codegen(context, builder, signature, args):
        larger = builder.fcmp_ordered(">", args[0], args[1])
        first_nan = builder.and_(
            builder.fcmp_unordered("uno", args[0], args[0]), builder.fcmp_ordered("ord", args[1], args[1])
        )
        return builder.select(builder.or_(larger, first_nan), args[2], args[3])

    return a(value, best, a, b), codegen


@intrinsic
def store_integers(typingctx, array, index, vector):
    """Write the lanes of `vector`, whole numbers, to array[index : index + lanes] of unsigned or signed integers."""
    integers = ir.VectorType(ir.IntType(array.dtype.bitwidth), vector.lanes)

    def codegen(context, builder, signature, args):
        address = _address(context, builder, signature.args[0], args[0], args[1])
        convert = builder.fptosi if array.dtype.signed else builder.fptoui
        done = builder.store(convert(args[2], integers), builder.bitcast(address, integers.as_pointer()))
        done.align = array.dtype.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def where_equal(typingctx, array, index, number, vector):
    """Lane by lane `vector` where the integers array[index : index + lanes] equal `number`, else 0."""
    integers = ir.VectorType(ir.IntType(array.dtype.bitwidth), vector.lanes)

    def codegen(context, builder, signature, args):
        address = _address(context, builder, signature.args[0], args[0], args[1])
        values = builder.load(builder.bitcast(address, integers.as_pointer()))
        values.align = array.dtype.bitwidth // 8
        equal = builder.icmp_unsigned("==", values, _repeat(builder, integers, args[2]))
        return builder.select(equal, args[3], ir.Constant(vector.llvm_type, None))

    return vector(array, types.intp, array.dtype, vector), codegen
