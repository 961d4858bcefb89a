"""SIMD vectors as numba values: one vector type, and the few operations that kernels need.

numba leaves loops over a fixed number of lanes scalar, so kernels say what they mean: ``load`` reads as many
neighbours as a vector has lanes, ``add`` adds lane by lane. LLVM keeps the values in registers and emits the
processor's own instructions, so the code reads as Python and runs as assembly would. The vectors of a matrix product
are in :mod:`fastcnn.backends.numba.product.tile`.

Arrays are one-dimensional and C-contiguous. Indices are element offsets and are not checked.
These functions exist only in compiled code: they cannot run under ``NUMBA_DISABLE_JIT=1``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from fastcnn.backends.numba.core.width import VECTOR_BYTES


class Vector(types.Type):
    """The numba type of a SIMD vector of float32 or float64, as wide as the processor's, or a `part`-th of that."""

    def __init__(self, scalar: types.Float, part: int = 1):
        self.scalar = scalar
        self.lanes = max(1, VECTOR_BYTES * 8 // scalar.bitwidth // part)
        super().__init__(name=f"Vector({scalar}, {self.lanes})")

    @property
    def llvm_type(self) -> ir.VectorType:
        return ir.VectorType(ir.FloatType() if self.scalar.bitwidth == 32 else ir.DoubleType(), self.lanes)


@register_model(Vector)
class VectorModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: types.Type):
        super().__init__(manager, fe_type, fe_type.llvm_type)


def lanes(array: Any) -> int:
    """Elements of `array` in one vector; a constant to the compiler."""
    raise TypeError("lanes exists only in compiled code")


@overload(lanes)
def _lanes(array):
    count = Vector(array.dtype).lanes
    return lambda array: count


def multiply_add_of(builder: ir.IRBuilder, vector: Vector) -> ir.Function:
    """LLVM's a * b + c: fmuladd, not fma, as a processor without that instruction would call libm for each lane."""
    name = f"llvm.fmuladd.v{vector.lanes}f{vector.scalar.bitwidth}"
    function_type = ir.FunctionType(vector.llvm_type, [vector.llvm_type] * 3)
    return cgutils.get_or_insert_function(builder.module, function_type, name)


def address(context: Any, builder: ir.IRBuilder, array_type: types.Array, array: ir.Value, index: ir.Value) -> ir.Value:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [index])


def vector_at(
    context: Any,
    builder: ir.IRBuilder,
    signature: Any,
    args: Sequence[ir.Value],
    llvm_type: ir.VectorType,
    position: int = 0,
    offsets: Sequence[ir.Value] = (),
) -> ir.Value:
    """The address of a vector, `offsets` elements after array[index], which are arguments from `position` on."""
    place = address(context, builder, signature.args[position], args[position], args[position + 1])
    for offset in offsets:
        place = builder.gep(place, [offset])
    return builder.bitcast(place, llvm_type.as_pointer())


def repeat(builder: ir.IRBuilder, vector_type: ir.VectorType, scalar: ir.Value) -> ir.Value:
    """One scalar in every lane: an insertion and a shuffle, which LLVM turns into a single broadcast."""
    empty = ir.Constant(vector_type, ir.Undefined)
    first = builder.insert_element(empty, scalar, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, empty, ir.Constant(ir.VectorType(ir.IntType(32), vector_type.count), None))


@intrinsic
def flat(typingctx, array):
    """``array.reshape(-1)`` of a C-contiguous array, which is a hundred cycles of numba's in every call.

    It does not keep the array alive: not to be returned, but by an `@inline` function to a caller that holds the array.
    """
    line = types.Array(array.dtype, 1, "C")

    def codegen(context, builder, signature, args):
        source = context.make_array(signature.args[0])(context, builder, args[0])
        result = context.make_array(line)(context, builder)
        for name in ("data", "nitems", "itemsize"):
            setattr(result, name, getattr(source, name))
        result.shape = cgutils.pack_array(builder, [source.nitems])
        result.strides = cgutils.pack_array(builder, [source.itemsize])
        for name in ("meminfo", "parent"):
            setattr(result, name, ir.Constant(getattr(source, name).type, None))
        return result._getvalue()

    return line(array), codegen


@intrinsic
def load(typingctx, array, index):
    """The vector array[index : index + lanes]."""
    vector = Vector(array.dtype)

    def codegen(context, builder, signature, args):
        value = builder.load(vector_at(context, builder, signature, args, vector.llvm_type))
        value.align = vector.scalar.bitwidth // 8  # any element may start a vector
        return value

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, vector):
    """Write `vector` to array[index : index + lanes]."""

    def codegen(context, builder, signature, args):
        done = builder.store(args[2], vector_at(context, builder, signature, args, vector.llvm_type))
        done.align = vector.scalar.bitwidth // 8
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen


@intrinsic
def prefetch(typingctx, array, index):
    """Ask for the cache line of array[index] to be brought to the L2 cache; an index out of bounds does no harm."""

    def codegen(context, builder, signature, args):
        byte, number = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [byte, number, number, number])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        place = builder.bitcast(address(context, builder, signature.args[0], *args), byte)
        builder.call(function, [place, number(0), number(2), number(1)])  # to read it, in L2, data
        return context.get_dummy_value()

    return types.void(array, types.intp), codegen


def masked(builder: ir.IRBuilder, name: str, result: ir.Type, *args: ir.Value) -> ir.Value:
    """LLVM's masked load or store, under the name that suits the typed pointers of old releases and the new ones."""
    vector = args[0].type if name == "store" else result
    bits = {"float": "f32", "double": "f64"}.get(str(vector.element), str(vector.element))
    kind = f"v{vector.count}{bits}"
    function_type = ir.FunctionType(result, [arg.type for arg in args])
    function = cgutils.get_or_insert_function(builder.module, function_type, f"llvm.masked.{name}.{kind}.p0{kind}")
    return builder.call(function, args)


def mask(builder: ir.IRBuilder, vector: Vector, count: ir.Value, first: int = 0) -> ir.Value:
    """Which lanes of a vector lie before `count`, where its own are numbered from `first` on."""
    lanes = ir.VectorType(ir.IntType(64), vector.lanes)
    numbers = ir.Constant(lanes, [first + i for i in range(vector.lanes)])
    return builder.icmp_signed("<", numbers, repeat(builder, lanes, count))


def whole_or_part(
    builder: ir.IRBuilder, vectors: Sequence[Vector], count: ir.Value, emit: Callable[[bool], None]
) -> None:
    """Emit code for `count` elements of some `vectors`, ``emit(whole)``: in two branches, one for whole vectors.

    Masked stores are slow without AVX-512. With it, masks have registers and cost less than a branch: pooling's
    gradient took 1.6 times as long.
    """
    if VECTOR_BYTES == 64:
        emit(False)
        return
    whole = ir.Constant(ir.IntType(64), sum(vector.lanes for vector in vectors))
    with builder.if_else(builder.icmp_signed(">=", count, whole), likely=True) as branches:
        for branch, is_whole in zip(branches, (True, False), strict=True):
            with branch:
                emit(is_whole)


def read(builder: ir.IRBuilder, vector: Vector, llvm_type: ir.VectorType, place: ir.Value, count: ir.Value) -> ir.Value:
    """Load `count` elements of a vector of `llvm_type`, as long as `vector`; 0 in the other lanes."""
    align, value = element_bytes(llvm_type), cgutils.alloca_once(builder, llvm_type)

    def emit(whole: bool) -> None:
        if whole:
            part = builder.load(place)
            part.align = align
        else:
            size, zero = ir.Constant(ir.IntType(32), align), ir.Constant(llvm_type, None)
            part = masked(builder, "load", llvm_type, place, size, mask(builder, vector, count), zero)
        builder.store(part, value)

    whole_or_part(builder, [vector], count, emit)
    return builder.load(value)


def write(builder: ir.IRBuilder, vector: Vector, value: ir.Value, place: ir.Value, count: ir.Value) -> None:
    """Store the first `count` elements of `value`, a vector as long as `vector`."""
    align = element_bytes(value.type)

    def emit(whole: bool) -> None:
        if whole:
            builder.store(value, place).align = align
        else:
            size = ir.Constant(ir.IntType(32), align)
            masked(builder, "store", ir.VoidType(), value, place, size, mask(builder, vector, count))

    whole_or_part(builder, [vector], count, emit)


def element_bytes(llvm_type: ir.VectorType) -> int:
    return {"float": 4, "double": 8, "i8": 1, "i32": 4}[str(llvm_type.element)]


@intrinsic
def load_part(typingctx, array, index, count):
    """array[index : index + count] in the first lanes, 0 in the others; nothing beyond is read."""
    vector = Vector(array.dtype)

    def codegen(context, builder, signature, args):
        place = vector_at(context, builder, signature, args, vector.llvm_type)
        return read(builder, vector, vector.llvm_type, place, args[2])

    return vector(array, types.intp, types.intp), codegen


@intrinsic
def store_part(typingctx, array, index, vector, count):
    """Write the first `count` lanes to array[index : index + count]."""

    def codegen(context, builder, signature, args):
        write(builder, vector, args[2], vector_at(context, builder, signature, args, vector.llvm_type), args[3])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), codegen


@intrinsic
def stream(typingctx, array, index, vector):
    """Write `vector` past the caches, to a place that is a multiple of the vector's bytes.

    A normal store first reads the line that it writes to. That is half of the traffic of a large array, which would
    leave the caches before anybody reads it.
    """

    def codegen(context, builder, signature, args):
        done = builder.store(args[2], vector_at(context, builder, signature, args, vector.llvm_type))
        done.align = vector.lanes * vector.scalar.bitwidth // 8
        done.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(array, types.intp, vector), codegen
