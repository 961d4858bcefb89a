"""Kernels that read and write each element once or twice, on `core`. Requires numba.

- `elementwise`, `activation`, `dropout`, `exponential`: of flat arrays
- `channels`, `batch_norm`, `prelu`: with numbers for each channel
- `padding`, `gather`: parts of images; `softmax`: of rows of logits; `update`: the optimizers' updates, in place
"""
