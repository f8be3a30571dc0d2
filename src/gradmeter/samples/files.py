"""A single image as a source."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from gradmeter.samples.decoding import decode
from gradmeter.samples.sample import Sample, Source


class ImageFile(Source):
    """One image without a label.

    Args:
        path: the file.
        mode: "RGB" or "L" of the decoded image.
    """

    classes = None
    labelled = False

    def __init__(self, path: Path, mode: str = "RGB") -> None:
        self.name = str(path)
        self._path, self._mode = path, mode

    def __len__(self) -> int:
        """One."""
        return 1

    def id(self, index: int) -> str:
        """The name of the file."""
        return self._path.name

    def read(self, index: int) -> Sample:
        """Decode it."""
        return Sample(self.id(index), decode(self._path, self._mode), None)

    def fingerprint(self) -> str:
        """A hash of the name."""
        return hashlib.sha256(os.fsencode(self._path.name)).hexdigest()
