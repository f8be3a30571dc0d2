"""Open the source that DATA on the command line names."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image

from gradmeter.errors import DataError, OutputError
from gradmeter.sources.samples.array_kind import ArrayKind
from gradmeter.sources.samples.decoding import ImageDecoder, decode_text
from gradmeter.sources.samples.folders import ImageFolder
from gradmeter.sources.samples.left_out import Kind
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.registry import FILE_TYPES, SCHEMES, scheme_of
from gradmeter.sources.samples.sample import ImageKind, Source
from gradmeter.sources.samples.tables import ParquetTable, is_table
from gradmeter.stages import stage
from gradmeter.trust.main_file import TRUST

MANIFEST = "_measurement.json"
"""The file that marks a folder as an output of gradmeter."""
EXPECTED = "an image, a folder of images or of one folder for each class, an .npz archive, Parquet, or noise:uniform"

# Suffixes of tables that are not read.
_TABLES = (".csv", ".tsv", ".json", ".jsonl", ".xlsx")
# What an opener gets for a classifier of texts or arrays.
_NO_IMAGES = ImageKind("RGB", 1)


def open_source(
    data: str, image: ImageKind | None, *, arrays: ArrayKind | None = None, labels: bool = True, seed: int = 0
) -> Source:
    """Open the source that DATA names.

    Args:
        data: an image; a folder of images, flat or with one folder for each class; an `.npz` archive; a Parquet file
            or a folder of Parquet files; "noise:uniform" or "noise:normal"; or a registered scheme or file type.
        image: the images that the classifier takes; None for a classifier of texts or arrays.
        arrays: the arrays that the classifier takes; None for a classifier of images or texts.
        labels: whether labels are used; otherwise it does not matter if they are invalid.
        seed: the seed of noise.

    Raises:
        DataError: if `data` does not exist or holds no samples (but readings, for example), holds other samples than
            the classifier takes, such as texts for a classifier of images, or has labels that are used but invalid.
        InputError: if the kind of noise is unknown.
    """
    with stage(f"opening {Location(data).name}"):
        source = _open(data, image or _NO_IMAGES, seed)
    given = "texts" if source.texts else "images" if source.arrays is None else f"arrays ({source.arrays})"
    if arrays is not None and (source.arrays is None or not arrays.accepts(source.arrays)):
        raise DataError(f"{source.name} holds {given}; this model takes arrays ({arrays})")
    if arrays is None and (source.arrays is not None or source.texts != (image is None)):
        expected = "texts, in a column of a Parquet file" if image is None else "images"
        raise DataError(f"{source.name} holds {given}; this model takes {expected}")
    if labels and source.invalid_labels:
        raise DataError(source.invalid_labels)
    return source


def require_outside(out: str | Path, data: Sequence[str]) -> None:
    """Refuse an output inside a folder of samples, where it would be read as a sample next time.

    Args:
        out: the output file or folder.
        data: the inputs, each as for `open_source`.

    Raises:
        OutputError: if `out` lies in one of them.
    """
    output = Location(out)
    for name in data:
        if scheme_of(name) is None and Location(name).holds(output):
            raise OutputError(f"{output.name} lies in {Location(name).name}, among the samples; choose another --out")


def decoder_for(image: ImageKind | None) -> Callable[[bytes], Image.Image | str]:
    """A function that decodes the content of a file to an image, or to a text if `image` is None."""
    return decode_text if image is None else ImageDecoder(image.mode)


def _open(data: str, image: ImageKind, seed: int) -> Source:
    if scheme := scheme_of(data):
        return SCHEMES[scheme](data, image.side, image.mode, seed)
    location = Location(data)
    kind = location.kind()
    if kind is Kind.FOLDER:
        files = [name for name, kind in location.entries() if kind is Kind.FILE]
        for file, content in ((MANIFEST, "readings or verdicts of gradmeter"), (TRUST, "a TrustModel")):
            if file in files:
                raise DataError(f"{location.name} holds {content}; expected the samples themselves: {EXPECTED}")
        holds_tables = any(is_table(name) for name in files)
        return ParquetTable(location, image.mode) if holds_tables else ImageFolder(location, image.mode)
    if kind is None:
        raise DataError(f"{location.name}: no such file or folder; expected {EXPECTED}")
    if kind is not Kind.FILE:
        raise DataError(f"{location.name} is a {kind.value[0]}; expected {EXPECTED}")
    suffix = location.suffix
    if opener := FILE_TYPES.get(suffix.lower()):
        return opener(location, image.mode)
    raise DataError(
        f"{location.name} has {f'the suffix {suffix}' if suffix else 'no suffix'}; expected {EXPECTED}"
        + ": convert a table to Parquet, as pandas' to_parquet does" * (suffix.lower() in _TABLES)
    )
