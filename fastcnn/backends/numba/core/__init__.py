"""What every kernel is made of, and nothing of this backend below it. Requires numba.

- `jit`: how kernels are compiled and launched; `cache`: where they are kept, by which key; `width`: of vectors
- `calls`: functions that kernels call by their addresses
- `tasks`: kernels that are cut into tasks, which threads take one by one
- `vectors`, `arithmetic`, `transpose`: SIMD vectors as numba values
- `memory`: the one allocator; `copying`: parts of images copied, cleared, gated; `hints`: names for type hints
"""

import fastcnn.backends.numba.core.jit  # noqa: F401 - before numba itself, whose threads it makes room for
