"""Whole training steps and epochs, prediction, and how they scale with the batch, the threads and the dtype."""

from benchmarks.common import BACKENDS, COMPILED, THREADS, Timed

NETWORKS = ["lenet", "lenet5", "vgg_small"]
BLOCKS = ["mobilenet_block", "resnet_stem", "five_by_five", "strided", "narrow_bn", "mlp"]


class TrainingStep(Timed):
    """64 images: forward, both gradients, update."""

    params = (BACKENDS, NETWORKS)
    param_names = ("backend", "network")
    version = "1"

    def setup(self, backend: str, network: str) -> None:
        self.prepare(backend, lambda workloads: workloads.WORKLOADS[network])

    def time_step(self, backend: str, network: str) -> None:
        self.work()


class Block(Timed):
    """The same for other networks and parts of some, on as many images as they are measured on; NumPy would take half a
    minute."""

    params = (COMPILED, BLOCKS)
    param_names = ("backend", "network")
    version = "1"

    def setup(self, backend: str, network: str) -> None:
        self.prepare(backend, lambda workloads: workloads.WORKLOADS[network])

    def time_step(self, backend: str, network: str) -> None:
        self.work()


class Batch(Timed):
    """The LeNet step by the size of its batch."""

    params = (BACKENDS, [1, 8, 64, 256])
    param_names = ("backend", "batch")
    version = "1"

    def setup(self, backend: str, batch: int) -> None:
        self.prepare(backend, lambda workloads: workloads.training("lenet", batch))

    def time_step(self, backend: str, batch: int) -> None:
        self.work()


class Threads(Timed):
    """The vgg_small step of 64 images by the number of threads."""

    params = (BACKENDS, [1, 2])
    param_names = ("backend", "threads")
    version = "1"

    def setup(self, backend: str, threads: int) -> None:
        if threads > THREADS:
            raise NotImplementedError(f"FASTCNN_NUM_THREADS is {THREADS}")
        self.prepare(backend, lambda workloads: workloads.WORKLOADS["vgg_small"], threads=threads)

    def time_step(self, backend: str, threads: int) -> None:
        self.work()


class Dtype(Timed):
    """The LeNet step of 64 images by the dtype of its parameters."""

    params = (BACKENDS, ["float32", "float64"])
    param_names = ("backend", "dtype")
    version = "1"

    def setup(self, backend: str, dtype: str) -> None:
        self.prepare(backend, lambda workloads: workloads.WORKLOADS["lenet"], dtype=dtype)

    def time_step(self, backend: str, dtype: str) -> None:
        self.work()


class Prediction(Timed):
    """The probabilities of one image."""

    params = (BACKENDS, ["lenet", "vgg_small"])
    param_names = ("backend", "network")
    version = "1"

    def setup(self, backend: str, network: str) -> None:
        self.prepare(backend, lambda workloads: workloads.WORKLOADS[f"predict_{network}"])

    def time_one_image(self, backend: str, network: str) -> None:
        self.work()


class Epoch(Timed):
    """One epoch of LeNet on the 4,000 digits of the package: 4,000 over these seconds are the images per second."""

    params = (BACKENDS,)
    param_names = ("backend",)
    version = "1"

    def setup(self, backend: str) -> None:
        self.prepare(backend, lambda workloads: workloads.WORKLOADS["epoch_lenet"])

    def time_epoch(self, backend: str) -> None:
        self.work()
