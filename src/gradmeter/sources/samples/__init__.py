"""Sources of samples: images, texts or arrays, read one at a time; a sample that cannot be read raises `Unreadable`."""

from gradmeter.names import decode_name, encode_name
from gradmeter.sources.samples.archives import arrays_of
from gradmeter.sources.samples.array_archive import ArrayArchive
from gradmeter.sources.samples.array_kind import ArrayKind, Arrays
from gradmeter.sources.samples.arrays import ImageArchive
from gradmeter.sources.samples.files import ImageFile
from gradmeter.sources.samples.folders import ImageFolder
from gradmeter.sources.samples.noise import Noise
from gradmeter.sources.samples.opening import decoder_for, open_source, require_outside
from gradmeter.sources.samples.registry import register_file_type, register_scheme, scheme_of
from gradmeter.sources.samples.sample import (
    Encoded,
    ImageKind,
    Sample,
    Source,
    Unlabelled,
    Unreadable,
    labels_elsewhere,
    no_labels,
)
from gradmeter.sources.samples.tables import ParquetTable

__all__ = [
    "ArrayArchive",
    "ArrayKind",
    "Arrays",
    "Encoded",
    "ImageArchive",
    "ImageFile",
    "ImageFolder",
    "ImageKind",
    "Noise",
    "ParquetTable",
    "Sample",
    "Source",
    "Unlabelled",
    "Unreadable",
    "arrays_of",
    "decode_name",
    "decoder_for",
    "encode_name",
    "labels_elsewhere",
    "no_labels",
    "open_source",
    "register_file_type",
    "register_scheme",
    "require_outside",
    "scheme_of",
]
