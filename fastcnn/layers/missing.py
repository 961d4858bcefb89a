"""What an import says of a layer that is not here: its name in this package, or all names."""

import sys
from collections.abc import Sequence
from types import ModuleType

PACKAGE = "fastcnn.layers"

# Names of other frameworks and of those who learned from the original, in small letters.
OTHERS = {
    **dict.fromkeys(("dense", "linear", "affine", "fullyconnected", "fullyconnect", "innerproduct"), "FullyConnect"),
    **dict.fromkeys(("conv2d", "conv", "convolution", "convolution2d"), "Conv2D"),
    **dict.fromkeys(("maxpool", "maxpool2d", "maxpooling", "maxpooling2d"), "MaxPooling"),
    **dict.fromkeys(("avgpool", "avgpool2d", "avgpooling", "averagepooling", "averagepooling2d"), "AvgPooling"),
    **dict.fromkeys(("adaptiveavgpool2d", "globalaveragepooling2d", "globalavgpool"), "GlobalAvgPooling"),
    **dict.fromkeys(("batchnorm", "batchnorm2d", "batchnormalization"), "BatchNorm"),
    **dict.fromkeys(("leakyrelu", "lrelu"), "LeakyRelu"),
    **dict.fromkeys(("crossentropy", "crossentropyloss", "softmaxcrossentropy", "softmaxwithloss"), "Softmax"),
    **{name: name.capitalize() for name in ("relu", "sigmoid", "tanh", "softmax", "dropout", "flatten", "rescaling")},
}


def explained(name: str) -> str:
    """One line about a class or a module that :mod:`fastcnn.layers` lacks."""
    here = OTHERS.get(name.replace("_", "").lower())
    if here:
        return f"{PACKAGE} has no {name!r}: from {PACKAGE} import {here}"
    return f"{PACKAGE} has no {name!r}; it has {', '.join(sys.modules[PACKAGE].__all__)}"


class Finder:
    """The last finder to be asked: what it hears of this package nobody has found."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        package, _, missing = name.rpartition(".")
        if package == PACKAGE and not missing.startswith("_"):
            # Without the module's name in the error: importlib would put its own text in place of one that has it.
            raise ModuleNotFoundError(explained(missing))


def install() -> None:
    if Finder not in sys.meta_path:
        sys.meta_path.append(Finder)
