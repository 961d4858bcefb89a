"""Element by element, channel by channel, row by row. Requires numba."""
