"""Random numbers by counting: a number is hashed, so that nobody keeps a generator's state or the numbers drawn.

The hash is the finaliser of SplitMix64: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators"
(OOPSLA 2014), figure 16. Number i of a seed is the hash of ``seed + (i + 1) * GAMMA``, in 64-bit arithmetic.
"""

GAMMA = 0x9E3779B97F4A7C15  # 2**64 over the golden ratio, made odd: steps of it visit every 64-bit number
FIRST_FACTOR = 0xBF58476D1CE4E5B9
SECOND_FACTOR = 0x94D049BB133111EB
MASK = 2**64 - 1


def mix(seed: int, number: int) -> int:
    """Random number `number` of `seed`, both from 0 to ``2**64 - 1``: a 64-bit integer."""
    z = (seed + (number + 1) * GAMMA) & MASK
    z = ((z ^ (z >> 30)) * FIRST_FACTOR) & MASK
    z = ((z ^ (z >> 27)) * SECOND_FACTOR) & MASK
    return z ^ (z >> 31)
