"""Convolution in fewer multiplications: Winograd's minimal filtering. Requires numba.

Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2015). With d the inputs of a tile, g the weights
and * element by element,

    Y = A' [(G g G') * (B' d B)] A

where X' is X transposed. Summed over channels, each element of the bracket is a matrix product, of tiles x channels and
channels x outputs.

`matrices` computes A', G and B' in exact fractions, `table` lists the algorithms, `transforms` makes machine code of a
matrix, `tiles` cuts images into tiles, `blocks` convolves some of them; `convolution` and `weight_gradient` plan the
kernels.
"""
