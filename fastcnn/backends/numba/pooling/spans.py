"""Which pixels of a window exist, and which windows lie inside an image. Requires numba.

A window is clipped where it crosses a border, at all four sides: padding that a maximum ignores is never in memory.
"""

from fastcnn.backends.numba.core.hints import Shape
from fastcnn.backends.numba.core.jit import serial
from fastcnn.backends.numba.core.tasks import task_rows
from fastcnn.windows import Window


@serial
def span(axis, number, low, high):
    """Of the pixels of window `number` along an axis the first that lies in low:high, and the one after the last."""
    start, apart = axis.start + number * axis.stride, axis.dilation
    if apart == 1:  # without divisions, which take longer than all else here
        first, last = low - start, high - start
    else:
        first, last = -((start - low) // apart), -((start - high) // apart)
    return max(0, first), min(axis.ksize, last)


@serial
def counted(axis, number):
    """The pixels of window `number` along an axis that a mean counts."""
    first, last = span(axis, number, axis.low, axis.high)
    return last - first


@serial
def whole_windows(axis, number, size):
    """Of `number` windows along an axis of `size` pixels the first that is not clipped, and the one after the last."""
    begin = min(number, (axis.stride - 1 - axis.start) // axis.stride)
    end = (size - 1 - (axis.ksize - 1) * axis.dilation - axis.start) // axis.stride + 1
    return begin, max(begin, min(number, end))


def axis_of(window: Window, axis: int, size: int, count_padding: bool) -> tuple[int, ...]:
    """The fields of an `Axis`."""
    before, after = window.padding[axis]
    low, high = (-before, size + after) if count_padding else (0, size)
    return window.ksize[axis], window.stride[axis], window.dilation[axis], -before, low, high


def arguments_of(window: Window, image_shape: Shape, itemsize: int, mean: tuple[bool, int]) -> tuple:
    """The fields of a `PoolWindow`; `mean` are (whether padding is counted, the divisor or 0)."""
    axes = [axis_of(window, axis, image_shape[axis + 1], mean[0]) for axis in (0, 1)]
    return *axes, mean[1], task_rows(image_shape, itemsize)
