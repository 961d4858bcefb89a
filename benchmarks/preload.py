"""What takes seconds to import. asv's fork server imports every module of this package once, and forks for each of some
hundred and fifty benchmarks; where asv starts a process for each instead, it imports the module it needs and not this.

PyTorch comes first: its OpenMP reads the environment when it is loaded, and the numba backend changes that for its own.
"""

import contextlib

from benchmarks import common  # noqa: F401 - sets the environment first

with contextlib.suppress(ImportError):  # not installed
    import torch  # noqa: F401

with contextlib.suppress(ImportError):  # a commit without it
    import fastcnn.backends.numba  # noqa: F401
