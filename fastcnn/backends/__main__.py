"""``python -m fastcnn.backends``: all kernels, their parameters and what they compute."""

from fastcnn.backends import numpy, registry

print(registry.interface(numpy.__all__))
