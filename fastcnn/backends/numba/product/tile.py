"""The register tile of a matrix product, as one numba value.

A tile is `rows` x `vectors` SIMD vectors of C. ``outer_add`` adds the outer product of a column of A and a row of B:
with the tile in registers it costs one load for each element of A and each vector of B, and `rows` x `vectors` fused
multiply-adds, which is what the processor can do best. LLVM takes the tile apart into registers, so that a product is
a plain loop around these operations (see `gemm.panel_product`) and runs at 90 to 99 % of the processor's peak.

Where the rows of A and C begin is a table of offsets, so a row may be anything: a row of a matrix, the window of an
output pixel, a weight. That is what makes one loop serve matrix products, convolution, and its gradients.
"""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

from fastcnn.backends.numba.core.vectors import (
    Vector,
    address,
    load_vector,
    multiply_add_of,
    repeat,
    store_vector,
    vector_at,
    whole_or_part,
)
from fastcnn.backends.numba.core.width import VECTOR_BYTES

INDEX = ir.IntType(64)

# Where a vector is AVX-512's, half of one is used where it holds the columns: it costs half on processors that take
# two cycles for a whole one (AMD Zen 4), and no more than a whole one on others.
HALVES = VECTOR_BYTES == 64

# Rows of a tile. The address of each takes one of 15 registers, and addresses that do not fit cost more than they save:
# 12 rows of 2 vectors ran at 0.73 of what 8 do, with vectors of 256 bits 12 rows of 1 vector at 0.7.
WIDE = 8 if HALVES else 6  # of 1.5 or 2 vectors: 12 of AVX2's 16 registers, 16 of AVX-512's 32 (6 rows: 0.83 to 0.95)
NARROW = 14 if HALVES else 8  # of 1 vector: 14 rows take 2 tiles for the 25 and 27 weights of small convolutions
HALF = 8  # of 0.5 vectors, or of 1 where more would be too many


class Tile(types.Type):
    """`rows` rows of `halves` half vectors: whole ones first, and a half one at the end where `halves` is odd."""

    def __init__(self, scalar: types.Float, rows: int, halves: int):
        self.scalar, self.rows, self.halves = scalar, rows, halves
        self.row = [Vector(scalar)] * (halves // 2) + [Vector(scalar, 2)] * (halves % 2)
        self.columns = sum(vector.lanes for vector in self.row)
        self.llvm_type = ir.LiteralStructType([vector.llvm_type for vector in self.row * rows])
        super().__init__(name=f"Tile({scalar}, {rows} x {halves} / 2)")

    def places(self) -> list[tuple[int, Vector, int, int]]:
        """(row, vector, its first column, position) of each vector."""
        whole = Vector(self.scalar).lanes
        return [
            (r, vector, v * whole, r * len(self.row) + v) for r in range(self.rows) for v, vector in enumerate(self.row)
        ]


class Rows(types.Type):
    """Offsets into an array, one for each row of a tile."""

    def __init__(self, rows: int):
        self.rows = rows
        self.llvm_type = ir.ArrayType(INDEX, rows)
        super().__init__(name=f"Rows({rows})")


@register_model(Tile)
@register_model(Rows)
class TileModel(models.PrimitiveModel):
    def __init__(self, manager: Any, fe_type: types.Type):
        super().__init__(manager, fe_type, fe_type.llvm_type)


def row_of_vectors(
    context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value], position: int, tile: Tile
) -> dict[int, ir.Value]:
    """The vectors of a row of `tile`, from ``array[index]`` on, by their first column."""
    row = {}
    for _, vector, column, _ in tile.places()[: len(tile.row)]:
        offset = ir.Constant(INDEX, column)
        place = vector_at(context, builder, signature, args, vector.llvm_type, position, [offset])
        row[column] = load_vector(builder, vector.llvm_type, place)
    return row


@intrinsic(prefer_literal=True)
def row_offsets(typingctx, table, first, last, count):
    """table[first : first + count], the last offset again where that reaches `last`.

    The repeated row is computed and stored several times, with the same result: a tile of fewer rows needs no code of
    its own.
    """
    rows = Rows(count.literal_value)

    def codegen(context, builder, signature, args):
        place = cgutils.alloca_once(builder, rows.llvm_type)

        def emit(clip):
            for r in range(rows.rows):
                row = clip(builder.add(args[1], ir.Constant(INDEX, r)))
                offset = builder.load(address(context, builder, signature.args[0], args[0], row))
                builder.store(offset, cgutils.gep_inbounds(builder, place, 0, r))

        end = builder.sub(args[2], ir.Constant(INDEX, 1))
        whole = builder.icmp_signed("<=", builder.add(args[1], ir.Constant(INDEX, rows.rows)), args[2])
        with builder.if_else(whole, likely=True) as (then, otherwise):
            with then:
                emit(lambda row: row)
            with otherwise:
                emit(lambda row: builder.select(builder.icmp_signed("<", row, end), row, end))
        return builder.load(place)

    return rows(table, types.intp, types.intp, count), codegen


@intrinsic(prefer_literal=True)
def tile_of(typingctx, array, index, count, halves):
    """A tile of `count` rows of `halves` half vectors, each of them array[index : index + width]."""
    tile = Tile(array.dtype, count.literal_value, halves.literal_value)

    def codegen(context, builder, signature, args):
        row = row_of_vectors(context, builder, signature, args, 0, tile)
        value = ir.Constant(tile.llvm_type, ir.Undefined)
        for _, _, column, position in tile.places():
            value = builder.insert_value(value, row[column], position)
        return value

    return tile(array, types.intp, count, halves), codegen


@intrinsic(prefer_literal=True)
def tile_of_zeros(typingctx, array, count, halves):
    """A tile of `count` rows of `halves` half vectors of the array's dtype."""
    tile = Tile(array.dtype, count.literal_value, halves.literal_value)
    return tile(array, count, halves), lambda context, builder, signature, args: ir.Constant(tile.llvm_type, None)


@intrinsic
def tile_add(typingctx, tile, other):
    """The sum of two tiles, element by element."""

    def codegen(context, builder, signature, args):
        value, more = args
        for _, _, _, position in tile.places():
            part = builder.fadd(builder.extract_value(value, position), builder.extract_value(more, position))
            value = builder.insert_value(value, part, position)
        return value

    return tile(tile, tile), codegen


@intrinsic
def outer_add(typingctx, tile, a, rows, p, b, q):
    """tile[r, :] + a[rows[r] + p] * b[q : q + width]."""

    def codegen(context, builder, signature, args):
        value, a_, rows_, p_, _, _ = args
        row = row_of_vectors(context, builder, signature, args, 4, tile)
        for r, vector, column, position in tile.places():
            if column == 0:
                start = address(context, builder, signature.args[1], a_, builder.extract_value(rows_, r))
                element = builder.load(builder.gep(start, [p_]))
            terms = [repeat(builder, vector.llvm_type, element), row[column], builder.extract_value(value, position)]
            value = builder.insert_value(value, builder.call(multiply_add_of(builder, vector), terms), position)
        return value

    return tile(tile, a, rows, types.intp, b, types.intp), codegen


@intrinsic(prefer_literal=True)
def tile_load(typingctx, c, index, rows, columns, halves):
    """The tile whose row r is c[index + rows[r] : ... + columns], with zeros beyond."""
    tile = Tile(c.dtype, rows.rows, halves.literal_value)

    def codegen(context, builder, signature, args):
        value = cgutils.alloca_once(builder, tile.llvm_type)

        def emit(some):
            for r, vector, column, position in tile.places():
                row, offset = builder.extract_value(args[2], r), ir.Constant(INDEX, column)
                place = vector_at(context, builder, signature, args, vector.llvm_type, 0, [row, offset])
                part = load_vector(builder, vector.llvm_type, place, some(vector.lanes, column))
                builder.store(part, cgutils.gep_inbounds(builder, value, 0, position))

        whole_or_part(builder, args[3], tile.columns, emit)
        return builder.load(value)

    return tile(c, types.intp, rows, types.intp, halves), codegen


@intrinsic
def tile_stream(typingctx, tile, c, index, rows):
    """`tile_store` of whole vectors past the caches, to places that are multiples of their bytes."""

    def codegen(context, builder, signature, args):
        flag = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
        for r, vector, column, position in tile.places():
            row, offset = builder.extract_value(args[3], r), ir.Constant(INDEX, column)
            place = vector_at(context, builder, signature, args, vector.llvm_type, 1, [row, offset])
            done = builder.store(builder.extract_value(args[0], position), place)
            done.align = vector.lanes * vector.scalar.bitwidth // 8
            done.set_metadata("nontemporal", flag)
        return context.get_dummy_value()

    return types.void(tile, c, types.intp, rows), codegen


@intrinsic
def tile_store(typingctx, tile, c, index, rows, columns):
    """Write row r of the tile to c[index + rows[r] : ... + columns]."""

    def codegen(context, builder, signature, args):
        def emit(some):
            for r, vector, column, position in tile.places():
                row, offset = builder.extract_value(args[3], r), ir.Constant(INDEX, column)
                place = vector_at(context, builder, signature, args, vector.llvm_type, 1, [row, offset])
                store_vector(builder, builder.extract_value(args[0], position), place, some(vector.lanes, column))

        whole_or_part(builder, args[4], tile.columns, emit)
        return context.get_dummy_value()

    return types.void(tile, c, types.intp, rows, types.intp), codegen
