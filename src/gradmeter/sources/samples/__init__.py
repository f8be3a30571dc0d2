"""A user's samples: images or texts on disk, read one at a time, and what to do with those that cannot be read."""

from gradmeter.names import decode_name, encode_name
from gradmeter.sources.samples.opening import ImageKind, decoder_for, open_source, require_outside
from gradmeter.sources.samples.sample import Encoded, Sample, Source, Unlabelled, Unreadable

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
