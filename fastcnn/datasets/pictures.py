"""Image files as a person sees them, as arrays of bytes: read with Pillow, the extra `images`.

Transparency lies over white, palettes become colours, the EXIF orientation is applied, and of 16 bits the high byte is
taken, as Pillow does for colours. Of an animation the first frame is read. Colour profiles are not applied.
"""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fastcnn.errors import FileFormatError
from fastcnn.files import memory_for, open_to_read
from fastcnn.saving.limits import check_memory

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION, WHITE_IS_ZERO, BITS, SAMPLE_FORMAT = 0x0112, 262, 258, 339  # tags of EXIF and TIFF
SRGB_GAMMA = 0.45455
ADVICE = "save it as a PNG file of 8 or 16 bits, or pass an .npy array"


class UnreadablePictureError(ValueError):
    """A whole picture of which it is not defined how a person sees it."""


def read_picture(path: str | os.PathLike, colour: bool, check: Callable[[tuple[int, int]], object]) -> np.ndarray:
    """The picture in an image file: (height, width, 3) with `colour`, else grey levels (height, width), uint8.

    ``check((height, width))`` may refuse its size, which the file's head says, before memory is taken for its pixels.

    Raises
    ------
    FileFormatError
        The file is no picture, is truncated or corrupt, describes far more than it may hold, or it is not defined how a
        person sees it.
    ImportError
        Pillow is not installed.
    """
    name = os.fspath(path)
    with open_to_read(path, "an image") as file, memory_for(path):
        try:
            from PIL import Image, UnidentifiedImageError
        except ModuleNotFoundError as error:
            raise ImportError(
                f"{name}: reading image files needs Pillow: `pip install fastcnn[images]`, or pass an .npy array"
            ) from error
        try:
            size, mode = verified_head(file)
        except UnidentifiedImageError as error:  # its text shows Python's object and not the reason
            raise damaged(name, "it has the format of no image file") from error
        except Exception as error:  # damaged bytes raise a dozen classes, of Pillow and the codecs below it
            raise damaged(name, str(error)) from error
        check(size)
        wanted = "RGB" if colour else "L"
        try:
            check_memory(os.fstat(file.fileno()).st_size, size[0] * size[1] * pixel_bytes(mode, wanted))
        except ValueError as error:
            raise FileFormatError(f"{name}: {error}") from error
        try:
            with warnings_raised(), Image.open(file) as picture:
                return np.asarray(in_mode(as_seen(picture), wanted))
        except UnreadablePictureError as error:
            raise FileFormatError(f"{name}: {error}") from error
        except MemoryError:
            raise
        except Exception as error:
            raise damaged(name, str(error)) from error


def damaged(name: str, reason: str) -> FileFormatError:
    return FileFormatError(f"{name}: not an image, or a truncated or corrupt one ({reason})")


@contextlib.contextmanager
def warnings_raised() -> Iterator[None]:
    """Pillow warns of what it cannot read, such as a damaged orientation, and of sizes that may be an attack: errors
    here, but for tags of TIFF files that do not matter."""
    from PIL.Image import DecompressionBombWarning

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("error", DecompressionBombWarning)
        warnings.filterwarnings("ignore", "Metadata Warning")
        yield


def verified_head(file: BinaryIO) -> tuple[tuple[int, int], str]:
    """(height, width) as a person sees them and Pillow's mode, by the file's head; Pillow's error where a checksum is
    wrong."""
    from PIL import Image

    with warnings_raised():
        Image.open(file).verify()  # which leaves it unusable
        file.seek(0)
        picture = Image.open(file)
        if picture.format == "EPS":
            raise ValueError("EPS is a program, which is not run")
        size = picture.size[::-1]
        turned = may_be_turned(picture) and picture.getexif().get(ORIENTATION) in range(5, 9)
    file.seek(0)
    return size[::-1] if turned else size, picture.mode


def pixel_bytes(mode: str, wanted: str) -> int:
    """Bytes that a pixel takes: as Pillow holds it, converted where that is another mode, and in the array."""
    held = {"1": 1, "L": 1, "P": 1, "RGB": 4}
    own = 2 if mode.startswith("I;16") else held.get(mode, 4)
    return own + (held[wanted] if mode != wanted else 0) + len(wanted)


def in_mode(picture: "Image", mode: str) -> "Image":
    """`picture` in a mode; itself where it has that, of which Pillow would make a copy."""
    return picture if picture.mode == mode else picture.convert(mode)


def may_be_turned(picture: "Image") -> bool:
    """Whether EXIF data may exchange its height and width: Pillow turns TIFF files by itself, and would read all pixels
    of a PNG file to look for it behind them."""
    return picture.format != "TIFF" and (picture.format != "PNG" or "exif" in picture.info)


def as_seen(picture: "Image") -> "Image":
    """A picture in grey levels or colours, without transparency, turned as it is meant."""
    from PIL import ImageOps

    gamma = picture.info.get("gamma", SRGB_GAMMA)
    if abs(gamma / SRGB_GAMMA - 1) > 0.05 and not {"srgb", "icc_profile"} & set(picture.info):
        raise UnreadablePictureError(f"its gamma is {gamma:g}, and {SRGB_GAMMA} alone is read: convert it to sRGB")
    if "transparency" in picture.info and picture.format == "PNG":
        picture.info["transparency"] = transparent_value(picture)
    tags = getattr(picture, "tag_v2", {})  # which a turned picture has no more
    check_levels(picture, tags)
    return over_white(as_bytes(ImageOps.exif_transpose(picture), tags))


def check_levels(picture: "Image", tags: Mapping[int, Any]) -> None:
    """Raise where it is not defined which number is black and which is white; `tags` are those of a TIFF file.

    Pillow makes mode I of 32 bits and of signed 16; of PNG and PPM files alone it is grey levels to 65535.
    """
    mode, kind = picture.mode, picture.format
    if mode == "F":
        raise UnreadablePictureError(f"a picture of floats (mode F), of which nobody knows what is white: {ADVICE}")
    if 2 in tags.get(SAMPLE_FORMAT, ()):
        bits = tags.get(BITS, (1,))[0]
        raise UnreadablePictureError(f"a picture of signed integers of {bits} bits (SampleFormat 2): {ADVICE}")
    if mode == "I" and kind not in ("PNG", "PPM"):
        raise UnreadablePictureError(f"a picture of 32 bits (mode I), of which nobody knows what is white: {ADVICE}")
    if mode.startswith("I;16") and kind in ("FITS", "MCIDAS"):
        raise UnreadablePictureError(f"measurements of 16 bits ({kind}), of which nobody knows what is white: {ADVICE}")


def transparent_value(picture: Any) -> Any:
    """The one grey level or colour of a PNG file that is transparent, as Pillow has scaled all others."""
    value, packing = picture.info["transparency"], picture.tile[0][3]
    if packing in ("L;2", "L;4"):
        return value * 255 // (2 ** int(packing[-1]) - 1)
    if packing == "RGB;16B":
        raise UnreadablePictureError("a colour of 16 bits is transparent, of which Pillow reads 8: save it with 8 bits")
    return value


def as_bytes(picture: "Image", tags: Mapping[int, Any]) -> "Image":
    """`picture` with 8 bits a channel, transparency kept; `tags` are those of a TIFF file."""
    mode = picture.mode
    if mode == "I" or mode.startswith("I;16"):
        return from_16_bits(picture, tags)
    if mode == "LAB":
        return from_lab(picture)
    if mode in ("La", "RGBa"):  # colours multiplied by their opacity
        return picture.convert("LA" if mode == "La" else "RGBA")
    return picture


def from_16_bits(picture: "Image", tags: Mapping[int, Any]) -> "Image":
    """Grey levels of 0 to 65535, or of as many bits as a TIFF file says, as bytes."""
    from PIL import Image

    bits = tags.get(BITS, (16,))[0]  # 12, for one
    values = np.asarray(picture)
    levels = (values >> (bits - 8)).astype(np.uint8)
    if tags.get(WHITE_IS_ZERO) == 0:  # Pillow inverts 8 bits alone
        levels = 255 - levels
    if (transparent := picture.info.get("transparency")) is not None:
        opaque = np.where(values == transparent, np.uint8(0), np.uint8(255))
        return Image.merge("LA", [Image.fromarray(levels), Image.fromarray(opaque)])
    return Image.fromarray(levels)


def from_lab(picture: "Image") -> "Image":
    try:
        from PIL import ImageCms

        lab, srgb = (ImageCms.createProfile(space) for space in ("LAB", "sRGB"))
    except ImportError as error:  # a Pillow that was built without LittleCMS
        raise UnreadablePictureError(f"a picture in LAB, which this Pillow cannot convert: {ADVICE}") from error
    converted = ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB")
    if converted is None:
        raise UnreadablePictureError(f"a picture in LAB, which Pillow did not convert: {ADVICE}")
    return converted


def over_white(picture: "Image") -> "Image":
    """`picture` over white where it is transparent; as it is where nothing can be."""
    from PIL import Image

    if picture.mode not in ("LA", "PA", "RGBA") and "transparency" not in picture.info:
        return picture
    coloured = picture.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", coloured.size, "white"), coloured).convert("RGB")
