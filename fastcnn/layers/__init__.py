"""The layers. Module names are part of the API: ``from fastcnn.layers.base_conv import Conv2D``."""

from fastcnn.layers.base import Layer
from fastcnn.layers.base_conv import Conv2D, col2im, im2col
from fastcnn.layers.fc import FullyConnect
from fastcnn.layers.pooling import AvgPooling, MaxPooling
from fastcnn.layers.relu import Leaky_Relu, LeakyRelu, Relu
from fastcnn.layers.rescaling import Rescaling
from fastcnn.layers.residual import Residual
from fastcnn.layers.softmax import Softmax

__all__ = [
    "AvgPooling",
    "Conv2D",
    "FullyConnect",
    "Layer",
    "LeakyRelu",
    "Leaky_Relu",
    "MaxPooling",
    "Relu",
    "Rescaling",
    "Residual",
    "Softmax",
    "col2im",
    "im2col",
]
