"""The interface between layers and kernels: what every backend offers, under the same names.

`fastcnn.backends.numpy` is the definition: short, vectorised, meant to be read. `fastcnn.backends.numba` computes
the same fast, and `fastcnn.backends.check` runs both and compares. Layers hand over arrays that are C-contiguous,
aligned, writeable and all of one dtype, float32 or float64; kernels check nothing, change no argument and return
new arrays of that dtype.

Shapes: an image batch is (B, H, W, C), convolution weights are (k, k, C, O), `eta` is the gradient of the loss with
respect to a kernel's output. `padding` is (before, after), zeros on both image axes; output sizes OH and OW are
``(H + before + after - k) // stride + 1`` for convolutions and ``H // stride`` for pooling.

=====================================================================  =================================================
kernel                                                                 result
=====================================================================  =================================================
``im2col(image, ksize, stride, padding)``                              (B*OH*OW, k*k*C): a row holds one window, its
                                                                       rows, columns and channels in that order
``col2im(cols, image_shape, ksize, stride, padding)``                  the adjoint: every column entry added to the
                                                                       pixel it was copied from
``conv_forward(x, weights, bias, stride, padding, rectify)``           (B, OH, OW, O)
``conv_input_gradient(eta, weights, image_shape, stride, padding,      (B, H, W, C)
gate)``
``conv_weight_gradient(x, eta, ksize, stride, padding, rectify)``      (k, k, C, O) and the bias gradient (O,), both
                                                                       summed over the batch
``dense_forward(x, weights, bias)``                                    x (B, I), weights (I, O): (B, O)
``dense_input_gradient(eta, weights)``                                 (B, I)
``dense_weight_gradient(x, eta)``                                      (I, O) and the bias gradient (O,)
``max_pool_forward(x, ksize, stride, rectify)``                        (B, OH, OW, C) and the offset of each maximum in
                                                                       its window, ``i * k + j``, as `pool_index_dtype`
``max_pool_backward(eta, index, image_shape, ksize, stride)``          (B, H, W, C): eta added at each maximum
``avg_pool_forward(x, ksize, stride)``                                 (B, OH, OW, C): the mean of the clipped window
``avg_pool_backward(eta, image_shape, ksize, stride)``                 (B, H, W, C): eta over the window's size, added
                                                                       to each pixel of the window
``relu_forward(x)``                                                    ``max(x, 0)``, NaN kept
``relu_backward(x, eta)``                                              eta where ``x >= 0``, else 0
``leaky_relu_forward(x, alpha)``                                       x where ``x >= 0``, else ``alpha * x``
``leaky_relu_backward(x, eta, alpha)``                                 eta where ``x >= 0``, else ``alpha * eta``
``softmax_forward(logits)``                                            logits (B, classes): their probabilities
``softmax_loss(logits, labels)``                                       probabilities, and the cross-entropy of each row
                                                                       (B,), ``log(sum(exp(z - max))) - (z[label] -
                                                                       max)``; labels (B,) are int64
``gather_images(images, index, top, left, flip, height, width)``       (len(index), height, width, C), of the dtype of
                                                                       `images`, uint8 too: for each number in `index`
                                                                       the rectangle of that image from (top, left) on,
                                                                       0 outside, mirrored where `flip`; index, top and
                                                                       left are int64, flip is bool
``add(a, b)``                                                          ``a + b``
``sigmoid_forward(x)``                                                 ``1 / (1 + exp(-x))``
``sigmoid_backward(y, eta)``                                           ``eta * y * (1 - y)`` of the output y
``tanh_forward(x)``                                                    the hyperbolic tangent
``tanh_backward(y, eta)``                                              ``eta * (1 - y * y)`` of the output y
``elu_forward(x, alpha)``                                              x where ``x >= 0``, else ``alpha * (exp(x) - 1)``
``elu_backward(x, eta, alpha)``                                        eta where ``x >= 0``, else ``eta * alpha *
                                                                       exp(x)``
``prelu_forward(x, alpha)``                                            x where ``x >= 0``, else ``alpha * x``; alpha
                                                                       (C,), one for each channel of the last axis
``prelu_backward(x, eta, alpha)``                                      eta where ``x >= 0``, else ``alpha * eta``; and
                                                                       the gradient of alpha (C,)
``global_avg_pool_forward(x)``                                         (B, C): the mean of each channel
``global_avg_pool_backward(eta, image_shape)``                         (B, H, W, C): ``eta / (H * W)`` at every pixel
``pad(image, padding)``                                                the image with zeros around both image axes
``unpad(image, padding)``                                              the adjoint: what `pad` added is cut away
``batch_statistics(x)``                                                x (N, C): mean and variance of each column, both
                                                                       (C,); the variance is that of the batch, ``sum /
                                                                       N``
``batch_norm_forward(x, mean, var, gain, bias, epsilon)``              (N, C): ``xhat * gain + bias`` with ``xhat = (x -
                                                                       mean) / sqrt(var + epsilon)``
``batch_norm_parameter_gradient(x, eta, mean, var, epsilon)``          the sums of ``eta * xhat`` and of eta, both (C,)
``batch_norm_input_gradient(x, eta, mean, var, gain, dgain, dbias,     (N, C): ``gain / sqrt(var + epsilon) * (eta -
epsilon)``                                                             dbias / N - xhat * dgain / N)``; where mean and
                                                                       var are constants dgain and dbias are 0
``dropout(x, keep, seed, first)``                                      ``x / keep`` where an element is kept, else 0:
                                                                       the upper half of random number ``first + i`` of
                                                                       `seed` (see :mod:`fastcnn.splitmix`), of flat
                                                                       index i, is below ``round(keep * 2**32)``
=====================================================================  =================================================

A ReLU can be fused into the layer that follows it. With ``rectify=True`` (default False), a convolution or a maximum
takes ``max(x, 0)`` instead of x. The convolution's input gradient passes where `gate`, the array before the ReLU, is 0
or larger (default None: everywhere), and a maximum whose gradient the ReLU would stop has the offset `pool_no_index`.

Pooling windows start every `stride` and are clipped at the bottom and right border. The maximum is the first one in
row-major window order, and the first NaN beats every number.

Optimizers' updates are kernels that change arrays in place: `parameter`, and what the optimizer keeps for it.
``slope = scale * gradient + decay * parameter`` below; numbers are Python floats.

=====================================================================  =================================================
update                                                                 what it does
=====================================================================  =================================================
``sgd_update(parameter, gradient, rate, keep)``                        ``p = keep * p - rate * gradient``
``momentum_update(parameter, gradient, velocity, rate, momentum,       ``v = momentum * v + slope; p -= rate * v``; with
scale, decay, nesterov)``                                              `nesterov` ``p -= rate * (slope + momentum * v)``
``rmsprop_update(parameter, gradient, square, rate, rho, epsilon,      ``s = rho * s + (1 - rho) * slope ** 2; p -= rate
scale, decay)``                                                        * slope / (sqrt(s) + epsilon)``
``adam_update(parameter, gradient, mean, square, step, rate, beta1,    ``m = beta1 * m + (1 - beta1) * slope``, ``s =
beta2, epsilon, scale, decay, keep)``                                  beta2 * s + (1 - beta2) * slope ** 2``, ``p =
                                                                       keep * p - rate * m' / (sqrt(s') + epsilon)``
                                                                       with ``m' = m / (1 - beta1 ** step)`` and ``s' =
                                                                       s / (1 - beta2 ** step)``
=====================================================================  =================================================

A logit minus the largest of its row is the dtype's lowest number where it would be less: its probability is 0 and its
loss finite. A row with NaN or positive infinity gives NaN.
"""

from __future__ import annotations

import numpy as np

KERNELS = (
    "im2col",
    "col2im",
    "conv_forward",
    "conv_input_gradient",
    "conv_weight_gradient",
    "dense_forward",
    "dense_input_gradient",
    "dense_weight_gradient",
    "max_pool_forward",
    "max_pool_backward",
    "avg_pool_forward",
    "avg_pool_backward",
    "relu_forward",
    "relu_backward",
    "leaky_relu_forward",
    "leaky_relu_backward",
    "softmax_forward",
    "softmax_loss",
    "gather_images",
    "add",
    "sigmoid_forward",
    "sigmoid_backward",
    "tanh_forward",
    "tanh_backward",
    "elu_forward",
    "elu_backward",
    "prelu_forward",
    "prelu_backward",
    "global_avg_pool_forward",
    "global_avg_pool_backward",
    "pad",
    "unpad",
    "batch_statistics",
    "batch_norm_forward",
    "batch_norm_parameter_gradient",
    "batch_norm_input_gradient",
    "dropout",
)

UPDATES = ("sgd_update", "momentum_update", "rmsprop_update", "adam_update")


def pool_index_dtype(ksize: int) -> np.dtype:
    """The dtype that holds an offset into a `ksize` x `ksize` window: one byte wherever it fits."""
    return np.dtype(np.uint8 if ksize * ksize < 256 else np.int32)


def pool_no_index(ksize: int) -> int:
    """The offset that no pixel of a window has: the gradient goes nowhere. A number that float32 can hold."""
    return 255 if ksize * ksize < 256 else 2**30
