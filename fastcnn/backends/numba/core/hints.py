"""Names for type hints."""

import numpy as np

Array = np.ndarray
Shape = tuple[int, ...]
Index = int | np.signedinteger  # of an element; np.int64(0) where a constant is handed over in compiled code
Pair = tuple[int, int]  # zeros before and after an image; two sums
Strided = tuple[np.ndarray, int, int]  # the fields of a `product.arguments.Matrix`
