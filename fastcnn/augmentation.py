"""Augmentation: each epoch sees every image shifted, mirrored and cropped anew.

What happens to an image follows from the seed of the training, the number of the epoch, and that of the image in its
set, whatever the batch, so that a run can be repeated and resumed to the last bit. The pixels are moved by one kernel
as the batch is put together.
"""

import functools
import mmap
from typing import Any, NamedTuple

import numpy as np

from fastcnn.arrays import real_array
from fastcnn.backends.active import active
from fastcnn.components import Assignable, Checked
from fastcnn.shapes import check_flag, check_int, must_be, shape_text

DTYPES = ("uint8", "float32", "float64")  # that the kernel is compiled for


class Moves(NamedTuple):
    """For each image of the set: the first row and column of its rectangle, and whether it is mirrored."""

    top: np.ndarray
    left: np.ndarray
    flip: np.ndarray


class Augmentation(Assignable):
    """Random changes of training images (N, H, W, C).

    Parameters
    ----------
    shift : int
        Each image moves by up to so many pixels in each direction; zeros come in.
    flip : bool
        Half of the images are mirrored, left for right. Not for digits and letters.
    crop : int or (height, width), optional
        A rectangle of that size is cut out at random: what the model takes. In validation it is cut from the middle,
        as by :func:`center_crop`.
    """

    shift = Checked(functools.partial(check_int, minimum=0))
    flip = Checked(check_flag)
    crop: Checked[tuple[int, int] | None] = Checked(lambda *given: None if given[2] is None else check_size(*given))

    def __init__(self, shift: int = 0, flip: bool = False, crop: int | tuple[int, int] | None = None):
        self.shift, self.flip, self.crop = shift, flip, crop

    def __repr__(self) -> str:
        return f"Augmentation(shift={self.shift}, flip={self.flip}, crop={self.crop})"

    def size(self, image_shape: tuple[int, ...]) -> tuple[int, int]:
        """(height, width) of what becomes of an image (H, W, C)."""
        return self.crop or (image_shape[0], image_shape[1])

    def draw(self, rng: np.random.Generator, count: int, image_shape: tuple[int, ...]) -> Moves:
        """What happens to each of `count` images in an epoch, from `rng`."""
        top, left = (
            rng.integers(-self.shift, side - size + self.shift + 1, count)
            for side, size in zip(image_shape[:2], self.size(image_shape), strict=True)
        )
        flip = rng.random(count) < 0.5 if self.flip else np.zeros(count, bool)
        return Moves(top, left, flip)

    def apply(self, images: np.ndarray, index: np.ndarray, moves: Moves, dtype: Any = np.float32) -> np.ndarray:
        """The images of the numbers `index`, each changed as `moves` says: (len(index), height, width, C).

        Of images that are not `ready` those of the batch alone are made so, of `dtype` as there.
        """
        moved = [part[index] for part in moves]
        if not (images.dtype.name in DTYPES and images.dtype.isnative and images.flags.carray):
            images, index = ready(images[index], dtype), np.arange(len(index))
        return active().gather_images(images, index, *moved, *self.size(images.shape[1:]))


def is_mapped(array: Any) -> bool:
    """Whether an array lies in a file that is mapped into memory."""
    while isinstance(array, np.ndarray):
        array = array.base
    return isinstance(array, mmap.mmap)


def ready(images: np.ndarray, dtype: Any) -> np.ndarray:
    """`images` as the kernel takes them, C-contiguous and of one of `DTYPES`: of `dtype` where theirs is another."""
    wanted = images.dtype.newbyteorder("=") if images.dtype.name in DTYPES else dtype
    return np.require(images, wanted, ("C_CONTIGUOUS", "ALIGNED", "WRITEABLE"))


def check_size(owner: str, name: str, value: Any) -> tuple[int, int]:
    """One integer, or a pair, as (height, width)."""
    sides = (value, value) if not isinstance(value, tuple | list) else tuple(value)
    if len(sides) != 2:
        raise ValueError(must_be(owner, name, "an integer or a pair (height, width)", value))
    height, width = (check_int(owner, name, side) for side in sides)
    return height, width


def center_crop(images: Any, size: int | tuple[int, int]) -> np.ndarray:
    """The middle of images (N, H, W, C), `size` = (height, width) large; a view."""
    height, width = check_size("center_crop", "size", size)
    images = real_array("center_crop", "images", images)
    if images.ndim != 4 or images.shape[1] < height or images.shape[2] < width:
        raise ValueError(
            f"center_crop: `images` must have the shape {shape_text('N', f'{height} or more', f'{width} or more', 'C')}"
            f". Received the shape {images.shape}"
        )
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    return images[:, top : top + height, left : left + width]
