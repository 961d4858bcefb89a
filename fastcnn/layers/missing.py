"""What an import says of a layer that is not here: its name in this package, or all names."""

import sys
from collections.abc import Iterator, Sequence
from types import FrameType, ModuleType

PACKAGE = "fastcnn.layers"

# Names of other frameworks and of those who learned from the original, in small letters.
OTHERS = {
    **dict.fromkeys(("dense", "linear", "affine", "fullyconnected", "fullyconnect", "innerproduct"), "FullyConnect"),
    **dict.fromkeys(("conv2d", "conv", "convolution", "convolution2d", "groupedconv2d", "dilatedconv2d"), "Conv2D"),
    **dict.fromkeys(("depthwiseconv2d", "depthwiseconv", "depthwiseconvolution", "dwconv"), "DepthwiseConv2D"),
    **dict.fromkeys(("conv2dtranspose", "convtranspose2d", "convtranspose", "deconv2d"), "Conv2DTranspose"),
    **dict.fromkeys(("deconv", "deconvolution", "deconvolution2d", "transposedconv2d"), "Conv2DTranspose"),
    **dict.fromkeys(("maxpool", "maxpool2d", "maxpooling", "maxpooling2d"), "MaxPooling"),
    **dict.fromkeys(("avgpool", "avgpool2d", "avgpooling", "averagepooling", "averagepooling2d"), "AvgPooling"),
    **dict.fromkeys(("globalaveragepooling2d", "globalavgpool", "globalaveragepool"), "GlobalAvgPooling"),
    **dict.fromkeys(("adaptivemaxpool2d", "globalmaxpooling2d", "globalmaxpool"), "GlobalMaxPooling"),
    **dict.fromkeys(("adaptiveavgpool2d", "adaptiveavgpool", "adaptiveaveragepooling2d"), "AdaptiveAvgPooling"),
    **dict.fromkeys(("upsample", "upsampling2d", "upsamplingnearest2d", "upsamplingbilinear2d"), "UpSampling"),
    **dict.fromkeys(("batchnorm", "batchnorm2d", "batchnormalization"), "BatchNorm"),
    **dict.fromkeys(("leakyrelu", "lrelu"), "LeakyRelu"),
    **dict.fromkeys(("silu", "swish"), "SiLU"),
    **{"layernorm": "LayerNorm", "layernormalization": "LayerNorm"},
    **{"groupnorm": "GroupNorm", "groupnormalization": "GroupNorm"},
    **{"gelu": "GELU", "mish": "Mish", "softplus": "Softplus", "relu6": "ReLU6"},
    **{"hardswish": "HardSwish", "hardsigmoid": "HardSigmoid"},
    **dict.fromkeys(("crossentropy", "crossentropyloss", "softmaxcrossentropy", "softmaxwithloss"), "Softmax"),
    **{name: name.capitalize() for name in ("relu", "sigmoid", "tanh", "softmax", "dropout", "flatten", "rescaling")},
}


def explained(name: str) -> str:
    """One line about a class or a module that :mod:`fastcnn.layers` lacks."""
    here = OTHERS.get(name.replace("_", "").lower())
    if here:
        return f"{PACKAGE} has no {name!r}: from {PACKAGE} import {here}"
    return f"{PACKAGE} has no {name!r}; it has {', '.join(sys.modules[PACKAGE].__all__)}"


def tell_import(name: str, asker: FrameType) -> None:
    """Raise the ImportError that explains why there is no module `name`, where an import statement wants it.

    Whoever only looks (`importlib.util.find_spec`, `pkgutil`, pytest, an editor) must hear None, and importlib has no
    other place for a message. Which of both it is, the frames of importlib say, from `asker`, which has called a
    finder; where they do not, an import has Python's own words.
    """
    package, _, missing = name.rpartition(".")
    callers = set(importlib_frames(asker))
    if "_handle_fromlist" in callers:  # `from package import missing`, which may be a class: importlib would drop an
        raise ImportError(explained(missing), name=package)  # error that names the module, for words of its own
    if "_find_and_load" in callers:
        raise ModuleNotFoundError(explained(missing), name=name)


def importlib_frames(frame: FrameType | None) -> Iterator[str]:
    """The names of importlib's functions from `frame` up to who called them."""
    while frame and frame.f_globals.get("__name__") == "importlib._bootstrap":
        yield frame.f_code.co_name
        frame = frame.f_back


class Finder:
    """The last finder to be asked: what it hears of this package nobody has found."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        package, _, missing = name.rpartition(".")
        if package == PACKAGE and not missing.startswith("_"):
            tell_import(name, sys._getframe(1))


def install() -> None:
    if Finder not in sys.meta_path:
        sys.meta_path.append(Finder)
