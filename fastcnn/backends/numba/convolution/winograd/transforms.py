"""Transforms of tiles, M d M', as machine code made from a matrix. Requires numba.

A transform is compiled once for each algorithm that is used, and kernels call it by its address.

All transforms are one function: load a grid of vectors, multiply with a matrix from each side, store a grid of vectors.
What differs are the matrices, and how elements lie: in a grid, as pixels do, or numbered, as transformed elements
do (see `Side`). Values stay with the compiler, which spills what registers cannot hold: kept in an array of the
caller's between rows and columns, the 6 x 6 of F(4,3) took a fifth longer.
"""

from __future__ import annotations

import functools
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcnn.backends.numba.convolution.winograd import table
from fastcnn.backends.numba.convolution.winograd.lines import Operations, multiply, program
from fastcnn.backends.numba.convolution.winograd.matrices import Matrix, transposed
from fastcnn.backends.numba.convolution.winograd.table import Algorithm
from fastcnn.backends.numba.core.jit import by_address
from fastcnn.backends.numba.core.vectors import Vector, load_vector, mask, multiply_add_of, store_vector
from fastcnn.windows import Pair

INDEX = ir.IntType(64)


class Side(NamedTuple):
    """Where the elements (i, j) of a grid of vectors lie, with two strides a and b that the caller gives.

    In a grid, at ``i * a + j * b``. Numbered, at ``number * a + group * b``, by the numbers and groups of products. A
    grid is an image or weights, whose last vector may be `masked`; what is numbered is memory of ours, whole vectors.
    """

    places: dict[tuple[int, int], tuple[int, int]]
    masked: bool

    @staticmethod
    def grid(sizes: Pair) -> Side:
        return Side({(i, j): (i, j) for i in range(sizes[0]) for j in range(sizes[1])}, True)

    @staticmethod
    def numbered(algorithm: Algorithm, sizes: Pair) -> Side:
        """Products, or where there are as many elements as groups, these: one is then as good as its group."""
        rows, columns = algorithm.down.groups, algorithm.across.groups
        if sizes != (len(rows), len(columns)):
            return Side({(i, j): (i * sizes[1] + j,) * 2 for i in range(sizes[0]) for j in range(sizes[1])}, False)
        side = len(set(columns))
        return Side({(i, j): (n, rows[i] * side + columns[j]) for n, (i, j) in enumerate(algorithm.order)}, False)


class Transform(NamedTuple):
    """The matrices that rows and columns are multiplied with, from the left and, transposed, from the right; the places
    of what is read and written, and what else is done: 'rectify' takes max(d, 0) of what is read, 'bias' adds a vector
    to all that is written, 'sum' adds the sum of all that is read to a vector."""

    down: Matrix
    across: Matrix
    source: Side
    target: Side
    extra: str = ""


@functools.cache
def transform_of(name: str, role: str) -> Transform:
    """The transform of an algorithm by its role.

    'input' and 'rectified': B', of pixels. 'weights': G, of taps. 'output': A', of sums of products. 'gradient': A, of
    the output's gradient. 'back': G', of the weights' transformed gradient. Those of the input gradient: 'eta' is its
    'input' and 'pixels' its 'output'.
    """
    algorithm = (table.input_gradient if role in ("eta", "pixels") else table.forward)(name)
    data, weights, result = (
        (getattr(algorithm.down, part), getattr(algorithm.across, part)) for part in ("data", "weights", "result")
    )
    products, sums = algorithm.pair(lambda line: len(line.weights)), algorithm.pair(lambda line: len(line.result[0]))
    if role in ("input", "rectified", "eta"):
        extra, elements = "rectify" if role == "rectified" else "", algorithm.pair(lambda line: len(line.data))
        return Transform(*data, Side.grid(algorithm.taken), Side.numbered(algorithm, elements), extra)
    if role == "weights":
        return Transform(*weights, Side.grid(algorithm.taps), Side.numbered(algorithm, products))
    if role in ("output", "pixels"):
        return Transform(*result, Side.numbered(algorithm, sums), Side.grid(algorithm.made), "bias")
    if role == "gradient":
        back = transposed(result[0]), transposed(result[1])
        return Transform(*back, Side.grid(algorithm.made), Side.numbered(algorithm, sums), "sum")
    back = transposed(weights[0]), transposed(weights[1])
    return Transform(*back, Side.numbered(algorithm, products), Side.grid(algorithm.taps))


def vector_operations(builder: ir.IRBuilder, vector: Vector) -> Operations:
    def constant(value: Fraction) -> ir.Constant:
        return ir.Constant(vector.llvm_type, [ir.Constant(vector.llvm_type.element, float(value))] * vector.lanes)

    def scale(factor: Fraction, a: Any) -> Any:
        return builder.fneg(a) if factor == -1 else builder.fmul(constant(factor), a)

    def scale_add(factor: Fraction, a: Any, b: Any) -> Any:
        return builder.call(multiply_add_of(builder, vector), [constant(factor), a, b])

    return Operations(builder.fadd, builder.fsub, scale, scale_add)


@intrinsic(prefer_literal=True)
def transform_vector(typingctx, name, role, source, target, extra, at, count):
    """The transform of one vector of each element, `at` elements from their beginnings on. `source` and `target` are
    (pointer to an element, two strides), `extra` is a pointer.

    Of a vector in a grid only `count` elements are read or written, where that is not the constant 0.
    """
    transform = transform_of(name.literal_value, role.literal_value)
    vector = Vector(source[0].dtype)

    def codegen(context, builder, signature, args):
        _, _, source_, target_, extra_, at_, count_ = args
        do, rows, everything = vector_operations(builder, vector), [], None
        kind, zero = vector.llvm_type, ir.Constant(vector.llvm_type, None)
        some = None if isinstance(count, types.Literal) else mask(builder, count_, vector.lanes)
        read, written = (some if side.masked else None for side in (transform.source, transform.target))

        def place(array, numbers):
            offset = at_
            for k, number in enumerate(numbers, start=1):
                if number:
                    step = builder.mul(builder.extract_value(array, k), ir.Constant(INDEX, number))
                    offset = builder.add(offset, step)
            return at_pointer(builder.extract_value(array, 0), offset)

        def at_pointer(pointer, offset):
            return builder.bitcast(builder.gep(pointer, [offset]), kind.as_pointer())

        down, across, sums = program(transform.down), program(transform.across), at_pointer(extra_, at_)
        for i in range(len(transform.down[0])):
            places = [place(source_, transform.source.places[i, j]) for j in range(len(transform.across[0]))]
            row = [load_vector(builder, kind, where, read) for where in places]
            if transform.extra == "rectify":  # NaN stays
                row = [builder.select(builder.fcmp_ordered("<", d, zero), zero, d) for d in row]
            if transform.extra == "sum":
                total = functools.reduce(builder.fadd, row)
                everything = total if everything is None else builder.fadd(everything, total)
            rows.append(multiply(across, row, do))
        if transform.extra == "sum":
            store_vector(builder, builder.fadd(load_vector(builder, kind, sums), everything), sums)
        bias = load_vector(builder, kind, sums) if transform.extra == "bias" else None
        for j in range(len(transform.across)):
            for i, value in enumerate(multiply(down, [row[j] for row in rows], do)):
                made = value if bias is None else builder.fadd(value, bias)
                store_vector(builder, made, place(target_, transform.target.places[i, j]), written)
        return context.get_dummy_value()

    return types.void(name, role, source, target, extra, types.intp, count), codegen


def roles_of(row: table.Row) -> tuple[str, ...]:
    """The transforms that an algorithm has: see `transform_of`."""
    both = "input", "rectified", "weights", "output", "gradient", "back"
    return both if row.stride == 1 else (*both, "eta", "pixels")


_addresses: dict[tuple[str, str, np.dtype], int] = {}


def address_of(name: str, role: str, dtype: np.dtype) -> int:
    """The address of a compiled transform: a function of pointers to the source, to the target, and to the bias or the
    sums; of the strides of the source and the target; and of the number of neighbours that each element has in the last
    dimension."""
    element, integer = types.float32 if dtype.itemsize == 4 else types.float64, types.int64
    pointer, lanes = types.CPointer(element), Vector(element).lanes

    def transform(source, target, extra, s1, s2, t1, t2, count) -> None:
        whole = count // lanes * lanes
        for t in range(0, whole, lanes):
            transform_vector(name, role, (source, s1, s2), (target, t1, t2), extra, t, 0)
        if whole < count:
            transform_vector(name, role, (source, s1, s2), (target, t1, t2), extra, whole, count - whole)

    arguments = (pointer,) * 3 + (integer,) * 5
    key = name, role, dtype
    if key not in _addresses:
        _addresses[key] = by_address(transform, types.void(*arguments))
    return _addresses[key]
