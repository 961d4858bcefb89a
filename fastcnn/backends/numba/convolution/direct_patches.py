"""Input gradient of a convolution whose windows lie side by side. Requires numba. Definition: `backends.numpy.conv`.

Kernels as large as the stride, without padding: each pixel of the image has one window. The product ``eta @ weights'``
of a row of the kernel is then written where it belongs, a run of ``kw * channels`` elements for each pixel of eta; as a
transposed convolution, such layers double the size of images.
"""

import math
from collections.abc import Callable

import numpy as np

from fastcnn.backends.numba.convolution.arguments import Gated, Geometry
from fastcnn.backends.numba.core.copying import close_gate
from fastcnn.backends.numba.core.hints import Array, Shape
from fastcnn.backends.numba.core.jit import threads_for
from fastcnn.backends.numba.core.memory import empty, layout, workspace, zeros
from fastcnn.backends.numba.core.tasks import even_share, task_kernel
from fastcnn.backends.numba.core.vectors import flat
from fastcnn.backends.numba.product.arguments import Panels, Prefetch, Rows, Target
from fastcnn.backends.numba.product.gemm import multiply_rows, offset_tables
from fastcnn.backends.numba.product.packing import bias_row, pack, padded
from fastcnn.windows import Pair, Window

PIXELS = 192  # of eta in one task


def pays(image_shape: Shape, eta_shape: Shape, geometry: Geometry) -> bool:
    """Whether windows lie side by side; kernels of one pixel are one product."""
    ksize = geometry.window.ksize
    return geometry.groups == 1 and max(ksize) > 1 and geometry.window == Window(ksize, ksize)


@task_kernel
def multiply_patches(task, eta, weights, ksize, block, result: Gated, bias, tables):
    """`block` rows of eta, counted in each image: the rows of the image under their windows."""
    (_, oh, ow, outputs), (_, h, w, c), (kh, kw) = eta.shape, result.image.shape, ksize
    blocks, source, target = (oh + block - 1) // block, flat(eta), flat(result.image)
    n, row = task // blocks, task % blocks * block
    rows = min(block, oh - row)
    pixels, to = rows * ow, (n * h + row * kh) * w * c
    a = source[(n * oh + row) * ow * outputs :]
    here, each, zero = pixels * outputs, weights.size // kh, np.int64(0)
    some = Rows(a, tables[0, :pixels], tables[1, :outputs])
    for i in range(kh):
        place = Target(target, to + i * w * c, tables[2, :pixels], kw * c)
        ahead = Prefetch(a, here, min(a.size, 2 * here) if i == 0 else here)
        multiply_rows(some, Panels(weights, i * each, zero), place, bias, ahead)
    if result.gate.size:
        close_gate(target, flat(result.gate), to, rows * kh, ow * kw, w * c, c, c)


def fill_rest(image: Array, sizes: Pair, bias: Array | None) -> None:
    """Pixels beyond the last windows, which cover `sizes` (rows, columns)."""
    for rest in (image[:, sizes[0] :], image[:, :, sizes[1] :]):
        if rest.size:
            rest[...] = 0 if bias is None else bias


def input_gradient_plan(image_shape: Shape, eta_shape: Shape, geometry: Geometry, most: int) -> Callable:
    """The function of (eta, weights, gate, bias) that computes it for arrays of these shapes, by `most` threads at
    most."""
    (batch, oh, ow, outputs), (_, _, w, c), dtype = eta_shape, image_shape, geometry.dtype
    kh, kw = geometry.window.ksize
    run, block = kw * c, even_share(oh, max(1, PIXELS // max(1, ow)))
    wide, work = padded(run, dtype), math.prod(eta_shape) * kh * run
    threads, tasks, pixels = threads_for(work, most), batch * -(-oh // block), (block * ow, 1)
    tables = offset_tables((*pixels, outputs, 0), (1, outputs, 0, 1), (block, ow, kh * w * c, run))
    arrays, zero = layout(dtype, (kh * outputs * wide,)), zeros((wide,), dtype)

    def gradient(eta: Array, weights: Array, gate: Array | None, bias: Array | None = None) -> Array:
        image, (panels,) = empty(image_shape, dtype), workspace(arrays)
        pack((weights.reshape(-1), 1, outputs), (outputs, run), outputs, panels, kh, run * outputs)
        start = zero if bias is None else bias_row(np.tile(bias, kw), wide)
        result = image, image[:0] if gate is None else gate
        multiply_patches(eta, panels, (kh, kw), block, result, start, tables, tasks, work=work, threads=threads)
        fill_rest(image, (oh * kh, ow * kw), bias)
        return image

    return gradient
