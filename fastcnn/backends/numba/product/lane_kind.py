"""What the code of sums lane by lane is made for: taps, and groups of channels. Requires numba."""

from typing import NamedTuple


def outputs_of_vector(outputs: int, lanes: int) -> int:
    """Outputs of a vector: whole groups of so many `outputs`, or a whole part of one that is larger than a vector."""
    if outputs <= lanes:
        return lanes // outputs * outputs
    return max(size for size in range(1, lanes + 1) if outputs % size == 0)


def fits_whole(outputs: int, inputs: int, channels: int, lanes: int) -> bool:
    """Whether all vectors of so many `channels` have all lanes."""
    same = inputs == outputs or outputs >= lanes  # the lanes of a group alone read single inputs, and no vectors
    return same and channels % lanes == 0 and outputs_of_vector(outputs, lanes) == lanes


class Lanes(NamedTuple):
    """What the code of such sums is made for: `taps` of a kernel's row that are `dilation` pixels apart, of windows
    `stride` pixels apart; groups of `inputs` channels that make `outputs`; whether inputs below 0 count as 0; and
    whether vectors may have fewer than all lanes, which are masked then."""

    taps: int
    dilation: int
    stride: int
    inputs: int
    outputs: int
    rectify: bool
    part: bool

    @property
    def text(self) -> str:
        """numba hands over numbers and texts as constants, and no tuples."""
        return " ".join(str(int(field)) for field in self)

    def step(self, lanes: int) -> int:
        """Outputs of a vector."""
        return outputs_of_vector(self.outputs, lanes)

    def alone(self, lanes: int) -> bool:
        """Whether the lanes of a vector belong to one group. Its channels are then added up one after another, each of
        them repeated in all lanes; else those that the lanes of a vector meet together."""
        return self.outputs >= lanes

    def together(self, lanes: int) -> int:
        """Channels of a group that are added up together."""
        return 1 if self.alone(lanes) else self.inputs

    def columns(self, pixels: int) -> list[int]:
        """Those that so many windows and their taps read, from the first one's."""
        return sorted({r * self.stride + k * self.dilation for r in range(pixels) for k in range(self.taps)})

    def meet(self, column: int, pixels: int) -> list[tuple[int, int]]:
        """The (pixel, tap) that read a column."""
        found = ((r, column - r * self.stride) for r in range(pixels))
        return [
            (r, at // self.dilation)
            for r, at in found
            if at % self.dilation == 0 and at // self.dilation in range(self.taps)
        ]
