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
        ("I;16", 257 * 99, "jp2", (99, 99, 99)),
        ("I", 257 * 99, "pgm", (99, 99, 99)),
        ("I", 65535, "pgm", (255, 255, 255)),
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


def write_grey_tiff(path, values, bits=None, photometric=1, sample_format=1):
    """A TIFF file of one row of `values`, an array, or bytes and the number of `bits` of each."""
    order, content = ">" if getattr(values, "dtype", np.dtype("u1")).str[0] == ">" else "<", bytes(values)
    bits = bits or 8 * values.itemsize
    short = {256: 8 * len(content) // bits, 257: 1, 258: bits, 259: 1, 262: photometric, 277: 1, 278: 1}
    short[339] = sample_format
    entries = {tag: struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in short.items()}
    entries |= {tag: struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in ((273, 8), (279, len(content)))}
    head = struct.pack(f"{order}2sHI", b"MM" if order == ">" else b"II", 42, 8 + len(content))
    tags = b"".join(entries[tag] for tag in sorted(entries))
    path.write_bytes(head + content + struct.pack(f"{order}H", len(entries)) + tags + bytes(4))
    return path


def test_grey_tiff_files_whose_white_lies_elsewhere(tmp_path):
    path = write_grey_tiff(tmp_path / "a.tif", np.array([0, 257 * 99], "<u2"), photometric=0)
    assert read(path, colour=False).tolist() == [[255, 255 - 99]]
    path = write_grey_tiff(tmp_path / "b.tif", bytes([0xFF, 0xF8, 0x00]), 12)  # 4095 and 2048
    assert read(path, colour=False).tolist() == [[255, 128]]


@pytest.mark.parametrize("order", "<>")
def test_grey_tiff_files_by_the_kind_of_their_numbers(tmp_path, order):
    """All values fit in 0 to 65535, and what is white is known of unsigned 8 and 16 bits alone."""
    for kind, sample_format, read_as, message in (
        ("u1", 1, [0, 100], None),
        ("u2", 1, [0, 0], None),
        ("i1", 2, None, r"signed integers of 8 bits \(SampleFormat 2\)"),
        ("i2", 2, None, r"signed integers of 16 bits \(SampleFormat 2\)"),
        ("i4", 2, None, r"signed integers of 32 bits \(SampleFormat 2\)"),
        ("u4", 1, None, "32 bits|no image file"),  # Pillow does not open big-endian ones
        ("f4", 3, None, r"floats \(mode F\), of which nobody knows what is white"),
    ):
        path = write_grey_tiff(tmp_path / f"{kind}.tif", np.array([0, 100], order + kind), sample_format=sample_format)
        if message is None:
            assert read(path, colour=False).tolist() == [read_as], kind
        else:
            with pytest.raises(FileFormatError, match=rf"{kind}\.tif: .*{message}"):
                read(path)


def test_a_portable_graymap_is_white_at_its_largest_value(tmp_path):
    path = tmp_path / "a.pgm"
    for largest, content, seen in (
        (100, bytes([20, 100]), [51, 255]),
        (1023, struct.pack(">HH", 512, 1023), [128, 255]),
    ):
        path.write_bytes(b"P5\n2 1\n%d\n" % largest + content)
        assert read(path, colour=False).tolist() == [seen]


def write_fits(path, bits, content):
    cards = ("SIMPLE  = T", f"BITPIX  = {bits}", "NAXIS   = 2", "NAXIS1  = 2", "NAXIS2  = 1", "END")
    path.write_bytes("".join(card.ljust(80) for card in cards).ljust(2880).encode() + content.ljust(2880, b"\0"))
    return path


def test_measurements_are_no_grey_levels(tmp_path):
    assert read(write_fits(tmp_path / "8.fits", 8, bytes([1, 2])), colour=False).tolist() == [[1, 2]]
    with pytest.raises(FileFormatError, match=r"16\.fits: measurements of 16 bits \(FITS\), of which nobody knows"):
        read(write_fits(tmp_path / "16.fits", 16, struct.pack(">2h", 5, 300)))
    with pytest.raises(FileFormatError, match=r"32\.fits: a picture of 32 bits \(mode I\), of which nobody knows"):
        read(write_fits(tmp_path / "32.fits", 32, struct.pack(">2i", 5, 300)))


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
    with pytest.raises(
        FileFormatError, match=r"a\.tif: a picture of floats \(mode F\), .* what is white: save it as a PNG"
    ):
        read(saved(tmp_path, Image.new("F", (2, 2), 0.5), "tif"))
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


def png_head(path, width, height, depth, colours):
    """A PNG file that describes a picture, with pixels for none of its rows."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, 0))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b""))
    return path


@pytest.mark.parametrize(
    ("depth", "colours", "colour", "described"),
    [
        (16, 0, False, 9400 * 9400 * (2 + 1 + 1)),  # as Pillow holds a pixel, as it is converted, in the array
        (16, 0, True, 9400 * 9400 * (2 + 4 + 3)),
        (8, 0, True, 9400 * 9400 * (1 + 4 + 3)),
        (8, 2, True, 9400 * 9400 * (4 + 3)),
        (8, 2, False, 9400 * 9400 * (4 + 1 + 1)),
        (8, 6, True, 9400 * 9400 * (4 + 4 + 3)),
    ],
)
def test_a_small_file_that_describes_a_huge_picture_is_refused_by_its_head(tmp_path, depth, colours, colour, described):
    path = png_head(tmp_path / "a.png", 9400, 9400, depth, colours)
    own = path.stat().st_size
    message = (
        rf"a\.png: it describes {described:,} bytes, more than 100 times its own {own:,} and than 268,435,456: not"
    )
    with pytest.raises(FileFormatError, match=message):
        read(path, colour)


def test_a_flat_picture_may_be_a_thousandth_of_its_pixels(tmp_path):
    for ending in ("png", "webp", "gif"):
        path = saved(tmp_path, Image.new("L", (1500, 1500), 77), ending, lossless=True)
        assert path.stat().st_size < 1500 * 1500 // 300
        assert (read(path, colour=False) == 77).all()


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
