"""Activations of straight lines and parabolas. Requires numba.

Twin and definition: :mod:`fastcnn.backends.numpy.piecewise`. One kernel, as each takes another second to compile.
"""

from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import MOVE, serial
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import chunk, chunks, task_kernel
from fastcnn.backends.numpy.piecewise import ends

RAMP, RAMP_GRADIENT, HARD_SWISH, HARD_SWISH_GRADIENT = range(4)


@serial
def ramp_chunk(x, slope, offset, most, out):
    zero = x.dtype.type(0)
    for i in range(x.size):
        value = slope * x[i] + offset
        value = zero if value < zero else value  # comparisons, unlike min and max, keep NaN
        out[i] = most if value > most else value


@serial
def ramp_gradient_chunk(x, eta, slope, low, high, out):
    zero = x.dtype.type(0)
    for i in range(x.size):
        inside = (x[i] > low) & (x[i] < high)
        out[i] = slope * eta[i] if inside else zero


@serial
def hard_swish_chunk(x, out):
    zero, three, six = x.dtype.type(0), x.dtype.type(3), x.dtype.type(6)
    for i in range(x.size):
        gate = x[i] + three
        gate = zero if gate < zero else gate
        gate = six if gate > six else gate
        out[i] = x[i] * gate / six


@serial
def hard_swish_gradient_chunk(x, eta, out):
    zero, half, one, three = x.dtype.type(0), x.dtype.type(0.5), x.dtype.type(1), x.dtype.type(3)
    for i in range(x.size):
        slope = x[i] / three + half
        slope = zero if x[i] <= -three else slope
        out[i] = eta[i] * (one if x[i] >= three else slope)


@task_kernel
def piecewise_chunks(task, x, eta, numbers, operation, out):
    """`numbers` are those of a ramp: its slope, then offset and height, or in its gradient where it begins and ends."""
    first, last = chunk(task, x.size)
    part, other, target = x[first:last], eta[first:last], out[first:last]
    slope, a, b = x.dtype.type(numbers[0]), x.dtype.type(numbers[1]), x.dtype.type(numbers[2])
    if operation == RAMP:
        ramp_chunk(part, slope, a, b, target)
    elif operation == RAMP_GRADIENT:
        ramp_gradient_chunk(part, other, slope, a, b, target)
    elif operation == HARD_SWISH:
        hard_swish_chunk(part, target)
    else:
        hard_swish_gradient_chunk(part, other, target)


def launch(x: Array, eta: Array, operation: int, slope: float = 0, a: float = 0, b: float = 0) -> Array:
    out, line, size = empty(x.shape, x.dtype), x.reshape(-1), x.size
    other, numbers = line if eta is x else eta.reshape(-1), (float(slope), float(a), float(b))
    piecewise_chunks(line, other, numbers, operation, out.reshape(-1), chunks(size), work=MOVE * size)
    return out


def ramp_forward(x: Array, slope: float, offset: float, most: float) -> Array:
    return launch(x, x, RAMP, slope, offset, most)


def ramp_backward(x: Array, eta: Array, slope: float, offset: float, most: float) -> Array:
    return launch(x, eta, RAMP_GRADIENT, slope, *ends(slope, offset, most))


def hard_swish_forward(x: Array) -> Array:
    return launch(x, x, HARD_SWISH)


def hard_swish_backward(x: Array, eta: Array) -> Array:
    return launch(x, eta, HARD_SWISH_GRADIENT)
