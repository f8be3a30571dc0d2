"""Sources of samples: images or texts, read one at a time; a sample that cannot be read raises `Unreadable`."""

from gradmeter.names import decode_name, encode_name
from gradmeter.sources.samples.opening import decoder_for, open_source, require_outside
from gradmeter.sources.samples.sample import Encoded, ImageKind, Sample, Source, Unlabelled, Unreadable

__all__ = [
    "Encoded",
    "ImageKind",
    "Sample",
    "Source",
    "Unlabelled",
    "Unreadable",
    "decode_name",
    "decoder_for",
    "encode_name",
    "open_source",
    "require_outside",
]
