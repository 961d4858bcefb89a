"""Kernels: convolution and its gradients by every algorithm, pooling, im2col and col2im."""

from benchmarks.common import BACKENDS, COMPILED, Timed

SHAPES = ["n64_28x28_1to12_k5", "n32_28x28_128to128_k3", "n32_56x56_64to128_k3s2"]
SPECIAL = ["n32_56x56_64to64_k3_g64", "n8_112x112_96to96_k3s2_g96", "n32_28x28_128to128_k3_g4"]
SPECIAL += ["n32_28x28_128to128_k3_g32", "n16_28x28_64to64_k3_d2", "n16_17x17_128to128_k1x7"]
SPECIAL += ["n64_16x16_32to32_k5", "n16_28x28_64to64_k7", "n16_28x28_64to64_k4", "n32_28x28_64to64_k5s2"]
SPECIAL += ["transposed_n16_28x28_64to32_k2s2", "transposed_n16_28x28_64to32_k4s2"]
WAYS = ["forward", "input", "weights"]


class Convolution(Timed):
    """The numba backend chooses its algorithm by the shape; the NumPy backend goes by the column matrix."""

    params = (BACKENDS, SHAPES, WAYS)
    param_names = ("backend", "shape", "way")
    version = "1"

    def setup(self, backend: str, shape: str, way: str) -> None:
        self.prepare(backend, lambda workloads: workloads.WORKLOADS[f"{shape}_{way}"])

    def time_convolution(self, backend: str, shape: str, way: str) -> None:
        self.work()


class Special(Convolution):
    """Depthwise, grouped, dilated, long, large and transposed convolutions; NumPy would take minutes."""

    params = (COMPILED, SPECIAL, WAYS)


class Algorithm(Timed):
    """The same convolution, 3 x 3 with 128 channels, by each algorithm of the numba backend."""

    params = (["numba"], ["winograd", "direct", "im2col"], WAYS)
    param_names = ("backend", "algorithm", "way")
    version = "1"

    def setup(self, backend: str, algorithm: str, way: str) -> None:
        self.prepare(backend, lambda workloads: workloads.WORKLOADS[f"{SHAPES[1]}_{way}"], algorithm=algorithm)

    def time_convolution(self, backend: str, algorithm: str, way: str) -> None:
        self.work()


class Pooling(Timed):
    params = (BACKENDS, ["max", "avg"], ["forward", "backward"])
    param_names = ("backend", "kind", "way")
    version = "1"

    def setup(self, backend: str, kind: str, way: str) -> None:
        self.prepare(backend, lambda workloads: workloads.WORKLOADS[f"{kind}_pool_112x112_k2s2_{way}"])

    def time_pooling(self, backend: str, kind: str, way: str) -> None:
        self.work()


class Resizing(Timed):
    """The pooling of a residual network's first layers, one of whole images, and images twice as large."""

    params = (
        ["numba"],
        ["max_pool_112x112_k3s2p1", "global_max_pool_56x56", "upsample_nearest_56x56", "upsample_bilinear_56x56"],
        ["forward", "backward"],
    )
    param_names = ("backend", "kind", "way")
    version = "1"

    def setup(self, backend: str, kind: str, way: str) -> None:
        self.prepare(backend, lambda workloads: workloads.WORKLOADS[f"{kind}_{way}"])

    def time_resizing(self, backend: str, kind: str, way: str) -> None:
        self.work()


class Columns(Timed):
    """The column matrix of 16 images of 56 x 56 with 64 channels, and its transpose."""

    params = (BACKENDS, ["im2col", "col2im"])
    param_names = ("backend", "kernel")
    version = "1"

    def setup(self, backend: str, kernel: str) -> None:
        self.prepare(backend, lambda workloads: workloads.WORKLOADS[kernel])

    def time_columns(self, backend: str, kernel: str) -> None:
        self.work()
