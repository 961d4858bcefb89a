"""Kernels that read and write each element once or twice, on `core`. Requires numba.

- `elementwise`, `activation`, `piecewise`, `dropout`: of flat arrays; `smooth`, `exponential`, `gaussian` too
- `channels`, `batch_norm`, `prelu`: with numbers for each channel
- `layer_norm` and `row_statistics`, `group_norm` and `image_sums`: with statistics of each row, or image and group
- `padding`, `gather`: parts of images; `softmax`: of rows of logits; `update`: the optimizers' updates, in place
"""
