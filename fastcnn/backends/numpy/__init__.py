"""The NumPy backend: the definition of every kernel. Requires NumPy alone."""

from fastcnn.backends import KERNELS, UPDATES
from fastcnn.backends.numpy.activation import (
    leaky_relu_backward,
    leaky_relu_forward,
    relu_backward,
    relu_forward,
)
from fastcnn.backends.numpy.batch_norm import (
    batch_norm_forward,
    batch_norm_input_gradient,
    batch_norm_parameter_gradient,
    batch_statistics,
)
from fastcnn.backends.numpy.conv import conv_forward, conv_input_gradient, conv_weight_gradient
from fastcnn.backends.numpy.dense import dense_forward, dense_input_gradient, dense_weight_gradient
from fastcnn.backends.numpy.dropout import dropout
from fastcnn.backends.numpy.elementwise import (
    add,
    elu_backward,
    elu_forward,
    sigmoid_backward,
    sigmoid_forward,
    tanh_backward,
    tanh_forward,
)
from fastcnn.backends.numpy.gather import gather_images
from fastcnn.backends.numpy.global_pooling import global_avg_pool_backward, global_avg_pool_forward
from fastcnn.backends.numpy.im2col import col2im, im2col
from fastcnn.backends.numpy.padding import pad, unpad
from fastcnn.backends.numpy.pooling import (
    avg_pool_backward,
    avg_pool_forward,
    max_pool_backward,
    max_pool_forward,
)
from fastcnn.backends.numpy.prelu import prelu_backward, prelu_forward
from fastcnn.backends.numpy.softmax import softmax_forward, softmax_loss
from fastcnn.backends.numpy.update import adam_update, momentum_update, rmsprop_update, sgd_update

__all__ = [*KERNELS, *UPDATES]  # noqa: PLE0604 - every entry is a string
