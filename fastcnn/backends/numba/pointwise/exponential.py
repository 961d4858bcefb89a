"""The exponential of numbers that are not positive, in code that LLVM vectorises. Requires numba.

`math.exp` is a call of the C library for each element, which keeps a loop scalar. All that activations need is of
arguments up to 0, where nothing overflows: a sigmoid is a quotient of ``exp(-abs(x))``, a hyperbolic tangent one of
``exp(-2 * abs(x)) - 1``. The method is that of Cody and Waite, "Software Manual for the Elementary Functions" (1980),
chapter 6: with n the integer next to ``x / log(2)`` and r the rest, ``exp(x) = 2**n * exp(r)``, abs(r) at most 0.35.

- r is found in two steps: log(2) is the sum of a number with so few digits that n times it is exact, and of the rest.
- ``exp(r) - 1`` is Taylor's polynomial, summed after its first term: small arguments keep all their digits. A minimax
  polynomial would be a term shorter in float32 and two in float64, at the price of coefficients nobody can check.
- n, added to a number whose last digit counts ones, lies in the lowest bits; shifted, they are an exponent: ``2**n``
  without a conversion, which AVX2 does not have for float64.

In float32, over all arguments, `exponential` is off by 0.98 units in the last place at most, `exponential_minus_one` by
0.88; in float64, over samples, by 0.96 and 1.03. That includes results below the normal numbers
(`tests/backends/test_exponential.py`).
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, overload

from fastcnn.backends.numba.core.jit import inline

LOG2 = Fraction("0.693147180559945309417232121458176568075500134360255254")
DIGITS = {32: 23, 64: 52}  # of a fraction, in bits
LIFT = {32: 30, 64: 60}  # a power 2**n below the normal numbers is 2**(n + LIFT) times 2**-LIFT
TERMS = {32: 8, 64: 14}  # of Taylor's polynomial: what is left out is below a tenth of the last place


def constants_of(bits: int) -> tuple[np.floating, ...]:
    """Of a dtype of 32 or 64 bits: an argument whose exponential is 0, 1 / log(2), the number that rounds, log(2) in
    two parts, LIFT, 2**-LIFT, and 1: a plain 1 would turn float32 into float64."""
    scalar = np.float32 if bits == 32 else np.float64
    exact_digits = 14 if bits == 32 else 40  # n has 8 or 11: together no more than a fraction holds
    high = Fraction(round(LOG2 * 2**exact_digits), 2**exact_digits)
    numbers = (-105 if bits == 32 else -746, 1 / LOG2, Fraction(3, 2) * 2 ** DIGITS[bits], high, LOG2 - high)
    return tuple(scalar(float(number)) for number in (*numbers, LIFT[bits], Fraction(1, 2 ** LIFT[bits]), 1))


CONSTANTS = {types.float32: constants_of(32), types.float64: constants_of(64)}


def constants(x: Any) -> Any:
    """`constants_of` the type of x; constants to the compiler."""
    raise TypeError("constants exists only in compiled code")


@overload(constants)
def _constants(x):
    values = CONSTANTS[x]
    return lambda x: values


@intrinsic
def power_of_two(typingctx, rounder):
    """2**n, where `rounder` is n plus the number that rounds: its lowest bits become the exponent."""
    bits = rounder.bitwidth
    bias = 127 if bits == 32 else 1023

    def codegen(context, builder, signature, args):
        integer = ir.IntType(bits)
        n = builder.add(builder.bitcast(args[0], integer), ir.Constant(integer, bias))
        return builder.bitcast(builder.shl(n, ir.Constant(integer, DIGITS[bits])), args[0].type)

    return rounder(rounder), codegen


def horner(builder: ir.IRBuilder, coefficients: Sequence[float], x: ir.Value) -> ir.Value:
    """The polynomial of x with these coefficients, the constant one first."""
    number, bits = x.type, 32 if x.type == ir.FloatType() else 64
    kind = ir.FunctionType(number, [number] * 3)
    multiply_add = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.f{bits}")
    total = ir.Constant(number, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = builder.call(multiply_add, [total, x, ir.Constant(number, coefficient)])
    return total


@intrinsic
def taylor(typingctx, r):
    """1/2! + r/3! + r**2/4! + ... by Horner's rule."""
    coefficients = [1 / math.factorial(k) for k in range(2, TERMS[r.bitwidth] + 1)]
    return r(r), lambda context, builder, signature, args: horner(builder, coefficients, args[0])


@inline
def reduced(x):
    """2**(n + LIFT), and exp(r) - 1, for x up to 0; NaN stays in the second."""
    lowest, per_log2, rounder, high, low, lift, _, _ = constants(x)
    x = lowest if x < lowest else x
    shifted = x * per_log2 + rounder
    n = shifted - rounder
    r = (x - n * high) - n * low
    return power_of_two(shifted + lift), r * r * taylor(r) + r


@inline
def exponential(x):
    """exp(x) for x up to 0, rounded once where it is below the normal numbers."""
    power, rest = reduced(x)
    _, _, _, _, _, _, drop, _ = constants(x)
    return (power * rest + power) * drop


@inline
def exponential_minus_one(x):
    """exp(x) - 1 for x up to 0."""
    power, rest = reduced(x)
    _, _, _, _, _, _, drop, one = constants(x)
    power = power * drop
    return power * rest + (power - one)
