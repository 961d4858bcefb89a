"""The old name of `python -m benchmarks scaling`."""

from fastcnn.benchmark.clone import stand_for

stand_for(__name__, "scaling")
