"""Smooth activations: a gate times x, or a logarithm of exponentials. Requires numba.

Twin and definition: :mod:`fastcnn.backends.numpy.smooth`. One kernel, as each takes another second to compile; loops
without branches, that LLVM vectorises.
"""

import math

from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import inline, serial
from fastcnn.backends.numba.core.tasks import chunk, task_kernel
from fastcnn.backends.numba.pointwise.elementwise import EXPONENTIAL, combine
from fastcnn.backends.numba.pointwise.exponential import exponential
from fastcnn.backends.numba.pointwise.gaussian import FAR, MIDDLE, bell, logarithm_of_one_plus, mills_ratio, within
from fastcnn.backends.numpy.smooth import CUBE

SILU, SILU_GRADIENT, GELU, GELU_GRADIENT, TANH_GELU, TANH_GELU_GRADIENT = range(6)
SOFTPLUS, SOFTPLUS_GRADIENT, MISH, MISH_GRADIENT = range(6, 10)
PER_ROOT = 1 / math.sqrt(2 * math.pi)  # the density of a normal number at 0
STEEP = math.sqrt(8 / math.pi)


@inline
def sigmoids(x, one):
    """sigmoid(x), and what it leaves to 1, the sigmoid of -x."""
    power = exponential(-abs(x))
    share = one / (one + power)
    rest = power * share
    return (share if x >= 0 else rest), (rest if x >= 0 else share)


@serial
def silu_chunk(x, eta, gradient, out):
    one = x.dtype.type(1)
    if gradient:
        for i in range(x.size):
            share, rest = sigmoids(x[i], one)
            out[i] = eta[i] * (share * (one + x[i] * rest))
    else:
        for i in range(x.size):
            out[i] = x[i] * sigmoids(x[i], one)[0]


@serial
def gelu_chunk(x, eta, far, gradient, out):
    one, middle, per_root = x.dtype.type(1), x.dtype.type(MIDDLE), x.dtype.type(PER_ROOT)
    if gradient:
        for i in range(x.size):
            a = within(abs(x[i]), far)
            density = bell(a)
            tail = density * mills_ratio(a, middle)
            out[i] = eta[i] * ((one - tail if x[i] >= 0 else tail) + x[i] * (density * per_root))
    else:
        for i in range(x.size):
            a = within(abs(x[i]), far)
            tail = bell(a) * mills_ratio(a, middle)
            out[i] = x[i] * (one - tail if x[i] >= 0 else tail)


@serial
def tanh_gelu_chunk(x, eta, far, gradient, out):
    one, steep, cube, steeper = (
        x.dtype.type(1),
        x.dtype.type(STEEP),
        x.dtype.type(STEEP * CUBE),
        x.dtype.type(3 * STEEP * CUBE),
    )
    if gradient:
        for i in range(x.size):
            near = far if x[i] > far else x[i]
            near = -far if near < -far else near
            square = near * near
            share, rest = sigmoids(near * (steep + cube * square), one)
            out[i] = eta[i] * (share + x[i] * (share * rest * (steep + steeper * square)))
    else:
        for i in range(x.size):
            near = far if x[i] > far else x[i]
            near = -far if near < -far else near
            out[i] = x[i] * sigmoids(near * (steep + cube * (near * near)), one)[0]


@serial
def softplus_chunk(x, eta, gradient, out):
    zero, one = x.dtype.type(0), x.dtype.type(1)
    if gradient:
        for i in range(x.size):
            out[i] = eta[i] * sigmoids(x[i], one)[0]
    else:
        for i in range(x.size):
            out[i] = (x[i] if x[i] > 0 else zero) + logarithm_of_one_plus(exponential(-abs(x[i])))


@inline
def mish_gate(x, power, one, two):
    """tanh(softplus(x)), and what it leaves to 1, by ``power = exp(-abs(x))``."""
    rest, most = two * power * power, power * (power + two)
    gate = one + two * power if x >= 0 else most
    rest = rest if x >= 0 else two
    whole = gate + rest
    return gate / whole, rest / whole


@serial
def mish_chunk(x, eta, gradient, out):
    one, two = x.dtype.type(1), x.dtype.type(2)
    if gradient:
        for i in range(x.size):
            power = exponential(-abs(x[i]))
            gate, rest = mish_gate(x[i], power, one, two)
            share = (one if x[i] >= 0 else power) / (one + power)
            out[i] = eta[i] * (gate + x[i] * (rest * (one + gate) * share))
    else:
        for i in range(x.size):
            out[i] = x[i] * mish_gate(x[i], exponential(-abs(x[i])), one, two)[0]


@task_kernel
def smooth_chunks(task, x, eta, far, operation, out):
    """An even operation is an activation, the odd one after it its gradient."""
    first, last = chunk(task, x.size)
    part, other, target, gradient = x[first:last], eta[first:last], out[first:last], operation % 2 == 1
    if operation <= SILU_GRADIENT:
        silu_chunk(part, other, gradient, target)
    elif operation <= GELU_GRADIENT:
        gelu_chunk(part, other, x.dtype.type(far), gradient, target)
    elif operation <= TANH_GELU_GRADIENT:
        tanh_gelu_chunk(part, other, x.dtype.type(far), gradient, target)
    elif operation <= SOFTPLUS_GRADIENT:
        softplus_chunk(part, other, gradient, target)
    else:
        mish_chunk(part, other, gradient, target)


def smooth(x: Array, eta: Array, operation: int) -> Array:
    return combine(x, eta, operation, FAR[x.dtype.name], smooth_chunks, 2 * EXPONENTIAL)


def silu_forward(x: Array) -> Array:
    return smooth(x, x, SILU)


def silu_backward(x: Array, eta: Array) -> Array:
    return smooth(x, eta, SILU_GRADIENT)


def gelu_forward(x: Array, tanh: bool) -> Array:
    return smooth(x, x, TANH_GELU if tanh else GELU)


def gelu_backward(x: Array, eta: Array, tanh: bool) -> Array:
    return smooth(x, eta, TANH_GELU_GRADIENT if tanh else GELU_GRADIENT)


def softplus_forward(x: Array) -> Array:
    return smooth(x, x, SOFTPLUS)


def softplus_backward(x: Array, eta: Array) -> Array:
    return smooth(x, eta, SOFTPLUS_GRADIENT)


def mish_forward(x: Array) -> Array:
    return smooth(x, x, MISH)


def mish_backward(x: Array, eta: Array) -> Array:
    return smooth(x, eta, MISH_GRADIENT)
