"""Convolution: direct, by Winograd's algorithm, and by a column matrix. Requires numba."""
