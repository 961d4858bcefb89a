"""How much a small file may become in memory: asked by what it says of itself, before memory is taken."""

LEAST = 256 << 20  # bytes: so much any file may describe
RATIO = 100  # a larger one, so many times its own size; digits as text take a tenth when compressed, and zeros nothing
DEFLATE = 1032  # times, and no more, zip and gzip make anything smaller (RFC 1951: 258 bytes in two bits)


def check_expansion(stored: int, described: int) -> None:
    """ValueError where a compressed file of `stored` bytes describes `described` ones and should not."""
    if described > DEFLATE * stored:
        raise ValueError(f"it describes {described:,} bytes, and {stored:,} compressed ones cannot hold them")
    check_memory(stored, described)


def check_memory(stored: int, described: int) -> None:
    """ValueError where a file of `stored` bytes, in any format, would take `described` ones and should not."""
    if described > max(LEAST, RATIO * stored):
        raise ValueError(
            f"it describes {described:,} bytes, more than {RATIO} times its own {stored:,} and than {LEAST:,}: "
            "not read, as it may be an attack; save it uncompressed if it is yours"
        )
