"""The layers. Module names are part of the API: ``from fastcnn.layers.base_conv import Conv2D``."""

from fastcnn.layers import missing
from fastcnn.layers.activations import GELU, HardSigmoid, HardSwish, Mish, ReLU6, SiLU, Softplus
from fastcnn.layers.base import Layer
from fastcnn.layers.base_conv import Conv2D, DepthwiseConv2D, col2im, im2col
from fastcnn.layers.bn import BatchNorm
from fastcnn.layers.conv_transpose import Conv2DTranspose
from fastcnn.layers.dropout import Dropout
from fastcnn.layers.fc import FullyConnect
from fastcnn.layers.flatten import Flatten
from fastcnn.layers.global_pooling import AdaptiveAvgPooling, GlobalAvgPooling, GlobalMaxPooling
from fastcnn.layers.normalization import GroupNorm, LayerNorm
from fastcnn.layers.pooling import AvgPooling, MaxPooling
from fastcnn.layers.relu import ELU, Leaky_Relu, LeakyRelu, PReLU, Relu, Sigmoid, Tanh
from fastcnn.layers.rescaling import Rescaling
from fastcnn.layers.residual import Residual
from fastcnn.layers.softmax import Softmax
from fastcnn.layers.upsampling import UpSampling

__all__ = [
    "ELU",
    "GELU",
    "AdaptiveAvgPooling",
    "AvgPooling",
    "BatchNorm",
    "Conv2D",
    "Conv2DTranspose",
    "DepthwiseConv2D",
    "Dropout",
    "Flatten",
    "FullyConnect",
    "GlobalAvgPooling",
    "GlobalMaxPooling",
    "GroupNorm",
    "HardSigmoid",
    "HardSwish",
    "Layer",
    "LayerNorm",
    "LeakyRelu",
    "Leaky_Relu",
    "MaxPooling",
    "Mish",
    "PReLU",
    "ReLU6",
    "Relu",
    "Rescaling",
    "Residual",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "Softplus",
    "Tanh",
    "UpSampling",
    "col2im",
    "im2col",
]

missing.install()
