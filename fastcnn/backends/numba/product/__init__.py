"""Matrix products, from register tiles up, on `core`. Requires numba.

- `arguments`: what products take; `tile`: the register tile; `packing`: panels that it reads
- `gemm`: the loop over tiles, `multiply_rows`, which convolutions call too, and whole products
- `lanes`: lines of sums of products lane by lane, by `lane_tile`, for each `lane_kind`
- `thin`: products with few rows; `sums`: sums over the first axis
- `dense`: the kernels of the fully-connected layer
"""
