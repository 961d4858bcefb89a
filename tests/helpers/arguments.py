"""Random arguments of kernels, as their declarations draw them."""

import numpy as np
from hypothesis import strategies as st

from fastcnn.backends.arguments import Source
from fastcnn.windows import both, square


def original(image_shape, ksize, stride):
    """The windows of the original's poolings, and how many."""
    return square(ksize, stride), (image_shape[1] // stride, image_shape[2] // stride)


def wide(ksize=None, stride=None):
    """Ranges for images up to 20 wide with up to 35 channels, and for convolutions of one `ksize`, a number or a pair,
    and `stride`: where that is more than 1, without dilation, as Winograd's algorithm has no interleaved images
    then."""
    down, across = both(ksize or 1)
    low = max(down, across)
    ranges = {"batch": (1, 5), "height": (low, 7), "width": (low, 20), "channels": (1, 35)}
    if ksize is None:
        return ranges
    fixed = {"ksize": down, "ksize across": across, "stride": stride, "stride across": stride}
    fixed |= {"dilation": 1, "dilation across": 1} if stride > 1 else {}
    fixed |= {"rectangle": 1} if down != across else {}
    return ranges | {name: (value, value) for name, value in fixed.items()}


# Convolutions lane by lane have code for each shape of a kernel's row and of a group, 0.3 s to compile: tests of these
# draw from a few, and other tests leave channels by themselves, or all groups, to them. `test_lanes` has the rest.
OF_LANES = wide() | {
    **{"height": (3, 7), "width": (3, 20), "channels": (7, 35), "outputs": (1, 14), "groups": (5, 5)},
    **{
        f"{name}{axis}": (1, most)
        for name, most in (("ksize", 3), ("stride", 2), ("dilation", 2))
        for axis in ("", " across")
    },
    **{"ksize across": (2, 3), "dilation across": (1, 1)},  # of these alone the code is another
}
NO_LANES = {"groups": (1, 4)}
NO_GROUPS = {"groups": (1, 1)}  # the rule computes small groups lane by lane; tests of each algorithm have all groups


class Drawn(Source):
    """Integers from hypothesis; `ranges` by name replace the usual ones."""

    def __init__(self, data, dtype, ranges=()):
        self.data, self.ranges = data, dict(ranges)
        super().__init__(dtype)

    def integer(self, name, low, high):
        return self.data.draw(st.integers(*self.ranges.get(name, (low, high))), name)


class Seeded(Source):
    """The same from a seed, without hypothesis."""

    def __init__(self, seed, dtype, ranges=()):
        self.chosen, self.ranges = np.random.default_rng(seed), dict(ranges)
        super().__init__(dtype)

    def integer(self, name, low, high):
        return int(self.chosen.integers(*self.ranges.get(name, (low, high)), endpoint=True))
