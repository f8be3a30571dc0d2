"""From DATA, as a user names it, to a source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gradmeter.errors import DataError, OutputError
from gradmeter.sources.samples.arrays import ImageArchive
from gradmeter.sources.samples.decoding import SUFFIXES, ImageDecoder, decode_text
from gradmeter.sources.samples.files import ImageFile
from gradmeter.sources.samples.folders import ImageFolder
from gradmeter.sources.samples.left_out import Kind
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.noise import NOISE, Noise
from gradmeter.sources.samples.sample import Source
from gradmeter.sources.samples.tables import ParquetTable, is_table
from gradmeter.stages import stage

MANIFEST = "_measurement.json"
"""The file by which a folder is known to hold what gradmeter made of samples, and no samples."""
EXPECTED = "an image, a folder of images or of one folder for each class, an .npz archive, Parquet, or noise:uniform"


@dataclass(frozen=True)
class ImageKind:
    """What a classifier takes for an image.

    Attributes:
        mode: "RGB" or "L".
        side: height and width in pixels of images that its preprocessing does not resize.
    """

    mode: str
    side: int


_NO_IMAGES = ImageKind("RGB", 1)


def open_source(data: str, image: ImageKind | None, *, seed: int = 0) -> Source:
    """The source that DATA names.

    Args:
        data: an image; a folder of them, flat or with one folder for each class; an `.npz` archive; a Parquet file
            or a folder of them; "noise:uniform" or "noise:normal".
        image: what images are decoded to; None where texts are expected, which lie in Parquet only.
        seed: of noise; other images for another one.

    Raises:
        DataError: if there is no such thing, it holds no samples but readings, say, or images where texts are
            expected, or texts where images are.
        InputError: for a kind of noise that is not known.
    """
    with stage(f"opening {Location(data).name}"):
        source = _opened(data, image or _NO_IMAGES, seed)
    if source.texts != (image is None):
        found, expected = ("texts", "images") if source.texts else ("images", "texts, in a column of a Parquet file")
        raise DataError(f"{source.name} holds {found}; this model takes {expected}")
    return source


def require_outside(out: str | Path, data: Sequence[str]) -> None:
    """Refuse to write among samples: what is written would be one of their folders when they are opened again.

    Args:
        out: where will be written.
        data: what will be read.

    Raises:
        OutputError: if `out` lies in one of them.
    """
    place = Location(out)
    for name in data:
        if not name.startswith(NOISE) and Location(name).holds(place):
            raise OutputError(f"{place.name} lies in {Location(name).name}, among the samples; choose another place")


def decoder_for(image: ImageKind | None) -> Callable[[bytes], Image.Image | str]:
    """From the content of a file to what a classifier takes: an image, or where that is None a text in UTF-8."""
    return decode_text if image is None else ImageDecoder(image.mode)


def _opened(data: str, image: ImageKind, seed: int) -> Source:
    if data.startswith(NOISE):
        return Noise(data, image.side, image.mode, seed)
    location = Location(data)
    kind = location.kind()
    if kind is Kind.FOLDER:
        files = [name for name, kind in location.entries() if kind is Kind.FILE]
        if MANIFEST in files:
            raise DataError(
                f"{location.name} holds readings or verdicts that gradmeter made; expected the samples themselves: "
                f"{EXPECTED}"
            )
        holds_tables = any(is_table(name) for name in files)
        return ParquetTable(location, image.mode) if holds_tables else ImageFolder(location, image.mode)
    if kind is None:
        raise DataError(f"{location.name}: no such file or folder; expected {EXPECTED}")
    if kind is not Kind.FILE:
        raise DataError(f"{location.name} is a {kind.value[0]}; expected {EXPECTED}")
    suffix = location.suffix
    if suffix == ".npz":
        return ImageArchive(location, image.mode)
    if suffix == ".parquet":
        return ParquetTable(location, image.mode)
    if suffix.lower() in SUFFIXES:
        return ImageFile(location, image.mode)
    raise DataError(f"{location.name} ends in {suffix or 'nothing'}; expected {EXPECTED}")
