"""The optimizers' updates, in place. Requires numba. Twin and definition: :mod:`fastcnn.backends.numpy.update`.

One pass over each array, where NumPy takes three to ten. Gradient descent is a kernel of its own, as every model uses
it; the other rules share one, as each takes another second to compile.
"""

import math
from collections.abc import Sequence

from fastcnn.backends.numba.core.hints import Array
from fastcnn.backends.numba.core.jit import MOVE, serial
from fastcnn.backends.numba.core.tasks import chunk, chunks, task_kernel

MOMENTUM, NESTEROV, RMSPROP, ADAM = range(4)
Factors = tuple[float, float]
Moments = tuple[int, float, float, float]


@serial
def sgd_chunk(parameter, gradient, rate, keep):
    for i in range(parameter.size):
        parameter[i] = keep * parameter[i] - rate * gradient[i]


@task_kernel
def sgd_chunks(task, parameter, gradient, rate, keep):
    first, last = chunk(task, parameter.size)
    sgd_chunk(parameter[first:last], gradient[first:last], rate, keep)


@serial
def momentum_chunk(parameter, gradient, velocity, numbers, nesterov):
    rate, scale, decay, momentum, _, _, _ = numbers
    slope_share, velocity_share = (rate, rate * momentum) if nesterov else (rate * 0, rate)
    for i in range(parameter.size):
        slope = scale * gradient[i] + decay * parameter[i]
        velocity[i] = momentum * velocity[i] + slope
        parameter[i] -= slope_share * slope + velocity_share * velocity[i]


@serial
def rmsprop_chunk(parameter, gradient, square, numbers):
    rate, scale, decay, rho, epsilon, rest, _ = numbers
    for i in range(parameter.size):
        slope = scale * gradient[i] + decay * parameter[i]
        square[i] = rho * square[i] + rest * slope * slope
        parameter[i] -= rate * (slope / (math.sqrt(square[i]) + epsilon))


@serial
def adam_chunk(parameter, gradient, mean, square, numbers, more):
    rate, scale, decay, beta1, beta2, epsilon, keep = numbers
    rest1, rest2, root = more
    for i in range(parameter.size):
        slope = scale * gradient[i] + decay * parameter[i]
        mean[i] = beta1 * mean[i] + rest1 * slope
        square[i] = beta2 * square[i] + rest2 * slope * slope
        parameter[i] = keep * parameter[i] - rate * (mean[i] / (math.sqrt(square[i]) * root + epsilon))


@task_kernel
def update_chunks(task, rule, parameter, gradient, kept, numbers, more):
    """`kept` are the arrays of an optimizer for the parameter: two, or one twice."""
    low, high = chunk(task, parameter.size)
    p, g, a, b = parameter[low:high], gradient[low:high], kept[0][low:high], kept[1][low:high]
    if rule == ADAM:
        adam_chunk(p, g, a, b, numbers, more)
    elif rule == RMSPROP:
        rmsprop_chunk(p, g, a, numbers)
    else:
        momentum_chunk(p, g, a, numbers, rule == NESTEROV)


def launch(rule: int, arrays: Sequence[Array], numbers: Sequence[float], more: Sequence[float] = (0, 0, 0)) -> None:
    """Run `update_chunks`; arrays as lines, numbers in their dtype: a float64 would make all arithmetic float64."""
    cast, size = arrays[0].dtype.type, arrays[0].size
    parameter, gradient, *kept = [array.reshape(-1) for array in arrays]
    numbers, more = tuple(map(cast, numbers)), tuple(map(cast, more))
    update_chunks(rule, parameter, gradient, tuple(kept), numbers, more, chunks(size), work=MOVE * size)


def sgd_update(parameter: Array, gradient: Array, rate: float, keep: float) -> None:
    cast, size = parameter.dtype.type, parameter.size
    lines = parameter.reshape(-1), gradient.reshape(-1)
    sgd_chunks(*lines, cast(rate), cast(keep), chunks(size), work=MOVE * size)


def momentum_update(
    parameter: Array, gradient: Array, velocity: Array, rate: float, factors: Factors, momentum: float, nesterov: bool
) -> None:
    rule = NESTEROV if nesterov else MOMENTUM
    launch(rule, (parameter, gradient, velocity, velocity), (rate, *factors, momentum, 0, 0, 0))


def rmsprop_update(
    parameter: Array, gradient: Array, square: Array, rate: float, factors: Factors, rho: float, epsilon: float
) -> None:
    launch(RMSPROP, (parameter, gradient, square, square), (rate, *factors, rho, epsilon, 1 - rho, 0))


def adam_update(
    parameter: Array,
    gradient: Array,
    mean: Array,
    square: Array,
    rate: float,
    factors: Factors,
    moments: Moments,
    keep: float,
) -> None:
    step, beta1, beta2, epsilon = moments
    rate /= 1 - beta1**step
    more = (1 - beta1, 1 - beta2, 1 / math.sqrt(1 - beta2**step))
    launch(ADAM, (parameter, gradient, mean, square), (rate, *factors, beta1, beta2, epsilon, keep), more)
