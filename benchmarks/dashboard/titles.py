"""What the landing page calls each benchmark, and in which part of the page it stands."""

import contextlib
from typing import NamedTuple


class Title(NamedTuple):
    """`text` is formatted with the benchmark's parameters; a measurement is of so many `pieces` of work."""

    group: str
    text: str
    pieces: int = 1


# The order is that of the page. A benchmark that is not here stands under OTHER by its own name.
TITLES = {
    "bench_training.TrainingStep.time_step": Title("Training steps", "{network}: step on 64 images"),
    "bench_training.Prediction.time_one_image": Title("Prediction and epochs", "{network}: prediction of one image"),
    "bench_training.Epoch.time_epoch": Title("Prediction and epochs", "LeNet: epoch of 4,000 digits", 4000),
    "bench_ratios.Ratio.track_ratio": Title("numba over its rivals", "{workload}: time over the rival's"),
    "bench_kernels.Convolution.time_convolution": Title("Convolution", "{shape}, {way}"),
    "bench_kernels.Special.time_convolution": Title("Convolution", "{shape}, {way}"),
    "bench_kernels.Algorithm.time_convolution": Title("Algorithms", "3 x 3, 128 channels, {way}"),
    "bench_kernels.Pooling.time_pooling": Title("Pooling", "{kind} pooling 2 x 2, {way}"),
    "bench_kernels.Resizing.time_resizing": Title("Pooling", "{kind}, {way}"),
    "bench_kernels.Columns.time_columns": Title("Columns", "{kernel}"),
    "bench_layers.Layer.time_forward_and_gradients": Title("Layers", "{layer}: forward and gradients"),
    "bench_training.Block.time_step": Title("Training steps", "{network}: step"),
    "bench_training.Batch.time_step": Title("Scaling", "LeNet: step, batch of {batch}"),
    "bench_training.Threads.time_step": Title("Scaling", "VGG: step on 64 images, threads: {threads}"),
    "bench_training.Dtype.time_step": Title("Scaling", "LeNet: step on 64 images, {dtype}"),
    "bench_memory.Arrays.track_peak_in_step": Title("Memory", "{network}: arrays at the peak of a step"),
    "bench_memory.Arrays.track_kept_between_steps": Title("Memory", "{network}: arrays kept between steps"),
    "bench_memory.Process.track_peak_resident": Title("Memory", "VGG: peak resident memory of the process"),
    "bench_startup.Cold.track_first_step": Title("Start", "Import to first LeNet step, nothing compiled yet"),
    "bench_startup.Warm.track_first_step": Title("Start", "Import to first LeNet step, kernels cached"),
    "bench_startup.Warm.track_import": Title("Start", "Import alone"),
}
OTHER = "Other benchmarks"

# What tells the lines of one chart apart: the first of these that the benchmark has.
LINES = ("rival", "algorithm", "backend")

# Named so that a reader knows them without the suite.
WORDS = {
    "lenet": "LeNet",
    "lenet5": "LeNet-5",
    "vgg_small": "VGG",
    "mobilenet_block": "MobileNetV2's block, 24 channels, 32 images of 56 x 56",
    "resnet_stem": "ResNet's first layers, 8 images of 224 x 224",
    "five_by_five": "5 x 5 network, 64 images of 32 x 32",
    "strided": "Three 3 x 3 layers by 2, 32 images of 96 x 96",
    "narrow_bn": "Six normalised 3 x 3 layers of 16 channels, 128 images of 32 x 32",
    "mlp": "Fully connected 784-512-256-10, 128 images",
    "max": "Max",
    "avg": "Average",
    "conv": "Convolution",
    "relu": "ReLU",
    "max_pool_112x112_k3s2p1": "Max pooling 3 x 3, stride 2, padding 1",
    "global_max_pool_56x56": "Global max pooling",
    "upsample_nearest_56x56": "Upsampling 2 x, nearest",
    "upsample_bilinear_56x56": "Upsampling 2 x, bilinear",
    "max_pool": "Max pooling",
    "avg_pool": "Average pooling",
    "silu": "SiLU",
    "gelu": "GELU",
    "hard_swish": "Hard swish",
    "batch_norm": "Batch normalisation",
    "layer_norm": "Layer normalisation",
    "group_norm": "Group normalisation, 8 groups",
    "dropout": "Dropout",
    "fc": "Fully connected",
    "softmax": "Softmax and loss",
    "input": "gradient of the input",
    "weights": "gradient of the weights",
    "backward": "gradient",
    "n64_28x28_1to12_k5": "5 x 5, 1 to 12 channels, 64 images of 28 x 28",
    "n32_28x28_128to128_k3": "3 x 3, 128 to 128 channels, 32 images of 28 x 28",
    "n32_56x56_64to128_k3s2": "3 x 3 by 2, 64 to 128 channels, 32 images of 56 x 56",
    "n32_56x56_64to64_k3_g64": "Depthwise 3 x 3, 64 channels, 32 images of 56 x 56",
    "n8_112x112_96to96_k3s2_g96": "Depthwise 3 x 3 by 2, 96 channels, 8 images of 112 x 112",
    "n32_28x28_128to128_k3_g4": "3 x 3 in 4 groups, 128 channels, 32 images of 28 x 28",
    "n32_28x28_128to128_k3_g32": "3 x 3 in 32 groups, 128 channels, 32 images of 28 x 28",
    "n64_16x16_32to32_k5": "5 x 5, 32 to 32 channels, 64 images of 16 x 16",
    "n16_28x28_64to64_k7": "7 x 7, 64 to 64 channels, 16 images of 28 x 28",
    "n16_28x28_64to64_k4": "4 x 4, 64 to 64 channels, 16 images of 28 x 28",
    "n32_28x28_64to64_k5s2": "5 x 5 by 2, 64 to 64 channels, 32 images of 28 x 28",
    "n16_28x28_64to64_k3_d2": "3 x 3 dilated by 2, 64 channels, 16 images of 28 x 28",
    "n16_17x17_128to128_k1x7": "1 x 7, 128 channels, 16 images of 17 x 17",
    "transposed_n16_28x28_64to32_k2s2": "Transposed 2 x 2 by 2, 64 to 32 channels, 16 images of 28 x 28",
    "transposed_n16_28x28_64to32_k4s2": "Transposed 4 x 4 by 2, 64 to 32 channels, 16 images of 28 x 28",
}

# What the head of the page shows: benchmark, its parameters beside the backend, and label.
HEADLINES = (
    ("bench_training.TrainingStep.time_step", ("lenet",), "LeNet training step"),
    ("bench_training.TrainingStep.time_step", ("vgg_small",), "VGG training step"),
    ("bench_training.Epoch.time_epoch", (), "Images a second, LeNet epoch"),
    ("bench_startup.Warm.track_first_step", (), "Start to first step"),
)


def plain(value: str) -> str:
    """A parameter's value as asv writes it, without the quotes of a string."""
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"" else value


def title_of(name: str, parameters: dict[str, str]) -> Title:
    """The title of one chart: `parameters` are those of the benchmark that do not tell its lines apart."""
    words = {key: WORDS.get(value, value) for key, value in parameters.items()}
    suffix = ", ".join(f"{key} {value}" for key, value in words.items())
    title = TITLES.get(name, Title(OTHER, ""))
    with contextlib.suppress(KeyError):  # its parameters are others than when its title was written
        if title.text:
            return title._replace(text=title.text.format(**words))
    return title._replace(text=f"{name}: {suffix}" if suffix else name)
