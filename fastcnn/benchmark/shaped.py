"""The old name of `python -m benchmarks shaped`."""

from fastcnn.benchmark.clone import stand_for

stand_for(__name__, "shaped")
