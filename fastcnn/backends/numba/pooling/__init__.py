"""Maxima and means of windows. Requires numba."""
