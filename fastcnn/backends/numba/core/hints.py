"""Names for type hints."""

import numpy as np

Array = np.ndarray
Shape = tuple[int, ...]
Pair = tuple[int, int]  # zeros before and after an image; two sums
Strided = tuple[np.ndarray, int, int]  # the fields of a `product.arguments.Matrix`
