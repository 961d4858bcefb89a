"""The register tile of a product as sums of products lane by lane. Requires numba.

Its rows are neighbouring pixels of a line, of one vector of channels each; for the weights' gradient they are taps and
channels of a group. A vector of an image is loaded once for all pixels and taps that meet it, which is what these sums
live by.
"""

import itertools
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from fastcnn.backends.numba.core.vectors import (
    Vector,
    address,
    load_vector,
    mask,
    multiply_add_of,
    repeat,
    store_vector,
)
from fastcnn.backends.numba.core.width import VECTOR_BYTES
from fastcnn.backends.numba.product.lane_kind import Lanes
from fastcnn.backends.numba.product.tile import INDEX, Rows, Tile

AT_ONCE = 2  # channels of a group: all 8 of one at once, with 24 vectors of weights, took a third longer


def lanes_of(text: types.StringLiteral) -> Lanes:
    taps, dilation, stride, inputs, outputs, rectify, part = map(int, text.literal_value.split())
    return Lanes(taps, dilation, stride, inputs, outputs, bool(rectify), bool(part))


class Places:
    """Where the channels that meet a vector of outputs lie, as code: `some` are (outputs, inputs), those that there are
    from there on."""

    def __init__(self, builder: ir.IRBuilder, kind: Lanes, vector: Vector, some: ir.Value):
        self.builder, self.kind, self.vector = builder, kind, vector
        self.some = [builder.extract_value(some, i) for i in (0, 1)] if kind.part else None

    def load(self, place: ir.Value, number: int = 0, inputs: bool = False) -> ir.Value:
        """Vector `number` from an element on: of `inputs`, or of outputs."""
        lanes, kind = self.vector.lanes, self.vector.llvm_type
        there = mask(self.builder, self.some[inputs], lanes, number * lanes) if self.some else None
        place = self.builder.gep(place, [ir.Constant(INDEX, number * lanes)])
        return load_vector(self.builder, kind, self.builder.bitcast(place, kind.as_pointer()), there)

    def store(self, value: ir.Value, place: ir.Value) -> None:
        """Write a vector of outputs. Where all lanes are there it is no masked store: what one wrote is read again only
        when it has reached the cache, and weights' gradients took twice as long."""
        there = mask(self.builder, self.some[0], self.vector.lanes) if self.some else None
        place = self.builder.bitcast(place, self.vector.llvm_type.as_pointer())
        store_vector(self.builder, value, place, there)

    def inputs(self, place: ir.Value) -> list[ir.Value]:
        """For each channel of a group that is added up together, the vector with that of each lane's own group."""
        inputs, outputs, lanes, builder = self.kind.inputs, self.kind.outputs, self.vector.lanes, self.builder
        if self.kind.alone(lanes):
            return [repeat(builder, self.vector.llvm_type, self.rectified(builder.load(place)))]
        step = self.kind.step(lanes)
        orders = [[min(lane, step - 1) // outputs * inputs + c for lane in range(lanes)] for c in range(inputs)]
        loaded = [self.load(place, number, True) for number in range(orders[-1][-1] // lanes + 1)]
        return [self.arrange([*map(self.rectified, loaded)], order) for order in orders]

    def rectified(self, value: ir.Value) -> ir.Value:
        """0 in place of what is below it, where inputs are rectified; NaN stays."""
        if not self.kind.rectify:
            return value
        zero = ir.Constant(value.type, 0.0 if isinstance(value.type, (ir.FloatType, ir.DoubleType)) else None)
        return self.builder.select(self.builder.fcmp_ordered("<", value, zero), zero, value)

    def arrange(self, vectors: list[ir.Value], order: list[int]) -> ir.Value:
        """The elements of `vectors`, numbered through, in this order."""
        lanes, kind, value = len(order), ir.VectorType(ir.IntType(32), len(order)), vectors[0]
        if order == list(range(lanes)):
            return value
        for number, vector in enumerate(vectors):
            here = [lanes + n % lanes if n // lanes == number else lane for lane, n in enumerate(order)]
            value = self.builder.shuffle_vector(value, vector, ir.Constant(kind, here))
        return value


def column_places(builder: ir.IRBuilder, kind: Lanes, start: ir.Value, pixel: ir.Value, span: ir.Value | None) -> Any:
    """A function of a column, for the address of its pixel, columns `pixel` elements apart. Those outside of `span`
    (first, last) lie outside the image: zeros are read in their place."""

    def zeros() -> ir.Value:
        memory = ir.ArrayType(start.type.pointee, (kind.inputs + 1) * VECTOR_BYTES)  # more than what is read at once
        found = cgutils.global_constant(builder, "zeros", ir.Constant(memory, None))
        found.align = VECTOR_BYTES
        return builder.bitcast(found, start.type)

    def place(column: int) -> ir.Value:
        number = ir.Constant(INDEX, column)
        where = builder.gep(start, [builder.mul(pixel, number)])
        if span is None:
            return where
        first, last = (builder.extract_value(span, i) for i in (0, 1))
        inside = builder.and_(builder.icmp_signed("<=", first, number), builder.icmp_signed("<", number, last))
        return builder.select(inside, where, outside)

    outside = zeros() if span is not None else None
    return place


@intrinsic(prefer_literal=True)
def pixel_rows(typingctx, first, apart, count):
    """The offsets of `count` pixels from number `first` on, `apart` elements from each other. Those before number 0
    have its place: it is written last."""
    rows = Rows(count.literal_value)

    def codegen(context, builder, signature, args):
        value, zero = ir.Constant(rows.llvm_type, ir.Undefined), ir.Constant(INDEX, 0)
        for r in range(rows.rows):
            number = builder.add(args[0], ir.Constant(INDEX, r))
            number = builder.select(builder.icmp_signed("<", number, zero), zero, number)
            value = builder.insert_value(value, builder.mul(number, args[1]), r)
        return value

    return rows(types.intp, types.intp, count), codegen


@intrinsic(prefer_literal=True)
def rows_at(typingctx, lanes, array, at, step, count, some):
    """The tile of `count` vectors from array[at] on, `step` elements from each other."""
    kind, tile = lanes_of(lanes), Tile(array.dtype, count.literal_value, 2)

    def codegen(context, builder, signature, args):
        value, places = ir.Constant(tile.llvm_type, ir.Undefined), Places(builder, kind, tile.row[0], args[5])
        start = address(context, builder, signature.args[1], args[1], args[2])
        for r in range(tile.rows):
            place = builder.gep(start, [builder.mul(args[3], ir.Constant(INDEX, r))])
            value = builder.insert_value(value, places.load(place), r)
        return value

    return tile(lanes, array, types.intp, types.intp, count, types.UniTuple(types.intp, 2)), codegen


@intrinsic(prefer_literal=True)
def put_rows(typingctx, lanes, tile, array, at, step, some):
    """Write the rows of `tile` to array[at] on, `step` elements from each other."""
    kind = lanes_of(lanes)

    def codegen(context, builder, signature, args):
        places = Places(builder, kind, tile.row[0], args[5])
        start = address(context, builder, signature.args[2], args[2], args[3])
        for r in range(tile.rows):
            place = builder.gep(start, [builder.mul(args[4], ir.Constant(INDEX, r))])
            places.store(builder.extract_value(args[1], r), place)
        return context.get_dummy_value()

    return types.void(lanes, tile, array, types.intp, types.intp, types.UniTuple(types.intp, 2)), codegen


@intrinsic
def add_rows(typingctx, tile, other):
    """The first row of `tile` plus the sum of all rows of another, two by two, as a tile of one row."""

    def codegen(context, builder, signature, args):
        rows = [builder.extract_value(args[1], r) for r in range(other.rows)]
        while len(rows) > 1:
            rows = [builder.fadd(*rows[i : i + 2]) if i + 1 < len(rows) else rows[i] for i in range(0, len(rows), 2)]
        return builder.insert_value(args[0], builder.fadd(builder.extract_value(args[0], 0), rows[0]), 0)

    return tile(tile, other), codegen


@intrinsic(prefer_literal=True)
def add_taps(typingctx, lanes, edge, tile, x, at, pixel, span, w, q, steps, some):  # noqa: PLR0913, PLR0917
    """tile[r] + the sum over taps k, and channels c that are added up together, of x[at + (r * stride + k * dilation) *
    pixel + channel c of the output's group] * w[q + k * steps[0] + c * steps[1]], lane by lane.

    Where it may be the `edge` of the image, columns outside of `span` are 0; `some` as in `Places`.
    """
    kind, pair = lanes_of(lanes), types.UniTuple(types.intp, 2)

    def codegen(context, builder, signature, args):
        value, places = args[2], Places(builder, kind, tile.row[0], args[10])
        start = address(context, builder, signature.args[3], args[3], args[4])
        place = column_places(builder, kind, start, args[5], args[6] if edge.literal_value else None)
        weights = address(context, builder, signature.args[7], args[7], args[8])

        def weight(k, c):
            numbers = zip((k, c), (builder.extract_value(args[9], i) for i in (0, 1)), strict=True)
            return places.load(builder.gep(weights, [builder.add(*(builder.mul(s, INDEX(n)) for n, s in numbers))]))

        together = kind.together(tile.row[0].lanes)
        for few in (range(c, min(together, c + AT_ONCE)) for c in range(0, together, AT_ONCE)):
            rows = [{c: weight(k, c) for c in few} for k in range(kind.taps)]
            for column in kind.columns(tile.rows):
                inputs = places.inputs(place(column))
                for c, (r, k) in itertools.product(few, kind.meet(column, tile.rows)):
                    terms = [inputs[c], rows[k][c], builder.extract_value(value, r)]
                    value = builder.insert_value(value, builder.call(multiply_add_of(builder, tile.row[0]), terms), r)
        return value

    return tile(lanes, edge, tile, x, types.intp, types.intp, pair, w, types.intp, pair, pair), codegen


@intrinsic(prefer_literal=True)
def add_products(typingctx, lanes, edge, tile, x, at, steps, span, eta, some):  # noqa: PLR0913, PLR0917
    """tile[(i * taps + k) * together + c] + the sum over pixels p, the rows of `eta`, of x[at + (p * stride + k *
    dilation) * steps[0] + i * steps[1] + channel c of the output's group] * eta[p], lane by lane, for as many runs i as
    the tile has rows; the others as in `add_taps`."""
    kind, pair = lanes_of(lanes), types.UniTuple(types.intp, 2)

    def codegen(context, builder, signature, args):
        value, places, together = args[2], Places(builder, kind, tile.row[0], args[8]), kind.together(tile.row[0].lanes)
        start = address(context, builder, signature.args[3], args[3], args[4])
        pixel, row = (builder.extract_value(args[5], i) for i in (0, 1))
        slopes = [builder.extract_value(args[7], p) for p in range(eta.rows)]
        each = kind.taps * together
        lines = [builder.gep(start, [builder.mul(row, INDEX(i))]) for i in range(tile.rows // each)]
        span = args[6] if edge.literal_value else None
        places_of = [column_places(builder, kind, line, pixel, span) for line in lines]
        for column in kind.columns(eta.rows):  # line by line, an element would wait for the sum before it
            for i, place in enumerate(places_of):
                for c, here in enumerate(places.inputs(place(column))):
                    for p, k in kind.meet(column, eta.rows):
                        at = i * each + k * together + c
                        terms = [here, slopes[p], builder.extract_value(value, at)]
                        done = builder.call(multiply_add_of(builder, tile.row[0]), terms)
                        value = builder.insert_value(value, done, at)
        return value

    return tile(lanes, edge, tile, x, types.intp, pair, pair, eta, pair), codegen
