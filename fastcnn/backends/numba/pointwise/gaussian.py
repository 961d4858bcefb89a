"""The normal distribution, and a logarithm, in code that LLVM vectorises. Requires numba.

`math.erf` is a call of the C library for each element, which keeps a loop scalar. The probability of a standard normal
number beyond a >= 0 is the product of ``exp(-a * a / 2)`` and of a function that falls slowly, Mills' ratio over
sqrt(2 pi) (Mills, "Table of the Ratio", 1926). It is smooth in ``t = (a - 4) / (a + 4)``, which runs from -1 to 1: the
transformation of Shepherd and Laframboise, "Chebyshev Approximation of (1 + 2x) exp(x**2) erfc x" (1981).

- The polynomial in t goes through the function at Chebyshev's nodes, where it is known to 30 digits: from its series
  near 0, from Laplace's continued fraction far from it. It is made when a kernel is compiled: no table to believe.
- a * a has twice the digits of a, and what is rounded away is a part of the exponent: at a = 10 in float32 the last 50
  units. So a is cut in two, a part whose square is exact, and the rest, which joins what `exponential.reduced` leaves.

In float32 `bell` is off by 1.1 units in the last place at most, and its product with `mills_ratio` by 5.6; in float64,
over samples, by 1.1 and 17, where a is large and the polynomial near its end (`tests/backends/test_smooth.py`).
"""

import functools
import math
from collections.abc import Sequence
from decimal import Decimal, localcontext

from llvmlite import ir
from numba.extending import intrinsic

from fastcnn.backends.numba.core.jit import inline
from fastcnn.backends.numba.pointwise.exponential import constants, horner, power_of_two, taylor

MIDDLE = 4  # the a whose t is 0: of 2 to 8 the one whose polynomials are the shortest
NODES = {32: 11, 64: 25}  # of the polynomial, which is off by 4e-9 or 2e-18
FAR = {"float32": 14.5, "float64": 38.65}  # whose exponential is 0, and still has an exponent that `power_of_two` knows
CUT = {32: 12, 64: 27}  # digits of a, in bits, without which its square is exact
TERMS = {32: 8, 64: 17}  # of the logarithm's series in z <= 1/9: what is left out is below a tenth of the last place
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


def mills(a: Decimal) -> Decimal:
    """``exp(a * a / 2)`` times the probability of a standard normal number beyond `a`."""
    if a > 8:
        ratio = a
        for k in range(200, 0, -1):
            ratio = a + k / ratio
        return 1 / ratio / (2 * PI).sqrt()
    term, total, k = a, a, 1
    while abs(term) > Decimal("1e-50"):
        k += 2
        term *= a * a / k
        total += term
    return (a * a / 2).exp() / 2 - total / (2 * PI).sqrt()


@functools.lru_cache
def mills_coefficients(bits: int) -> Sequence[float]:
    """Of the powers of t, from t**0 on: Newton's interpolation, multiplied out."""
    with localcontext() as context:
        context.prec = 60
        count = NODES[bits]
        nodes = [Decimal(math.cos(math.pi * (j + 0.5) / count)) for j in range(count)]
        differences = [mills(MIDDLE * (1 + t) / (1 - t)) for t in nodes]
        for k in range(1, count):
            for j in reversed(range(k, count)):
                differences[j] = (differences[j] - differences[j - 1]) / (nodes[j] - nodes[j - k])
        powers = [differences[-1]]
        for node, difference in zip(reversed(nodes[:-1]), reversed(differences[:-1]), strict=True):
            shifted, scaled = [Decimal(0), *powers], [*(-node * power for power in powers), Decimal(0)]
            powers = [a + b for a, b in zip(shifted, scaled, strict=True)]
            powers[0] += difference
        return [float(power) for power in powers]


@intrinsic
def mills_polynomial(typingctx, t):
    coefficients = mills_coefficients(t.bitwidth)
    return t(t), lambda context, builder, signature, args: horner(builder, coefficients, args[0])


@intrinsic
def logarithm_series(typingctx, z):
    """1 + z/3 + z**2/5 + ..., which is ``atanh(s) / s`` with ``z = s * s``."""
    coefficients = [1 / (2 * k + 1) for k in range(TERMS[z.bitwidth])]
    return z(z), lambda context, builder, signature, args: horner(builder, coefficients, args[0])


@intrinsic
def cut(typingctx, a):
    """a without its last digits, so that its square has no more than a number holds."""
    bits = a.bitwidth

    def codegen(context, builder, signature, args):
        integer = ir.IntType(bits)
        kept = ir.Constant(integer, -1 << CUT[bits])
        return builder.bitcast(builder.and_(builder.bitcast(args[0], integer), kept), args[0].type)

    return a(a), codegen


@inline
def within(a, far):
    """a up to `far`, beyond which `bell` is 0; NaN stays."""
    return far if a > far else a


@inline
def bell(a):
    """``exp(-a * a / 2)`` for a from 0 to that of `FAR`, where it is 0."""
    _, per_log2, rounder, high, low, lift, drop, one = constants(a)
    half, head = one / (one + one), cut(a)
    x = -half * (head * head)
    shifted = x * per_log2 + rounder
    n = shifted - rounder
    r = (x - n * high) - n * low - half * ((a - head) * (a + head))
    power = power_of_two(shifted + lift)
    return (power * (r * r * taylor(r) + r) + power) * drop


@inline
def mills_ratio(a, middle):
    """``exp(a * a / 2)`` times the probability of a standard normal number beyond a >= 0; `middle` is `MIDDLE`."""
    return mills_polynomial((a - middle) / (a + middle))


@inline
def logarithm_of_one_plus(q):
    """log(1 + q) for q from 0 to 1: with ``s = q / (2 + q)`` it is ``2 * atanh(s)``."""
    _, _, _, _, _, _, _, one = constants(q)
    s = q / (one + one + q)
    return (s + s) * logarithm_series(s * s)
