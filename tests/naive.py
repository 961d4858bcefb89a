"""The oracle: every kernel and layer computation as scalar loops, in float64, importing nothing from fastcnn.

Each function has the name and arguments of the kernel that it checks and is written straight from the definition, so
that a reader can compare it with a textbook. Lists instead of arrays in the inner loops: three times faster here.
"""

import math

import numpy as np


def output_sizes(image_shape, window):
    """Height and width: each the number of places of a window of `ksize` pixels, `dilation` apart."""
    sizes = []
    for size, ksize, stride, dilation, padding in zip(image_shape[1:3], *window, strict=True):
        sizes.append((size + padding[0] + padding[1] - dilation * (ksize - 1) - 1) // stride + 1)
    return sizes


def plain(ksize):
    """A square window: stride 1, no dilation, no padding."""
    return (ksize, ksize), (1, 1), (1, 1), ((0, 0), (0, 0))


def windows(image_shape, window):
    """All (n, oh, ow, i, j, h, w): output pixel, place in the kernel, and the input pixel under it, if it exists."""
    (batch, height, width, _), ((kh, kw), (sh, sw), (dh, dw), ((top, _), (left, _))) = image_shape, window
    oh_n, ow_n = output_sizes(image_shape, window)
    for n in range(batch):
        for oh in range(oh_n):
            for ow in range(ow_n):
                for i in range(kh):
                    for j in range(kw):
                        h, w = oh * sh - top + i * dh, ow * sw - left + j * dw
                        if 0 <= h < height and 0 <= w < width:
                            yield n, oh, ow, i, j, h, w


def im2col(image, window):
    batch, _, _, channels = image.shape
    (oh_n, ow_n), (kh, kw) = output_sizes(image.shape, window), window[0]
    cols = np.zeros((batch * oh_n * ow_n, kh * kw * channels))
    for n, oh, ow, i, j, h, w in windows(image.shape, window):
        for c in range(channels):
            cols[(n * oh_n + oh) * ow_n + ow, (i * kw + j) * channels + c] = image[n, h, w, c]
    return cols


def col2im(cols, image_shape, window):
    channels, (oh_n, ow_n), kw = image_shape[3], output_sizes(image_shape, window), window[0][1]
    image = np.zeros(image_shape)
    for n, oh, ow, i, j, h, w in windows(image_shape, window):
        for c in range(channels):
            image[n, h, w, c] += cols[(n * oh_n + oh) * ow_n + ow, (i * kw + j) * channels + c]
    return image


def pairs(inputs, outputs, channels):
    """All (channel, its number in its group, output): what meets in a convolution whose weights have so many `inputs`
    of the `channels`."""
    each = outputs // (channels // inputs)  # outputs of a group
    return [(o // each * inputs + c, c, o) for o in range(outputs) for c in range(inputs)]


def conv_forward(x, weights, bias, window, rectify=False):
    x = relu_forward(x) if rectify else x
    inputs, outputs, shape = weights.shape[2], weights.shape[3], x.shape
    sizes = output_sizes(shape, window)
    out = (np.zeros((shape[0], *sizes, outputs)) + bias).tolist()
    meeting, x, weights = pairs(inputs, outputs, shape[3]), x.tolist(), weights.tolist()
    for n, oh, ow, i, j, h, w in windows(shape, window):
        pixel, value, tap = out[n][oh][ow], x[n][h][w], weights[i][j]
        for channel, c, o in meeting:
            pixel[o] += value[channel] * tap[c][o]
    return np.array(out).reshape(shape[0], *sizes, outputs)


def conv_input_gradient(eta, weights, image_shape, window, gate=None):
    image = np.zeros(image_shape).tolist()
    meeting = pairs(weights.shape[2], weights.shape[3], image_shape[3])
    eta, weights = eta.tolist(), weights.tolist()
    for n, oh, ow, i, j, h, w in windows(image_shape, window):
        pixel, slope, tap = image[n][h][w], eta[n][oh][ow], weights[i][j]
        for channel, c, o in meeting:
            pixel[channel] += slope[o] * tap[c][o]
    image = np.array(image).reshape(image_shape)
    return image if gate is None else relu_backward(gate, image)


def conv_weight_gradient(x, eta, window, groups=1, rectify=False):
    x = relu_forward(x) if rectify else x
    outputs, shape = eta.shape[3], x.shape
    inputs = shape[3] // groups
    dw = np.zeros((*window[0], inputs, outputs)).tolist()
    db = [0.0] * outputs
    meeting, x, eta = pairs(inputs, outputs, shape[3]), x.tolist(), eta.tolist()
    for n, oh, ow, i, j, h, w in windows(shape, window):
        slope, value, tap = eta[n][oh][ow], x[n][h][w], dw[i][j]
        for channel, c, o in meeting:
            tap[c][o] += value[channel] * slope[o]
    for image in eta:
        for row in image:
            for slope in row:
                for o in range(outputs):
                    db[o] += slope[o]
    return np.array(dw), np.array(db)


def conv_transpose_forward(x, weights, bias, image_shape, window):
    return conv_input_gradient(x, weights, image_shape, window) + bias


def conv_transpose_input_gradient(eta, weights, window):
    return conv_forward(eta, weights, 0.0, window)


def conv_transpose_weight_gradient(x, eta, window, groups=1):
    return conv_weight_gradient(eta, x, window, groups)[0], sum_rows(eta.reshape(-1, eta.shape[3]))


def dense_forward(x, weights, bias):
    out = np.zeros((x.shape[0], weights.shape[1]))
    for n in range(x.shape[0]):
        for o in range(weights.shape[1]):
            out[n, o] = bias[o]
            for i in range(x.shape[1]):
                out[n, o] += float(x[n, i]) * float(weights[i, o])
    return out


def dense_input_gradient(eta, weights):
    image = np.zeros((eta.shape[0], weights.shape[0]))
    for n in range(eta.shape[0]):
        for i in range(weights.shape[0]):
            for o in range(weights.shape[1]):
                image[n, i] += float(eta[n, o]) * float(weights[i, o])
    return image


def dense_weight_gradient(x, eta):
    dw, db = np.zeros((x.shape[1], eta.shape[1])), np.zeros(eta.shape[1])
    for n in range(x.shape[0]):
        for o in range(eta.shape[1]):
            db[o] += float(eta[n, o])
            for i in range(x.shape[1]):
                dw[i, o] += float(x[n, i]) * float(eta[n, o])
    return dw, db


def sum_rows(matrix):
    return np.array([math.fsum(column) for column in matrix.T.tolist()])


def pool_window(shape, oh, ow, window):
    """(offset in the window, h, w) of each pixel of a clipped window, in row-major order."""
    (kh, kw), (sh, sw), (dh, dw), ((top, _), (left, _)) = window
    for i in range(kh):
        for j in range(kw):
            h, w = oh * sh + i * dh - top, ow * sw + j * dw - left
            if 0 <= h < shape[1] and 0 <= w < shape[2]:
                yield i * kw + j, h, w


def pool_square(ksize, stride):
    """The windows of the original's poolings."""
    return (ksize, ksize), (stride, stride), (1, 1), ((0, 0), (0, 0))


def halved(x):
    """Windows of 2 x 2 pixels side by side, and how many."""
    return pool_square(2, 2), (x.shape[1] // 2, x.shape[2] // 2)


def pool_outputs(batch, size, channels):
    for n in range(batch):
        for oh in range(size[0]):
            for ow in range(size[1]):
                for c in range(channels):
                    yield n, oh, ow, c


def max_pool_forward(x, window, size, rectify=False):
    before, x = x, relu_forward(x) if rectify else x
    out, index = np.zeros((len(x), *size, x.shape[3])), np.zeros((len(x), *size, x.shape[3]), int)
    for n, oh, ow, c in pool_outputs(len(x), size, x.shape[3]):
        best, best_offset, place = None, None, None
        for offset, h, w in pool_window(x.shape, oh, ow, window):
            value = float(x[n, h, w, c])
            first_nan = best is not None and math.isnan(value) and not math.isnan(best)
            if best is None or value > best or first_nan:
                best, best_offset, place = value, offset, (n, h, w, c)
        stopped = rectify and not before[place] >= 0
        no_index = 255 if window[0][0] * window[0][1] < 256 else 2**31 - 1
        out[n, oh, ow, c], index[n, oh, ow, c] = best, no_index if stopped else best_offset
    return out, index


def max_pool_backward(eta, index, image_shape, window):
    image = np.zeros(image_shape)
    for n, oh, ow, c in pool_outputs(len(eta), eta.shape[1:3], eta.shape[3]):
        for offset, h, w in pool_window(image_shape, oh, ow, window):
            if offset == index[n, oh, ow, c]:
                image[n, h, w, c] += eta[n, oh, ow, c]
    return image


def pool_divisor(shape, oh, ow, window, count_padding, divisor):
    """What a window's sum is divided by; with `count_padding` the pixels of the padded image that it holds."""
    (kh, kw), (sh, sw), (dh, dw), ((top, bottom), (left, right)) = window
    if not count_padding:
        top = bottom = left = right = 0
    rows = [h for h in (oh * sh + i * dh - window[3][0][0] for i in range(kh)) if -top <= h < shape[1] + bottom]
    columns = [w for w in (ow * sw + j * dw - window[3][1][0] for j in range(kw)) if -left <= w < shape[2] + right]
    return divisor if divisor > 0 else len(rows) * len(columns)


def avg_pool_forward(x, window, size, count_padding=False, divisor=0):
    out = np.zeros((len(x), *size, x.shape[3]))
    for n, oh, ow, c in pool_outputs(len(x), size, x.shape[3]):
        total = sum(float(x[n, h, w, c]) for _, h, w in pool_window(x.shape, oh, ow, window))
        out[n, oh, ow, c] = total / pool_divisor(x.shape, oh, ow, window, count_padding, divisor)
    return out


def avg_pool_backward(eta, image_shape, window, count_padding=False, divisor=0):
    image = np.zeros(image_shape)
    for n, oh, ow, c in pool_outputs(len(eta), eta.shape[1:3], eta.shape[3]):
        share = float(eta[n, oh, ow, c]) / pool_divisor(image_shape, oh, ow, window, count_padding, divisor)
        for _, h, w in pool_window(image_shape, oh, ow, window):
            image[n, h, w, c] += share
    return image


def each(function, *arrays):
    """`function` of the elements, one by one."""
    flat = [array.reshape(-1).tolist() for array in arrays]
    return np.array([function(*values) for values in zip(*flat, strict=True)]).reshape(arrays[0].shape)


def relu_forward(x):
    return each(lambda v: v if v > 0 or math.isnan(v) else 0.0, x)


def positive(value, at_zero):
    return value > 0 or (at_zero and value == 0)


def relu_backward(x, eta, at_zero=True):
    return each(lambda v, slope: slope if positive(v, at_zero) else 0.0, x, eta)


def leaky_relu_forward(x, alpha):
    return each(lambda v: v if v >= 0 else alpha * v, x)


def leaky_relu_backward(x, eta, alpha, at_zero=True):
    return each(lambda v, slope: slope if positive(v, at_zero) else alpha * slope, x, eta)


def add(a, b):
    return each(lambda v, w: v + w, a, b)


def sigmoid_forward(x):
    """Of a negative number by the other formula, as ``math.exp`` raises where it overflows."""
    return each(lambda v: 1 / (1 + math.exp(-v)) if v >= 0 else math.exp(v) / (1 + math.exp(v)), x)


def sigmoid_backward(y, eta):
    return each(lambda v, slope: slope * v * (1 - v), y, eta)


def tanh_forward(x):
    return each(math.tanh, x)


def tanh_backward(y, eta):
    return each(lambda v, slope: slope * ((1 - v) * (1 + v)), y, eta)  # 1 - v * v cancels


def elu_forward(x, alpha):
    return each(lambda v: v if v >= 0 else alpha * math.expm1(v), x)


def elu_backward(x, eta, alpha, at_zero=True):
    return each(lambda v, slope: slope if positive(v, at_zero) else slope * alpha * math.exp(v), x, eta)


def logistic(value):
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def silu_forward(x):
    return each(lambda v: v * logistic(v), x)


def silu_backward(x, eta):
    return each(lambda v, slope: slope * logistic(v) * (1 + v * logistic(-v)), x, eta)


def gelu_forward(x, tanh):
    if tanh:
        return each(lambda v: v * logistic(2 * gelu_angle(v)), x)
    return each(lambda v: v * math.erfc(-v / math.sqrt(2)) / 2, x)


def gelu_angle(value):
    """1 + tanh(angle) is 2 * logistic(2 * angle)."""
    return math.sqrt(2 / math.pi) * (value + 0.044715 * value**3)


def gelu_backward(x, eta, tanh):
    def slope(v):
        if tanh:
            share, steepness = logistic(2 * gelu_angle(v)), 2 * math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * v**2)
            rest = logistic(-2 * gelu_angle(v))
            return share + (v * share * rest * steepness if share * rest or math.isinf(v) else 0)
        return math.erfc(-v / math.sqrt(2)) / 2 + v * math.exp(-v * v / 2) / math.sqrt(2 * math.pi)

    return each(lambda v, own: own * slope(v), x, eta)


def softplus_forward(x):
    return each(lambda v: max(v, 0) + math.log1p(math.exp(-abs(v))) if not math.isnan(v) else v, x)


def softplus_backward(x, eta):
    return each(lambda v, slope: slope * logistic(v), x, eta)


def mish_forward(x):
    return each(lambda v: v * math.tanh(softplus_forward(np.array([v]))[0]), x)


def mish_backward(x, eta):
    def slope(v):
        """1 - tanh(y)**2 is 1 / cosh(y)**2, which is 0 where Python would refuse to compute it."""
        y = float(softplus_forward(np.array([v]))[0])
        return math.tanh(y) + v * logistic(v) * (0 if y > 350 else 1 / math.cosh(y) ** 2)

    return each(lambda v, own: own * slope(v), x, eta)


def ramp_forward(x, slope, offset, most):
    return each(lambda v: min(max(slope * v + offset, 0), most) if not math.isnan(v) else v, x)


def ramp_backward(x, eta, slope, offset, most):
    return each(lambda v, own: own * slope if -offset / slope < v < (most - offset) / slope else 0, x, eta)


def hard_swish_forward(x):
    return each(lambda v: v * min(max(v + 3, 0), 6) / 6 if not math.isnan(v) else v, x)


def hard_swish_backward(x, eta):
    return each(lambda v, own: 0 if v <= -3 else own if v >= 3 else own * (v / 3 + 0.5), x, eta)


def prelu_forward(x, alpha):
    return each(lambda v, a: v if v >= 0 else a * v, x, alpha + np.zeros(x.shape))


def prelu_backward(x, eta, alpha, at_zero=True):
    dx = each(lambda v, slope, a: slope if positive(v, at_zero) else a * slope, x, eta, alpha + np.zeros(x.shape))
    dalpha = np.zeros(len(alpha))
    for row, slopes in zip(x.reshape(-1, len(alpha)).tolist(), eta.reshape(-1, len(alpha)).tolist(), strict=True):
        for c, (value, slope) in enumerate(zip(row, slopes, strict=True)):
            dalpha[c] += 0.0 if value >= 0 else slope * value
    return dx, dalpha


def global_avg_pool_forward(x):
    batch, height, width, channels = x.shape
    out = np.zeros((batch, channels))
    for n in range(batch):
        for c in range(channels):
            out[n, c] = sum(x[n, :, :, c].reshape(-1).tolist()) / (height * width)
    return out


def global_avg_pool_backward(eta, image_shape):
    image = np.zeros(image_shape)
    for n, h, w, c in np.ndindex(*image_shape):
        image[n, h, w, c] = float(eta[n, c]) / (image_shape[1] * image_shape[2])
    return image


def resample(x, rows, down, columns, across):
    out = np.zeros((len(x), len(rows), len(columns), x.shape[3]))
    for n, oh, ow, c in np.ndindex(*out.shape):
        for i, h in enumerate(range(*rows[oh])):
            for j, w in enumerate(range(*columns[ow])):
                out[n, oh, ow, c] += float(down[oh, i]) * float(across[ow, j]) * float(x[n, h, w, c])
    return out


def pad(image, padding):
    batch, height, width, channels = image.shape
    out = np.zeros((batch, height + sum(padding[0]), width + sum(padding[1]), channels))
    for n, h, w, c in np.ndindex(*image.shape):
        out[n, h + padding[0][0], w + padding[1][0], c] = image[n, h, w, c]
    return out


def unpad(image, padding):
    batch, height, width, channels = image.shape
    out = np.zeros((batch, height - sum(padding[0]), width - sum(padding[1]), channels))
    for n, h, w, c in np.ndindex(*out.shape):
        out[n, h, w, c] = image[n, h + padding[0][0], w + padding[1][0], c]
    return out


def batch_statistics(x):
    """In two passes, each sum rounded once."""
    columns = x.T.tolist()
    mean = [math.fsum(column) / len(column) for column in columns]
    var = [math.fsum((v - m) ** 2 for v in column) / len(column) for column, m in zip(columns, mean, strict=True)]
    return np.array(mean), np.array(var)


def normalized(x, mean, var, epsilon):
    return [
        [(float(v) - float(m)) / math.sqrt(float(s) + epsilon) for v, m, s in zip(row, mean, var, strict=True)]
        for row in x
    ]


def batch_norm_forward(x, mean, var, gain, bias, epsilon):
    rows = normalized(x, mean, var, epsilon)
    return np.array([[v * float(g) + float(b) for v, g, b in zip(row, gain, bias, strict=True)] for row in rows])


def batch_norm_parameter_gradient(x, eta, mean, var, epsilon):
    dgain, dbias = np.zeros(len(mean)), np.zeros(len(mean))
    for row, slopes in zip(normalized(x, mean, var, epsilon), eta.tolist(), strict=True):
        for c, (value, slope) in enumerate(zip(row, slopes, strict=True)):
            dgain[c] += slope * value
            dbias[c] += slope
    return dgain, dbias


def batch_norm_input_gradient(x, eta, mean, var, gain, dgain, dbias, epsilon):
    xhat, out = normalized(x, mean, var, epsilon), np.zeros(x.shape)
    for n, c in np.ndindex(*x.shape):
        through = float(dbias[c]) / len(x) + xhat[n][c] * float(dgain[c]) / len(x)
        out[n, c] = float(gain[c]) / math.sqrt(float(var[c]) + epsilon) * (float(eta[n, c]) - through)
    return out


def layer_norm_forward(x, gain, bias, epsilon):
    mean, var = batch_statistics(np.asarray(x, np.float64).T)
    out = batch_norm_forward(np.asarray(x, np.float64).T, mean, var, np.ones(len(x)), np.zeros(len(x)), epsilon).T
    return out * gain + bias, mean, np.array([1 / math.sqrt(v + epsilon) for v in var.tolist()])


def layer_norm_backward(x, eta, mean, deviation, gain):
    rows, size = x.shape
    dx, dgain, dbias = np.zeros(x.shape), np.zeros(size), np.zeros(size)
    for n in range(rows):
        scaled = [(float(v) - float(mean[n])) * float(deviation[n]) for v in x[n]]
        slopes = [float(e) * float(g) for e, g in zip(eta[n], gain, strict=True)]
        share, product = sum(slopes) / size, sum(a * b for a, b in zip(slopes, scaled, strict=True)) / size
        for c in range(size):
            dx[n, c] = float(deviation[n]) * (slopes[c] - share - scaled[c] * product)
            dgain[c] += float(eta[n, c]) * scaled[c]
            dbias[c] += float(eta[n, c])
    return dx, dgain, dbias


def in_groups(x, groups):
    """The numbers of each image and group as a row, the group's channels one after the other."""
    return np.array([row for image in x for row in np.split(image.T.reshape(-1), groups)])


def out_of_groups(rows, shape):
    """The other way round."""
    batch, pixels, channels = shape
    return np.array([image.reshape(channels, pixels).T for image in np.split(rows.reshape(batch, -1), batch)])


def group_norm_forward(x, gain, bias, groups, epsilon):
    rows = in_groups(x, groups)
    out, mean, deviation = layer_norm_forward(rows, np.ones(rows.shape[1]), np.zeros(rows.shape[1]), epsilon)
    each = len(x), groups
    return out_of_groups(out, x.shape) * gain + bias, mean.reshape(each), deviation.reshape(each)


def group_norm_backward(x, eta, mean, deviation, gain):
    groups, (batch, pixels, channels) = mean.shape[1], x.shape
    dx, dgain, dbias = np.zeros(x.shape), np.zeros(channels), np.zeros(channels)
    own = channels // groups
    for n, c in np.ndindex(batch, channels):
        for p in range(pixels):
            scaled = (float(x[n, p, c]) - float(mean[n, c // own])) * float(deviation[n, c // own])
            dgain[c] += float(eta[n, p, c]) * scaled
            dbias[c] += float(eta[n, p, c])
    slopes = in_groups(np.asarray(eta, np.float64) * gain, groups)
    flat, ones = (mean.reshape(-1), deviation.reshape(-1)), np.ones(slopes.shape[1])
    dx = out_of_groups(layer_norm_backward(in_groups(x, groups), slopes, *flat, ones)[0], x.shape)
    return dx, dgain, dbias


def splitmix64(state):
    """One step of the generator, in Python's integers: the next number from a state."""
    mask = 2**64 - 1
    z = (state + 0x9E3779B97F4A7C15) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def dropout(x, keep, seed, first):
    out = np.zeros(x.size)
    for i, value in enumerate(x.reshape(-1).tolist()):
        number = splitmix64((seed + (first + i) * 0x9E3779B97F4A7C15) % 2**64)
        out[i] = value / keep if number >> 32 < round(keep * 2**32) else 0.0
    return out.reshape(x.shape)


def softmax_forward(logits):
    return softmax_loss(logits, np.zeros(len(logits), int))[0]


def softmax_loss(logits, labels):
    """Probabilities, and the loss of each row; what is no number gives NaN."""
    probabilities, losses = np.full(logits.shape, np.nan), np.full(len(logits), np.nan)
    for n, row in enumerate(logits):
        if not all(math.isfinite(z) for z in row if z != -math.inf) or max(row) == -math.inf:
            continue
        largest = max(float(z) for z in row)
        exponentials = [math.exp(float(z) - largest) for z in row]
        total = sum(exponentials)
        probabilities[n] = [e / total for e in exponentials]
        losses[n] = math.log(total) - max(float(row[labels[n]]) - largest, float(np.finfo(logits.dtype).min))
    return probabilities, losses


def gather_images(images, index, top, left, flip, height, width):
    out = np.zeros((len(index), height, width, images.shape[3]), images.dtype)
    for n, number in enumerate(index):
        for i in range(height):
            for j in range(width):
                row, column = top[n] + i, left[n] + j
                if 0 <= row < images.shape[1] and 0 <= column < images.shape[2]:
                    out[n, i, width - 1 - j if flip[n] else j] = images[number, row, column]
    return out


def sgd_update(parameter, gradient, rate, keep):
    for i in range(parameter.size):
        parameter[i] = keep * parameter[i] - rate * gradient[i]


def momentum_update(parameter, gradient, velocity, rate, factors, momentum, nesterov):
    scale, decay = factors
    for i in range(parameter.size):
        slope = scale * gradient[i] + decay * parameter[i]
        velocity[i] = momentum * velocity[i] + slope
        parameter[i] -= rate * (slope + momentum * velocity[i] if nesterov else velocity[i])


def rmsprop_update(parameter, gradient, square, rate, factors, rho, epsilon):
    scale, decay = factors
    for i in range(parameter.size):
        slope = scale * gradient[i] + decay * parameter[i]
        square[i] = rho * square[i] + (1 - rho) * slope**2
        parameter[i] -= rate * slope / (math.sqrt(square[i]) + epsilon)


def adam_update(parameter, gradient, mean, square, rate, factors, moments, keep):
    (scale, decay), (step, beta1, beta2, epsilon) = factors, moments
    for i in range(parameter.size):
        slope = scale * gradient[i] + decay * parameter[i]
        mean[i] = beta1 * mean[i] + (1 - beta1) * slope
        square[i] = beta2 * square[i] + (1 - beta2) * slope**2
        root = math.sqrt(square[i] / (1 - beta2**step)) + epsilon
        parameter[i] = keep * parameter[i] - rate * (mean[i] / (1 - beta1**step)) / root


def softmax_cross_entropy(logits, labels):
    """The summed loss and its gradient."""
    gradient, losses = softmax_loss(logits, labels)
    for n, label in enumerate(labels):
        gradient[n, label] -= 1.0
    return sum(losses), gradient


class LeNet:
    """Conv 5x5x12, relu, pool, conv 3x3x24, relu, pool, fc 10 with the contract's initialisation and update."""

    def __init__(self, shape, seed):
        np.random.seed(seed)
        batch, height, width, channels = shape
        h2, w2 = (height - 4) // 2, (width - 4) // 2
        h3, w3 = (h2 - 2) // 2, (w2 - 2) // 2
        scale1 = math.sqrt(batch * height * width * channels / 12)
        scale2 = math.sqrt(batch * h2 * w2 * 12 / 24)
        self.parameters = {
            "w1": np.random.standard_normal((5, 5, channels, 12)) / scale1,
            "b1": np.random.standard_normal(12) / scale1,
            "w2": np.random.standard_normal((3, 3, 12, 24)) / scale2,
            "b2": np.random.standard_normal(24) / scale2,
            "w3": np.random.standard_normal((h3 * w3 * 24, 10)) / 100,
            "b3": np.random.standard_normal(10) / 100,
        }

    def step(self, x, labels, alpha, weight_decay):
        p = self.parameters
        c1 = conv_forward(x, p["w1"], p["b1"], plain(5))
        m1, at1 = max_pool_forward(relu_forward(c1), *halved(c1))
        c2 = conv_forward(m1, p["w2"], p["b2"], plain(3))
        m2, at2 = max_pool_forward(relu_forward(c2), *halved(c2))
        features = m2.reshape(len(x), -1)
        loss, eta = softmax_cross_entropy(dense_forward(features, p["w3"], p["b3"]), labels)

        gradients = {}
        gradients["w3"], gradients["b3"] = dense_weight_gradient(features, eta)
        eta = dense_input_gradient(eta, p["w3"]).reshape(m2.shape)
        eta = relu_backward(c2, max_pool_backward(eta, at2, c2.shape, halved(c2)[0]))
        gradients["w2"], gradients["b2"] = conv_weight_gradient(m1, eta, plain(3))
        eta = conv_input_gradient(eta, p["w2"], m1.shape, plain(3))
        eta = relu_backward(c1, max_pool_backward(eta, at1, c1.shape, halved(c1)[0]))
        gradients["w1"], gradients["b1"] = conv_weight_gradient(x, eta, plain(5))
        for name, gradient in gradients.items():
            p[name] *= 1 - weight_decay
            p[name] -= alpha * gradient
        return loss
