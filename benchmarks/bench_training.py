"""Whole training steps on both backends: the workloads of ``fastcnn bench``, followed over commits."""

from fastcnn import benchmark


class LeNetStep:
    """One step on 64 images; asv repeats it and takes the median."""

    params = ("numba", "numpy")
    param_names = ("backend",)
    version = "1"

    def setup(self, backend):
        self.step = benchmark.WORKLOADS["lenet"](backend)
        self.step()  # compiles

    def time_step(self, backend):
        self.step()
