"""The numba backend: parallel compiled kernels. Requires numba; kernels compile at their first call."""

from fastcnn.backends import KERNELS, UPDATES
from fastcnn.backends.numba.convolution.conv import conv_forward, conv_input_gradient, conv_weight_gradient
from fastcnn.backends.numba.convolution.im2col import col2im, im2col
from fastcnn.backends.numba.pointwise.activation import (
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
)
from fastcnn.backends.numba.pointwise.batch_norm import (
    batch_norm_forward,
    batch_norm_input_gradient,
    batch_norm_parameter_gradient,
    batch_statistics,
)
from fastcnn.backends.numba.pointwise.dropout import dropout
from fastcnn.backends.numba.pointwise.elementwise import (
    add,
    elu_backward,
    elu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from fastcnn.backends.numba.pointwise.gather import gather_images
from fastcnn.backends.numba.pointwise.padding import pad, unpad
from fastcnn.backends.numba.pointwise.prelu import prelu_backward, prelu_forward
from fastcnn.backends.numba.pointwise.softmax import softmax_forward, softmax_loss
from fastcnn.backends.numba.pointwise.update import adam_update, momentum_update, rmsprop_update, sgd_update
from fastcnn.backends.numba.pooling.forward import avg_pool_forward, max_pool_forward
from fastcnn.backends.numba.pooling.global_average import global_avg_pool_backward, global_avg_pool_forward
from fastcnn.backends.numba.pooling.gradient import avg_pool_backward, max_pool_backward
from fastcnn.backends.numba.product.dense import dense_forward, dense_input_gradient, dense_weight_gradient

__all__ = [*KERNELS, *UPDATES]  # noqa: PLE0604 - every entry is a string
