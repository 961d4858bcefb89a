"""`Softmax` under the original's module name; it is a loss, see :mod:`fastcnn.losses`."""

from fastcnn.losses.softmax import Softmax

__all__ = ["Softmax"]
