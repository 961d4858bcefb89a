"""The layers. Module names are part of the API: ``from fastcnn.layers.base_conv import Conv2D``."""

from fastcnn.layers import missing
from fastcnn.layers.base import Layer
from fastcnn.layers.base_conv import Conv2D, col2im, im2col
from fastcnn.layers.bn import BatchNorm
from fastcnn.layers.dropout import Dropout
from fastcnn.layers.fc import FullyConnect
from fastcnn.layers.flatten import Flatten
from fastcnn.layers.global_pooling import AdaptiveAvgPooling, GlobalAvgPooling, GlobalMaxPooling
from fastcnn.layers.pooling import AvgPooling, MaxPooling
from fastcnn.layers.relu import ELU, Leaky_Relu, LeakyRelu, PReLU, Relu, Sigmoid, Tanh
from fastcnn.layers.rescaling import Rescaling
from fastcnn.layers.residual import Residual
from fastcnn.layers.softmax import Softmax
from fastcnn.layers.upsampling import UpSampling

__all__ = [
    "ELU",
    "AdaptiveAvgPooling",
    "AvgPooling",
    "BatchNorm",
    "Conv2D",
    "Dropout",
    "Flatten",
    "FullyConnect",
    "GlobalAvgPooling",
    "GlobalMaxPooling",
    "Layer",
    "LeakyRelu",
    "Leaky_Relu",
    "MaxPooling",
    "PReLU",
    "Relu",
    "Rescaling",
    "Residual",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "UpSampling",
    "col2im",
    "im2col",
]

missing.install()
