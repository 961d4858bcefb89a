"""Pictures of every mode are read as a person sees them, or refused by name: pixel values computed without Pillow."""

import colorsys
import io
import struct
import zlib

import numpy as np
import pytest

from fastcnn import FileFormatError

Image = pytest.importorskip("PIL.Image")

from fastcnn.datasets.pictures import as_seen, read_picture  # noqa: E402


def everything(_):
    """Take pictures of any size."""


def read(path, colour=True):
    return read_picture(path, colour, everything)


def saved(tmp_path, picture, ending="png", **options):
    path = tmp_path / f"a.{ending}"
    picture.save(path, **options)
    return path


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def write_png(path, width, depth, colours, rows, *more):
    """A PNG file of one row byte by byte: what Pillow cannot write."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colours, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + b"".join(more) + pixels + chunk(b"IEND", b""))
    return path


def luma(red, green, blue):
    return round(0.299 * red + 0.587 * green + 0.114 * blue)


def over_white(value, alpha):
    return round((value * alpha + 255 * (255 - alpha)) / 255)


def test_grey_levels_and_colours_for_models_of_either(tmp_path):
    grey = saved(tmp_path, Image.fromarray(np.array([[0, 77], [128, 255]], np.uint8)))
    assert read(grey, colour=False).tolist() == [[0, 77], [128, 255]]
    assert read(grey).tolist() == [[[0] * 3, [77] * 3], [[128] * 3, [255] * 3]]
    colour = saved(tmp_path, Image.new("RGB", (3, 2), (200, 30, 60)))
    assert (read(colour) == (200, 30, 60)).all() and read(colour).shape == (2, 3, 3)
    assert (read(colour, colour=False) == luma(200, 30, 60)).all() and read(colour, False).shape == (2, 3)
    assert read(colour).dtype == read(grey, False).dtype == np.uint8


def test_one_bit(tmp_path):
    path = saved(tmp_path, Image.fromarray(np.array([[True, False]])))
    assert read(path, colour=False).tolist() == [[255, 0]] and read(path).tolist() == [[[255] * 3, [0] * 3]]


@pytest.mark.parametrize(
    ("mode", "pixel", "ending", "seen"),
    [
        ("LA", (40, 100), "png", (over_white(40, 100),) * 3),
        ("PA", (1, 100), "tif", [over_white(value, 100) for value in (10, 20, 30)]),
        ("RGBA", (10, 200, 30, 51), "png", [over_white(value, 51) for value in (10, 200, 30)]),
        ("RGBA", (10, 200, 30, 0), "tif", (255, 255, 255)),
        ("P", 1, "png", (10, 20, 30)),
        ("P", 1, "gif", (10, 20, 30)),
        ("RGBX", (10, 200, 30, 77), "tif", (10, 200, 30)),
        ("CMYK", (0, 51, 255, 0), "tif", (255, 204, 0)),
        ("CMYK", (0, 0, 0, 255), "tif", (0, 0, 0)),
        ("YCbCr", (76, 85, 255), "tif", (254, 0, 0)),  # red: 76 + 1.402 * 127
        ("LAB", (128, 128, 128), "tif", (119, 119, 119)),  # L* is 50.2: 18.6 % of white's light
        ("I;16", 257 * 99, "png", (99, 99, 99)),
        ("I;16", 65535, "tif", (255, 255, 255)),
        ("I;16B", 257 * 99, "tif", (99, 99, 99)),
        ("I", 257 * 99, "tif", (99, 99, 99)),
        ("I", 65535, "tif", (255, 255, 255)),
    ],
)
def test_modes_of_files(tmp_path, mode, pixel, ending, seen):
    picture = Image.new(mode, (2, 1), pixel)
    if mode in ("P", "PA"):
        picture.putpalette([0, 0, 0, 10, 20, 30])
    path = saved(tmp_path, picture, ending)
    assert read(path).tolist() == [[list(seen)] * 2]
    assert read(path, colour=False).tolist() == [[luma(*seen)] * 2]


def test_white_and_red_in_lab(tmp_path):
    """Red has L* = 54.3, a* = 80.8, b* = 69.9 by the white point D50; LittleCMS rounds within."""
    for pixel, seen, most in (((255, 128, 128), (255, 255, 255), 1), ((138, 128 + 81, 128 + 70), (255, 0, 0), 8)):
        path = saved(tmp_path, Image.new("LAB", (1, 1), pixel), "tif")
        assert np.abs(read(path).astype(int) - seen).max() <= most


def test_modes_that_few_files_have():
    hue = [round(255 * value) for value in colorsys.hsv_to_rgb(85 / 255, 1, 1)]
    for mode, pixel, seen in (
        ("HSV", (85, 255, 255), hue),
        ("La", (50, 100), [over_white(round(50 * 255 / 100), 100)] * 3),
        ("RGBa", (50, 0, 100, 100), [over_white(value, 100) for value in (round(50 * 255 / 100), 0, 255)]),
    ):
        picture = as_seen(Image.merge(mode, [Image.new("L", (1, 1), value) for value in pixel]))
        assert np.abs(np.asarray(picture.convert("RGB"), int)[0, 0] - seen).max() <= (mode != "HSV"), mode


@pytest.mark.parametrize("key", [0, b"\0\xff"])
def test_a_palette_with_transparency(tmp_path, key):
    picture = Image.fromarray(np.array([[0, 1]], np.uint8)).convert("P")
    picture.putpalette([9, 9, 9, 10, 20, 30])
    path = saved(tmp_path, picture, transparency=key)
    assert read(path).tolist() == [[[255, 255, 255], [10, 20, 30]]]


@pytest.mark.parametrize(
    ("depth", "colours", "rows", "key", "seen"),
    [
        (1, 0, b"\x80", (1,), [255, 0]),
        (2, 0, b"\x80", (2,), [255, 0]),
        (4, 0, b"\x50", (5,), [255, 0]),
        (8, 0, b"\x05\x06", (5,), [255, 6]),
        (16, 0, b"\x80\x01\x80\x00", (0x8001,), [255, 0x80]),
        (8, 2, b"\1\2\3\4\4\4", (1, 2, 3), [255, 4]),
    ],
)
def test_one_transparent_grey_level_or_colour(tmp_path, depth, colours, rows, key, seen):
    more = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    path = write_png(tmp_path / "a.png", 2, depth, colours, rows, more)
    assert read(path, colour=False).tolist() == [seen]


def test_16_bits_are_reduced_alike_in_grey_and_colours(tmp_path):
    values = np.array([0, 255, 256, 32768, 65279, 65535], ">u2")
    wanted = [0, 0, 1, 128, 254, 255]
    grey = write_png(tmp_path / "grey.png", 6, 16, 0, values.tobytes())
    assert read(grey, colour=False).tolist() == [wanted]
    colour = write_png(tmp_path / "colour.png", 6, 16, 2, values.repeat(3).tobytes())
    assert read(colour).tolist() == [[[value] * 3 for value in wanted]]
    both = write_png(tmp_path / "both.png", 2, 16, 4, np.array([40000, 65535, 40000, 0], ">u2").tobytes())
    assert read(both, colour=False).tolist() == [[156, 255]]


def write_grey_tiff(path, bits, photometric, content, width):
    """A TIFF file of one row, little-endian."""
    entries = [(256, width), (257, 1), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, 1)]
    entries.append((279, len(content)))
    tags = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in entries)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(content))
    path.write_bytes(head + content + struct.pack("<H", len(entries)) + tags + bytes(4))
    return path


def test_grey_tiff_files_whose_white_lies_elsewhere(tmp_path):
    path = write_grey_tiff(tmp_path / "a.tif", 16, 0, struct.pack("<HH", 0, 257 * 99), 2)
    assert read(path, colour=False).tolist() == [[255, 255 - 99]]
    path = write_grey_tiff(tmp_path / "b.tif", 12, 1, bytes([0xFF, 0xF8, 0x00]), 2)  # 4095 and 2048
    assert read(path, colour=False).tolist() == [[255, 128]]


@pytest.mark.parametrize("ending", ["png", "tif", "jpg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, ending, orientation):
    """A dark corner at the top left of what a person sees."""
    seen = np.full((16, 24), 255, np.uint8)
    seen[:8, :8] = 0
    turn = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.T,
        6: lambda a: np.rot90(a, 1),  # shown turned clockwise: stored turned the other way
        7: lambda a: a[::-1, ::-1].T,
        8: lambda a: np.rot90(a, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path, Image.fromarray(np.ascontiguousarray(turn(seen))), ending, exif=exif)
    sizes = []
    got = read_picture(path, False, sizes.append)
    np.testing.assert_array_equal(got > 128, seen > 128)
    assert sizes == [(16, 24)]


def test_a_cmyk_photograph(tmp_path):
    path = saved(tmp_path, Image.new("CMYK", (8, 8), (0, 51, 255, 0)), "jpg", quality=100)
    assert np.abs(read(path).astype(int) - (255, 204, 0)).max() <= 2


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif"])
def test_the_first_frame(tmp_path, ending):
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("black", "white")]
    path = saved(tmp_path, frames[0], ending, save_all=True, append_images=frames[1:])
    assert (read(path) == 0).all()


def test_gamma(tmp_path):
    rows = bytes([100, 200])
    for gamma, more in ((45455, ()), (100000, (chunk(b"sRGB", b"\0"),))):
        path = write_png(tmp_path / "a.png", 2, 8, 0, rows, chunk(b"gAMA", struct.pack(">I", gamma)), *more)
        assert read(path, colour=False).tolist() == [[100, 200]]
    path = write_png(tmp_path / "a.png", 2, 8, 0, rows, chunk(b"gAMA", struct.pack(">I", 100000)))
    with pytest.raises(FileFormatError, match=r"a\.png: its gamma is 1, and 0.45455 alone is read: convert it to sRGB"):
        read(path)


def test_what_nobody_knows_how_to_see_is_refused_by_name(tmp_path):
    for mode, pixel, message in (
        ("F", 0.5, r"a\.tif: a picture of floats \(mode F\), of which nobody knows what is white: save it"),
        ("I", 65536, r"a\.tif: its grey levels lie in 65536 to 65536 \(mode I\); expected 0 to 65535: save it with 8"),
        ("I", -1, r"a\.tif: its grey levels lie in -1 to -1 \(mode I\); expected 0 to 65535"),
    ):
        with pytest.raises(FileFormatError, match=message):
            read(saved(tmp_path, Image.new(mode, (2, 2), pixel), "tif"))
    more = chunk(b"tRNS", struct.pack(">3H", 0, 255, 256))
    with pytest.raises(FileFormatError, match=r"b\.png: a colour of 16 bits is transparent, of which Pillow reads 8"):
        read(write_png(tmp_path / "b.png", 1, 16, 2, bytes(6), more))


def test_eps_is_not_run(tmp_path):
    path = saved(tmp_path, Image.new("RGB", (4, 4)), "eps")
    with pytest.raises(FileFormatError, match=r"a\.eps: not an image, .* \(EPS is a program, which is not run\)"):
        read(path)


def test_sizes_are_refused_before_pixels_are_read(tmp_path, monkeypatch):
    path = saved(tmp_path, Image.new("L", (300, 200)))

    def refuse(size):
        raise ValueError(f"too large: {size}")

    with pytest.raises(ValueError, match=r"^too large: \(200, 300\)$"):
        read_picture(path, False, refuse)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50_000)
    with pytest.raises(FileFormatError, match=r"a\.png: not an image, .*exceeds limit of 50000 pixels"):
        read(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    with pytest.raises(FileFormatError, match=r"a\.png: not an image, .*decompression bomb"):
        read(path)


@pytest.mark.parametrize("ending", ["png", "gif", "jpg", "tif", "bmp", "webp"])
def test_truncated_pictures(tmp_path, rng, ending):
    content = saved(tmp_path, Image.fromarray(rng.integers(0, 256, (28, 28)).astype(np.uint8)), ending).read_bytes()
    path = tmp_path / f"short.{ending}"
    for share in (0, 0.01, 0.1, 0.5, 0.9):
        path.write_bytes(content[: int(share * len(content))])
        with pytest.raises(FileFormatError, match=rf"short\.{ending}: not an image, or a truncated or corrupt one"):
            read(path)


def test_a_png_with_any_bit_changed_is_refused_or_read_right(tmp_path, rng):
    """Pillow reads pixels without looking at the checksums."""
    pixels = rng.integers(0, 256, (12, 12)).astype(np.uint8)
    buffer, path = io.BytesIO(), tmp_path / "a.png"
    Image.fromarray(pixels).save(buffer, "png")
    for position in range(len(buffer.getvalue())):
        content = bytearray(buffer.getvalue())
        content[position] ^= 1 << position % 8
        path.write_bytes(content)
        try:
            np.testing.assert_array_equal(read(path, colour=False), pixels)
        except FileFormatError as error:
            assert str(path) in str(error)
