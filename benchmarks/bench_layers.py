"""Layers as a training uses them: forward, then the gradients of the input and the parameters."""

from benchmarks.common import BACKENDS, Timed

KINDS = ["conv", "relu", "silu", "gelu", "hard_swish", "max_pool", "avg_pool"]
KINDS += ["batch_norm", "layer_norm", "group_norm", "dropout", "fc", "softmax"]


class Layer(Timed):
    params = (BACKENDS, KINDS)
    param_names = ("backend", "layer")
    version = "1"

    def setup(self, backend: str, layer: str) -> None:
        self.prepare(backend, lambda workloads: workloads.WORKLOADS[f"layer_{layer}"])

    def time_forward_and_gradients(self, backend: str, layer: str) -> None:
        self.work()
