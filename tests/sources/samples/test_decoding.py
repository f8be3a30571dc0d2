import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from gradmeter.sources.samples import Unreadable
from gradmeter.sources.samples.decoding import LARGEST, TooLarge, decode, decode_text, pixels
from sources.samples.pictures import encoded, gradient, in_one_tile

RGB = gradient()


def levels_of(image: Image.Image) -> np.ndarray:
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_come_back_as_they_are(kind: str) -> None:
    assert np.array_equal(decode(encoded(Image.fromarray(RGB), kind)), RGB)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "JPEG2000"])
def test_lossy_formats(kind: str) -> None:
    decoded = decode(encoded(Image.fromarray(RGB), kind))
    assert decoded.mode == "RGB"
    assert np.abs(levels_of(decoded) - RGB).mean() < 12


def test_grey_is_spread_over_three_channels_and_colour_is_made_grey() -> None:
    grey = RGB[..., 0]
    decoded = levels_of(decode(encoded(Image.fromarray(grey), "PNG")))
    assert np.array_equal(decoded, np.repeat(grey[..., None], 3, axis=2))
    luma = RGB @ [0.299, 0.587, 0.114]
    assert np.abs(levels_of(decode(encoded(Image.fromarray(RGB), "PNG"), "L")) - luma).max() <= 1


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    levels = np.linspace(0, 65535, 96).reshape(8, 12)
    decoded = decode(encoded(Image.fromarray(levels.astype(np.uint16)), "PNG"), "L")
    assert np.abs(levels_of(decoded) - levels / 257).max() <= 0.51
    decoded = decode(encoded(Image.fromarray(levels.astype(np.uint16)), "TIFF"), "L")
    assert np.abs(levels_of(decoded) - levels / 257).max() <= 0.51


def test_twelve_bits_are_scaled() -> None:
    levels = np.linspace(0, 4095, 256).astype(int).reshape(16, 16)
    even, odd = levels[:, ::2], levels[:, 1::2]
    packed = np.stack([even >> 4, (even & 15) << 4 | odd >> 8, odd & 255], axis=-1).astype(np.uint8)
    content = in_one_tile(side=16, tile=16, data=zlib.compress(packed.tobytes()), bits=12)
    decoded = decode(io.BytesIO(content), "L")
    assert np.abs(levels_of(decoded) - levels * 255 / 4095).max() <= 0.51


def test_thirty_two_bits_hold_eight_or_sixteen() -> None:
    """NumPy's default integers, saved as a TIFF: grey levels of 8 bits would become black as 16 bits."""
    levels = np.arange(96, dtype=np.int32).reshape(8, 12) * 2
    assert np.array_equal(levels_of(decode(encoded(Image.fromarray(levels), "TIFF"), "L")), levels)
    assert np.array_equal(levels_of(decode(encoded(Image.fromarray(levels * 257), "TIFF"), "L")), levels)
    dark = levels.astype(np.uint16)  # a PGM says that it has 16 bits
    assert levels_of(decode(encoded(Image.fromarray(dark), "PPM"), "L")).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_zero_is_white_in_some_tiffs(dtype: type[np.integer]) -> None:
    levels = (np.arange(96).reshape(8, 12) * 2).astype(dtype)
    whites = levels if dtype is np.uint8 else levels * dtype(257)
    stream = encoded(Image.fromarray(whites), "TIFF")
    content = bytearray(stream.getvalue())
    entry = content.index(struct.pack("<HHIH", TiffImagePlugin.PHOTOMETRIC_INTERPRETATION, 3, 1, 1))
    content[entry + 8] = 0
    assert np.array_equal(levels_of(decode(io.BytesIO(bytes(content)), "L")), 255 - levels)


def test_real_numbers() -> None:
    levels = np.linspace(0, 1, 96, dtype=np.float32).reshape(8, 12)
    assert np.abs(levels_of(decode(encoded(Image.fromarray(levels), "TIFF"), "L")) - levels * 255).max() <= 0.51
    with pytest.raises(Unreadable, match="from 0 to 300; "):
        decode(encoded(Image.fromarray(levels * 300), "TIFF"))
    with pytest.raises(Unreadable, match="from 0 to 1000000; "):
        decode(encoded(Image.fromarray(np.full((4, 4), 10**6, np.int32) * np.eye(4, dtype=np.int32)), "TIFF"))


def test_cmyk() -> None:
    cmyk = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    decoded = levels_of(decode(encoded(cmyk, "JPEG")))
    assert decoded[..., 0].min() > 200
    assert decoded[..., 1:].max() < 60


@pytest.mark.parametrize("orientation", range(1, 9))
def test_upright_as_the_exif_note_says(orientation: int) -> None:
    # The stored image of a camera held so that the EXIF orientation restores it.
    stored = {
        1: lambda image: image,
        2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
        4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
        6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
        7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
        8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    }[orientation](Image.fromarray(RGB))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert np.array_equal(decode(encoded(stored, "PNG", exif=exif)), RGB)


def test_the_first_frame_of_several() -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue")]
    decoded = levels_of(decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])))
    assert decoded[0, 0].tolist() == [255, 0, 0]


def test_palette_and_alpha() -> None:
    image = Image.fromarray(RGB)
    decoded = levels_of(decode(encoded(image.quantize(256), "PNG")))
    assert np.abs(decoded - RGB).mean() < 8
    image.putalpha(0)
    assert np.array_equal(decode(encoded(image, "PNG")), RGB)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "WEBP", "GIF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated(kind: str, share: float) -> None:
    whole = encoded(Image.fromarray(gradient(64, 64)), kind).getvalue()
    with pytest.raises(Unreadable):
        decode(io.BytesIO(whole[: int(len(whole) * share)]))


def test_no_image(tmp_path: Path) -> None:
    with pytest.raises(Unreadable):
        decode(io.BytesIO(b"hello"))
    with pytest.raises(Unreadable, match="No such file"):
        decode(tmp_path / "absent.png")


def test_formats_that_start_programs_are_not_read() -> None:
    with pytest.raises(Unreadable):
        decode(encoded(Image.fromarray(RGB), "EPS"))


def png(width: int, height: int) -> bytes:
    """A small PNG whose header states this size; its pixels are cut off after the first thousand bytes."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [10_000, 30_000, 200_000])
def test_decompression_bombs_are_not_unpacked(side: int) -> None:
    assert side**2 > LARGEST
    with pytest.raises(TooLarge):
        decode(io.BytesIO(png(side, side)))


@pytest.mark.parametrize("size", [(1, 20_000), (1_000_000, 9)])
def test_what_scaling_would_make_enormous(size: tuple[int, int]) -> None:
    with pytest.raises(Unreadable, match=f"{size[0]} x {size[1]} .* 100 "):
        decode(encoded(Image.new("1", size), "PNG"))
    assert decode(encoded(Image.new("1", (500, 5)), "PNG")).size == (500, 5)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "JPEG", "WEBP", "GIF", "JPEG2000", "AVIF"])
def test_the_header_tells_how_many_pixels_there_are(kind: str) -> None:
    Image.init()
    if kind not in Image.SAVE:
        pytest.skip(f"Pillow writes no {kind} here")
    assert pixels(encoded(Image.fromarray(RGB), kind).getvalue()) == RGB.shape[0] * RGB.shape[1]


def test_nothing_is_decoded_to_count_pixels() -> None:
    """This file does not even contain its pixels."""
    assert pixels(png(10_000, 10_000)) == 10_000**2
    with pytest.raises(TooLarge):
        pixels(png(200_000, 200_000))
    frames = [Image.new("RGB", (6, 6), colour) for colour in ("red", "blue", "green")]
    assert pixels(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]).getvalue()) == 36
    with pytest.raises(Unreadable):
        pixels(b"hello")


def test_a_tile_counts_as_what_it_is() -> None:
    content = in_one_tile(16, 32_000, zlib.compress(bytes(1000)))
    assert pixels(content) == 32_000**2
    with pytest.raises(TooLarge, match="1,024,000,000"):
        decode(io.BytesIO(content))


def test_the_byte_order_mark_of_a_text_is_left_out() -> None:
    assert decode_text("a film".encode("utf-8-sig")) == decode_text(b"a film") == "a film"
