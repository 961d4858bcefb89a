"""A network of every layer and option that came after the first ones."""

from fastcnn import layers as of
from fastcnn.layers import Conv2D, GroupNorm, LayerNorm, MaxPooling, Relu, Softmax

ACTIVATIONS = of.SiLU, of.GELU, of.Mish, of.Softplus, of.HardSwish, of.ReLU6, of.HardSigmoid


def later_layers(shape, classes=10):
    """For images of a shape (batch, height, width, channels)."""
    made = []

    def add(kind, *arguments, **options):
        made.append(kind(made[-1].output_shape if made else shape, *arguments, **options))

    add(Conv2D, 8, (3, 5), (1, 2), padding=((1, 1), (2, 1)), bias=False, initializer="he")
    add(GroupNorm, 2)
    add(of.DepthwiseConv2D, 3, 1, "SAME", 2, initializer="he")
    add(of.HardSwish)
    add(Conv2D, 8, 3, 2, "SAME_UPPER", groups=4, initializer="he")
    add(LayerNorm)
    add(of.GELU)
    add(MaxPooling, 3, 2, padding=1, geometry="ceil")
    add(of.Conv2DTranspose, 6, 4, 2, padding=1, initializer="he")
    add(Relu, at_zero=False)
    add(Conv2D, 6, 3, method="SAME", dilation=2, groups=2, initializer="he")
    add(of.UpSampling, 2, mode="bilinear")
    add(of.AvgPooling, 3, 2, padding=1, geometry="floor", count_padding=False)
    for kind in (of.SiLU, of.Mish, of.Softplus, of.ReLU6, of.HardSigmoid):
        add(kind)
    add(of.UpSampling, (2, 1))
    add(of.AdaptiveAvgPooling, (4, 3))
    add(Conv2D, 16, 2, initializer="he")
    add(of.GlobalMaxPooling)
    add(of.FullyConnect, classes, initializer="he")
    add(Softmax)
    return made
