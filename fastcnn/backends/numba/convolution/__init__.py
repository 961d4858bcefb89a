"""Convolution and its gradients, on `product` and `pointwise`. Requires numba.

- `conv`: the kernels; `rule`: the table that chooses an algorithm for each; `arguments`: what they take
- `direct`, `direct_input`, `direct_weights`: products that read the image where it lies, one module a direction;
  `direct_patches`: of windows that lie side by side
- `lanes`, `lanes_weights`: few channels a group, a vector of channels at a time, by `lanes_tables`
- `winograd`: fewer multiplications for small kernels
- `columns`, `im2col`: a column matrix, and one product
"""
