"""What takes seconds to import. asv's fork server imports every module of this package once, and forks for each of some
hundred and fifty benchmarks; where asv starts a process for each instead, it imports the module it needs and not this.

The numba backend tells OpenMP by the environment how long to spin. That is for itself: PyTorch is imported before it,
and processes that are started later find the environment as it was.
"""

import contextlib
import os

from benchmarks import common

with contextlib.suppress(ImportError):  # not installed
    import torch  # noqa: F401

with contextlib.suppress(ImportError):  # a commit without it
    before = os.environ.get("GOMP_SPINCOUNT")
    import fastcnn.backends.numba  # noqa: F401

    common.SPINNING = os.environ.pop("GOMP_SPINCOUNT", None)
    if before is not None:
        os.environ["GOMP_SPINCOUNT"] = before
