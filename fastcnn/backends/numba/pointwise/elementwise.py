"""Sums of two arrays, and activations made of exponentials. Requires numba.

Twin and definition: :mod:`fastcnn.backends.numpy.elementwise`. The operations without an exponential, and with one, are
one kernel each, as each kernel takes another second to compile; a number says which operation.

262,144 float32 numbers on one core of an EPYC with AVX-512, in microseconds; with `math.exp` a sigmoid took 770:

=================  =======  =====  =======
kernel             here     NumPy  PyTorch
=================  =======  =====  =======
sigmoid_forward    93       1,179  106
tanh_forward       103      95     653
elu_forward        83       1,172  351
=================  =======  =====  =======
"""

import functools
from collections.abc import Callable

from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import MOVE, serial
from fastcnn.backends.numba.core.memory import empty
from fastcnn.backends.numba.core.tasks import chunk, chunks, task_kernel
from fastcnn.backends.numba.pointwise.exponential import exponential, exponential_minus_one

RELU, SELECT, SCALE, SUM, SIGMOID_GRADIENT, TANH_GRADIENT, SELECT_ABOVE, SCALE_ABOVE = range(8)
SIGMOID, TANH, ELU, ELU_GRADIENT, ELU_GRADIENT_ABOVE = range(5)
EXPONENTIAL = 32  # multiply-adds that take as long as an element of these


@serial
def combine_chunk(a, b, slope, operation, out):
    zero, one, alpha = a.dtype.type(0), a.dtype.type(1), a.dtype.type(slope)
    if operation == RELU:
        for i in range(a.size):
            out[i] = zero if a[i] < 0 else a[i]
    elif operation == SELECT:
        for i in range(a.size):
            out[i] = b[i] if a[i] >= 0 else zero
    elif operation == SCALE:
        for i in range(a.size):
            out[i] = b[i] if a[i] >= 0 else alpha * b[i]
    elif operation == SUM:
        for i in range(a.size):
            out[i] = a[i] + b[i]
    elif operation == SIGMOID_GRADIENT:
        for i in range(a.size):
            out[i] = b[i] * a[i] * (one - a[i])
    else:
        for i in range(a.size):
            out[i] = b[i] * ((one - a[i]) * (one + a[i]))


@serial
def above_chunk(a, b, slope, operation, out):
    """Gradients that count 0 among the negative numbers."""
    zero, alpha = a.dtype.type(0), a.dtype.type(slope)
    if operation == SELECT_ABOVE:
        for i in range(a.size):
            out[i] = b[i] if a[i] > 0 else zero
    else:
        for i in range(a.size):
            out[i] = b[i] if a[i] > 0 else alpha * b[i]


@task_kernel
def combine_chunks(task, a, b, alpha, operation, out):
    first, last = chunk(task, a.size)
    if operation >= SELECT_ABOVE:
        above_chunk(a[first:last], b[first:last], alpha, operation, out[first:last])
    else:
        combine_chunk(a[first:last], b[first:last], alpha, operation, out[first:last])


@serial
def sigmoid_chunk(x, out):
    one = x.dtype.type(1)
    for i in range(x.size):
        power = exponential(-abs(x[i]))
        out[i] = (one if x[i] >= 0 else power) / (one + power)


@serial
def tanh_chunk(x, out):
    two = x.dtype.type(2)
    for i in range(x.size):
        less = exponential_minus_one(-two * abs(x[i]))  # exp(-2 |x|) - 1
        quotient = less / (two + less)
        out[i] = quotient if x[i] < 0 else -quotient


@serial
def elu_chunk(x, alpha, out):
    zero = x.dtype.type(0)
    for i in range(x.size):
        below = alpha * exponential_minus_one(zero if x[i] > 0 else x[i])
        out[i] = x[i] if x[i] >= 0 else below


@serial
def elu_gradient_chunk(x, eta, alpha, out):
    zero = x.dtype.type(0)
    for i in range(x.size):
        below = eta[i] * (alpha * exponential(zero if x[i] > 0 else x[i]))
        out[i] = eta[i] if x[i] >= 0 else below


@serial
def elu_gradient_above(x, eta, alpha, out):
    """The same with 0 on the side of the negative numbers; a flag instead would be a branch in the loop above."""
    zero = x.dtype.type(0)
    for i in range(x.size):
        below = eta[i] * (alpha * exponential(zero if x[i] > 0 else x[i]))
        out[i] = eta[i] if x[i] > 0 else below


@task_kernel
def exponential_chunks(task, x, eta, slope, operation, out):
    first, last = chunk(task, x.size)
    part, target, alpha = x[first:last], out[first:last], x.dtype.type(slope)
    if operation == SIGMOID:
        sigmoid_chunk(part, target)
    elif operation == TANH:
        tanh_chunk(part, target)
    elif operation == ELU:
        elu_chunk(part, alpha, target)
    elif operation == ELU_GRADIENT:
        elu_gradient_chunk(part, eta[first:last], alpha, target)
    else:
        elu_gradient_above(part, eta[first:last], alpha, target)


def combine(
    a: Array, b: Array, operation: int, alpha: float = 0.0, kernel: Callable = combine_chunks, cost: int = MOVE
) -> Array:
    """A new array of an `operation` of the kernel on a, b and `alpha`; an element costs so many multiply-adds."""
    out, line, size = empty(a.shape, a.dtype), a.reshape(-1), a.size
    other = line if b is a else b.reshape(-1)
    kernel(line, other, alpha, operation, out.reshape(-1), chunks(size), work=cost * size)
    return out


exponentials = functools.partial(combine, kernel=exponential_chunks, cost=EXPONENTIAL)


def add(a: Array, b: Array) -> Array:
    return combine(a, b, SUM)


def sigmoid_forward(x: Array) -> Array:
    return exponentials(x, x, SIGMOID)


def sigmoid_backward(y: Array, eta: Array) -> Array:
    return combine(y, eta, SIGMOID_GRADIENT)


def tanh_forward(x: Array) -> Array:
    return exponentials(x, x, TANH)


def tanh_backward(y: Array, eta: Array) -> Array:
    return combine(y, eta, TANH_GRADIENT)


def elu_forward(x: Array, alpha: float) -> Array:
    return exponentials(x, x, ELU, float(alpha))


def elu_backward(x: Array, eta: Array, alpha: float, at_zero: bool = True) -> Array:
    return exponentials(x, eta, ELU_GRADIENT if at_zero else ELU_GRADIENT_ABOVE, float(alpha))
