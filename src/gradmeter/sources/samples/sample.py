"""A sample of a user's data: something to classify, where it came from, and its label where it has one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
        id: where it came from: a path below the source, encoded by `encode_name`, or a row.
        content: the decoded image, or the text.
        label: number of its class among the source's, None where it has none.
    """

    id: str
    content: Image.Image | str
    label: int | None


@dataclass(frozen=True)
class Encoded:
    """A sample as it is stored.

    Attributes:
        id: as of `Sample`.
        content: what `Source.decoder` makes an image or a text of.
        label: as of `Sample`.
    """

    id: str
    content: bytes
    label: int | None


class Unreadable(Exception):
    """A single sample cannot be read; the message says why, and others can."""


class Source(ABC):
    """Samples in a fixed order, read one at a time; nothing is decoded before it is asked for.

    Attributes:
        name: as the user gave it, encoded by `encode_name`.
        classes: names of the classes that labels count, encoded by `encode_name`; None where labels have no names or
            there are none.
        labelled: whether samples have labels.
        texts: whether samples are texts, not images.
        decoder: from stored content to an image or a text; it may be sent to another process, and raises `Unreadable`.
        left_out: what lies beside the samples and is none, in words; empty where nothing does.
        at_once: how many threads may fetch; more than one where each sample takes its time to come, whatever its size.
    """

    name: str
    classes: tuple[str, ...] | None
    labelled: bool
    texts: bool = False
    left_out: str = ""
    at_once: int = 1
    decoder: Callable[[bytes], Image.Image | str]

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples, unreadable ones included."""

    @abstractmethod
    def id(self, index: int) -> str:
        """The id of one sample, without reading it."""

    @abstractmethod
    def fetch(self, index: int) -> Encoded:
        """Read one sample and leave it as it is stored.

        Raises:
            Unreadable: if this one cannot be read.
        """

    def read(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            Unreadable: if this one is damaged.
        """
        encoded = self.fetch(index)
        return Sample(encoded.id, self.decoder(encoded.content), encoded.label)

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of which samples there are: it changes when some come, go or are renamed."""

    def containers(self) -> dict[str, str]:
        """What samples lie in that has no name of their own, and a hash of each: while it is the same, so is the sample
        of an id. Of a folder of files it is nothing, the id is the file's name.
        """
        return {"": self.fingerprint()}


class Unlabelled(Source):
    """The samples of another source without their labels, which are of classes that the network does not know.

    Args:
        source: the other source.
    """

    classes = None
    labelled = False

    def __init__(self, source: Source) -> None:
        self.name, self.texts, self.decoder, self._source = source.name, source.texts, source.decoder, source
        self.at_once, self.left_out = source.at_once, source.left_out

    def __len__(self) -> int:
        """The number of samples."""
        return len(self._source)

    def id(self, index: int) -> str:
        """The id of one sample."""
        return self._source.id(index)

    def fetch(self, index: int) -> Encoded:
        """Read one sample."""
        return replace(self._source.fetch(index), label=None)

    def fingerprint(self) -> str:
        """That of the other source."""
        return self._source.fingerprint()

    def containers(self) -> dict[str, str]:
        """Those of the other source."""
        return self._source.containers()
