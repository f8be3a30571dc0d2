"""A single image as a source."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress

from gradmeter.names import encode_name
from gradmeter.sources.samples.decoding import SUFFIXES, ImageDecoder
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.registry import register_file_type
from gradmeter.sources.samples.sample import Encoded, Source, Unreadable


@register_file_type(*SUFFIXES)
class ImageFile(Source):
    """One image without a label.

    Args:
        location: the file.
        mode: "RGB" or "L", the mode of the decoded image.
    """

    classes = None
    labelled = False

    def __init__(self, location: Location, mode: str = "RGB") -> None:
        self.name = location.name
        self.decoder = ImageDecoder(mode)
        self._location = location

    def __len__(self) -> int:
        """Always 1."""
        return 1

    def id(self, index: int) -> str:
        """The file name, encoded by `encode_name`."""
        return encode_name(os.path.basename(self._location.path()))

    def fetch(self, index: int) -> Encoded:
        """Read the file."""
        return Encoded(self.id(index), self._location.read(), None)

    def fingerprint(self) -> str:
        """A hash of the file's name and content; of its name if it cannot be read."""
        digest = hashlib.sha256(f"{self.id(0)}\0".encode())
        with suppress(Unreadable):
            digest.update(self._location.read())
        return digest.hexdigest()
