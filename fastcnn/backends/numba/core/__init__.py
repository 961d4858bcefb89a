"""What compiles kernels, and moves vectors, memory and tasks. Requires numba."""
