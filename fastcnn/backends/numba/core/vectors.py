"""SIMD vectors as numba values: one vector type, and the few operations that kernels need.

numba leaves loops over a fixed number of lanes scalar, so kernels say what they mean: ``load`` reads as many
neighbours as a vector has lanes, ``add`` adds lane by lane. LLVM keeps the values in registers and emits the
processor's own instructions, so the code reads as Python and runs as assembly would. The vectors of a matrix product
are in :mod:`fastcnn.backends.numba.product.tile`.

Arrays are one-dimensional and C-contiguous. Indices are element offsets and are not checked.
These functions exist only in compiled code: they cannot run under ``NUMBA_DISABLE_JIT=1``.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, overload, register_model

from fastcnn.backends.numba.core.memory import ALIGNMENT
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


def line_elements(array: Any) -> int:
    """Elements of `array` in a cache line; a constant to the compiler."""
    raise TypeError("line_elements exists only in compiled code")


@overload(line_elements)
def _line_elements(array):
    count = ALIGNMENT * 8 // array.dtype.bitwidth
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


def count_nothing(array: Any) -> None:
    """Let an array, in compiled code, count no references."""
    for name in ("meminfo", "parent"):
        setattr(array, name, ir.Constant(getattr(array, name).type, None))


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
        count_nothing(result)
        return result._getvalue()

    return line(array), codegen


@intrinsic
def load(typingctx, array, index):
    """The vector array[index : index + lanes]."""
    vector = Vector(array.dtype)

    def codegen(context, builder, signature, args):
        return load_vector(builder, vector.llvm_type, vector_at(context, builder, signature, args, vector.llvm_type))

    return vector(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, vector):
    """Write `vector` to array[index : index + lanes]."""

    def codegen(context, builder, signature, args):
        store_vector(builder, args[2], vector_at(context, builder, signature, args, vector.llvm_type))
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


def mask(builder: ir.IRBuilder, count: ir.Value, lanes: int, first: int = 0) -> ir.Value:
    """Which of a vector's `lanes`, numbered from `first` on, lie before `count`."""
    numbers = ir.VectorType(ir.IntType(64), lanes)
    return builder.icmp_signed(
        "<", ir.Constant(numbers, list(range(first, first + lanes))), repeat(builder, numbers, count)
    )


def load_vector(
    builder: ir.IRBuilder, vector_type: ir.VectorType, place: ir.Value, some: ir.Value | None = None
) -> ir.Value:
    """The vector at an address, which any element may begin at; of `some` lanes, a mask, and 0 in the others."""
    size = element_bytes(vector_type)
    if some is None:
        value = builder.load(place)
        value.align = size
        return value
    return masked(builder, "load", vector_type, place, ir.IntType(32)(size), some, ir.Constant(vector_type, None))


def store_vector(builder: ir.IRBuilder, value: ir.Value, place: ir.Value, some: ir.Value | None = None) -> None:
    """Write a vector, or `some` of its lanes, to an address."""
    size = element_bytes(value.type)
    if some is None:
        builder.store(value, place).align = size
    else:
        masked(builder, "store", ir.VoidType(), value, place, ir.IntType(32)(size), some)


def whole_or_part(builder: ir.IRBuilder, count: ir.Value, lanes: int, emit: Callable[[Callable], object]) -> None:
    """Emit code for `count` elements of vectors with so many `lanes`. It is made by ``emit(some)``, where
    ``some(lanes, first)`` is the mask of a vector whose lanes are numbered from `first` on; or None, in a branch of its
    own for whole vectors.

    Masked stores are slow without AVX-512. With it, masks have registers and cost less than a branch: pooling's
    gradient took 1.6 times as long.
    """
    some, every = functools.partial(mask, builder, count), lambda lanes, first=0: None
    if VECTOR_BYTES == 64:
        emit(some)
        return
    with builder.if_else(builder.icmp_signed(">=", count, ir.IntType(64)(lanes)), likely=True) as (whole, part):
        with whole:
            emit(every)
        with part:
            emit(some)


def read(builder: ir.IRBuilder, vector_type: ir.VectorType, place: ir.Value, count: ir.Value) -> ir.Value:
    """Load the first `count` elements of a vector; 0 in the other lanes."""
    value, lanes = cgutils.alloca_once(builder, vector_type), vector_type.count

    def emit(some: Callable) -> None:
        builder.store(load_vector(builder, vector_type, place, some(lanes)), value)

    whole_or_part(builder, count, lanes, emit)
    return builder.load(value)


def write(builder: ir.IRBuilder, value: ir.Value, place: ir.Value, count: ir.Value) -> None:
    """Store the first `count` elements of a vector."""
    lanes = value.type.count
    whole_or_part(builder, count, lanes, lambda some: store_vector(builder, value, place, some(lanes)))


def element_bytes(vector_type: ir.VectorType) -> int:
    return {"float": 4, "double": 8, "i8": 1, "i32": 4}[str(vector_type.element)]


@intrinsic
def load_part(typingctx, array, index, count):
    """array[index : index + count] in the first lanes, 0 in the others; nothing beyond is read."""
    vector = Vector(array.dtype)

    def codegen(context, builder, signature, args):
        place = vector_at(context, builder, signature, args, vector.llvm_type)
        return read(builder, vector.llvm_type, place, args[2])

    return vector(array, types.intp, types.intp), codegen


@intrinsic
def store_part(typingctx, array, index, vector, count):
    """Write the first `count` lanes to array[index : index + count]."""

    def codegen(context, builder, signature, args):
        write(builder, args[2], vector_at(context, builder, signature, args, vector.llvm_type), args[3])
        return context.get_dummy_value()

    return types.void(array, types.intp, vector, types.intp), codegen
