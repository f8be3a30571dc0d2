"""Samples whose loading process is killed."""

import os
import signal
import time
from pathlib import Path

from PIL import Image

from gradmeter.sources.samples import Encoded, Source


class Deadly(Source):
    """40 grey images of 8 x 8 pixels; the process that loads one of them is killed, as by a lack of memory.

    Args:
        at: the index of this image.
        begin: a file; the process is not killed before it exists.
    """

    name, classes, labelled = "deadly", ("bird", "cat", "dog"), True

    def __init__(self, at: int, begin: Path | None = None) -> None:
        self.at, self.begin, self.parent = at, begin, os.getpid()

    def __len__(self) -> int:
        return 40

    def id(self, index: int) -> str:
        return str(index)

    def fetch(self, index: int) -> Encoded:
        if index == self.at:
            assert os.getpid() != self.parent, "the test's own process is not to die"
            while self.begin is not None and not self.begin.exists():
                time.sleep(0.01)
            os.kill(os.getpid(), signal.SIGKILL)
        return Encoded(str(index), bytes(range(index, index + 64)), index % 3)

    @staticmethod
    def decoder(content: bytes) -> Image.Image:
        return Image.frombytes("L", (8, 8), content)

    def fingerprint(self) -> str:
        return "deadly"
