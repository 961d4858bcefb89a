"""Checksums of arrays, of which several processes may each read a part."""

import zlib

import numpy as np

BLOCK = 64 << 20  # bytes that are made contiguous at a time
POLYNOMIAL = 0xEDB88320  # of CRC-32, the coefficient of x**31 in the lowest bit
ONE, X = 1 << 31, 1 << 30


def as_bytes(array: np.ndarray) -> np.ndarray:
    """The bytes of `array`, row by row; a view where it is contiguous."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def crc32(array: np.ndarray, before: int = 0) -> int:
    """CRC-32 of the bytes of `array`, row by row, after bytes whose checksum is `before`."""
    if not array.ndim:
        return zlib.crc32(as_bytes(array).data, before)
    rows = max(1, BLOCK // max(1, array[:1].nbytes))
    for first in range(0, len(array), rows):
        before = zlib.crc32(as_bytes(array[first : first + rows]).data, before)
    return before


def multiply(a: int, b: int) -> int:
    """The product of two polynomials over GF(2), modulo that of CRC-32."""
    product = 0
    for place in range(31, -1, -1):
        if a >> place & 1:
            product ^= b
        b = b >> 1 ^ (POLYNOMIAL if b & 1 else 0)
    return product


def joined(first: int, second: int, size: int) -> int:
    """The CRC-32 of two pieces one after the other, from those of each and the bytes of the second.

    A byte behind the first piece multiplies its remainder by x**8 (Peterson and Brown, "Cyclic Codes for Error
    Detection", 1961); the power of x is found by squaring.
    """
    power, square, exponent = ONE, X, 8 * size
    while exponent:
        if exponent & 1:
            power = multiply(power, square)
        square, exponent = multiply(square, square), exponent >> 1
    return multiply(first, power) ^ second
