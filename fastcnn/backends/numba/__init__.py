"""The numba backend: parallel compiled kernels. Requires numba; kernels compile at their first call."""

from fastcnn.backends import KERNELS, UPDATES
from fastcnn.backends.numba.activation import (
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
)
from fastcnn.backends.numba.batch_norm import (
    batch_norm_forward,
    batch_norm_input_gradient,
    batch_norm_parameter_gradient,
    batch_statistics,
)
from fastcnn.backends.numba.conv import conv_forward, conv_input_gradient, conv_weight_gradient
from fastcnn.backends.numba.dense import dense_forward, dense_input_gradient, dense_weight_gradient
from fastcnn.backends.numba.dropout import dropout
from fastcnn.backends.numba.elementwise import (
    add,
    elu_backward,
    elu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from fastcnn.backends.numba.gather import gather_images
from fastcnn.backends.numba.global_pooling import global_avg_pool_backward, global_avg_pool_forward
from fastcnn.backends.numba.im2col import col2im, im2col
from fastcnn.backends.numba.padding import pad, unpad
from fastcnn.backends.numba.pooling import avg_pool_forward, max_pool_forward
from fastcnn.backends.numba.pooling_gradient import avg_pool_backward, max_pool_backward
from fastcnn.backends.numba.prelu import prelu_backward, prelu_forward
from fastcnn.backends.numba.softmax import softmax_forward, softmax_loss
from fastcnn.backends.numba.update import adam_update, momentum_update, rmsprop_update, sgd_update

__all__ = [*KERNELS, *UPDATES]  # noqa: PLE0604 - every entry is a string
