"""The register tile of a product as sums of products lane by lane. Requires numba."""

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from fastcnn.backends.numba.core.vectors import address, load_vector, multiply_add_of
from fastcnn.backends.numba.product.tile import INDEX, Tile, row_of_vectors


@intrinsic
def lane_add(typingctx, tile, a, rows, p, b, q):
    """tile[r, :] + a[rows[r] + p : ... + width] * b[q : q + width], lane by lane."""

    def codegen(context, builder, signature, args):
        value, a_, rows_, p_, _, _ = args
        row = row_of_vectors(context, builder, signature, args, 4, tile)
        for r, vector, column, position in tile.places():
            if column == 0:
                start = address(context, builder, signature.args[1], a_, builder.extract_value(rows_, r))
                start = builder.gep(start, [p_])
            place = builder.bitcast(builder.gep(start, [ir.Constant(INDEX, column)]), vector.llvm_type.as_pointer())
            terms = [load_vector(builder, vector.llvm_type, place), row[column], builder.extract_value(value, position)]
            value = builder.insert_value(value, builder.call(multiply_add_of(builder, vector), terms), position)
        return value

    return tile(tile, a, rows, types.intp, b, types.intp), codegen


def _vectors_at(
    context: Any, builder: ir.IRBuilder, signature: Any, args: Sequence[ir.Value], position: int, tile: Tile
) -> Any:
    """A function of an offset, for the vectors of a row of `tile` from array[index + offset] on, by their position."""
    start = address(context, builder, signature.args[position], args[position], args[position + 1])

    def vectors(offset: ir.Value) -> list[ir.Value]:
        found = []
        for _, vector, column, _ in tile.places()[: len(tile.row)]:
            place = builder.gep(builder.gep(start, [offset]), [ir.Constant(INDEX, column)])
            found.append(load_vector(builder, vector.llvm_type, builder.bitcast(place, vector.llvm_type.as_pointer())))
        return found

    return vectors


@intrinsic(prefer_literal=True)
def run_add(typingctx, tile, a, at, pixel, b, q, step, taps, apart):  # noqa: PLR0913, PLR0917
    """tile[r, :] + the sum over k < taps of a[at + (r * apart + k) * pixel : ...] * b[q + k * step : ...], lane by
    lane.

    Each vector of a is loaded once for all rows and taps that meet it.
    """
    count, stride = taps.literal_value, apart.literal_value

    def codegen(context, builder, signature, args):
        value, pixel_, step_ = args[0], args[3], args[6]
        pixels = _vectors_at(context, builder, signature, args, 1, tile)
        weights = _vectors_at(context, builder, signature, args, 4, tile)
        rows = [weights(builder.mul(step_, ir.Constant(INDEX, k))) for k in range(count)]
        width = len(tile.row)
        for column in range((tile.rows - 1) * stride + count):
            here = pixels(builder.mul(pixel_, ir.Constant(INDEX, column)))
            for r in range(tile.rows):
                k = column - r * stride
                for v in range(width) if 0 <= k < count else ():
                    position = r * width + v
                    terms = [here[v], rows[k][v], builder.extract_value(value, position)]
                    done = builder.call(multiply_add_of(builder, tile.row[v]), terms)
                    value = builder.insert_value(value, done, position)
        return value

    return tile(tile, a, types.intp, types.intp, b, types.intp, types.intp, taps, apart), codegen


@intrinsic(prefer_literal=True)
def run_sum(typingctx, tile, a, at, line, pixel, b, q, step, taps, apart, pixels):  # noqa: PLR0913, PLR0917
    """tile[i * taps + k, :] + the sum over p < pixels of a[at + i * line + (p * apart + k) * pixel : ...] * b[q + p *
    step : ...], lane by lane.

    Each vector of a is loaded once for all taps that meet it.
    """
    count, stride, number, width = taps.literal_value, apart.literal_value, pixels.literal_value, len(tile.row)

    def codegen(context, builder, signature, args):
        value, line_, pixel_, step_ = args[0], args[3], args[4], args[7]
        image = _vectors_at(context, builder, signature, args, 1, tile)
        slopes = _vectors_at(context, builder, signature, args, 5, tile)
        eta = [slopes(builder.mul(step_, ir.Constant(INDEX, p))) for p in range(number)]
        for i in range(tile.rows // count):
            row = builder.mul(line_, ir.Constant(INDEX, i))
            for column in range((number - 1) * stride + count):
                here = image(builder.add(row, builder.mul(pixel_, ir.Constant(INDEX, column))))
                for p in range(number):
                    k = column - p * stride
                    for v in range(width) if 0 <= k < count else ():
                        position = (i * count + k) * width + v
                        terms = [here[v], eta[p][v], builder.extract_value(value, position)]
                        done = builder.call(multiply_add_of(builder, tile.row[v]), terms)
                        value = builder.insert_value(value, done, position)
        return value

    integers = [types.intp] * 3
    return tile(tile, a, *integers, b, types.intp, types.intp, taps, apart, pixels), codegen
