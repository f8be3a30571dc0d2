"""Samples, and the interface of their sources."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from gradmeter.errors import DataError
from gradmeter.names import listed
from gradmeter.sources.samples.file_versions import FileVersions

if TYPE_CHECKING:
    from PIL import Image

    from gradmeter.sources.samples.array_kind import ArrayKind, Arrays

NO_LABEL = -1
"""The label of samples without one, as in test sets on the Hugging Face hub, and in scikit-learn."""

# Names of columns and arrays that may hold labels, and the most of them in a note.
_LIKE_LABELS, _NAMED = re.compile(r"label|target|class|categor|truth|^y$", re.IGNORECASE), 5


@dataclass(frozen=True)
class Sample:
    """One decoded sample.

    Attributes:
        id: its path relative to the source, encoded by `encode_name`, or its row.
        content: the decoded image, the text, or the arrays by argument of the network.
        label: the index of its class in `Source.classes`, None if it has no label.
    """

    id: str
    content: Image.Image | str | Arrays
    label: int | None


@dataclass(frozen=True)
class Encoded:
    """One sample as it is stored, not decoded.

    Attributes:
        id: see `Sample`.
        content: the stored bytes, the input of `Source.decoder`.
        label: see `Sample`.
    """

    id: str
    content: bytes
    label: int | None


@dataclass(frozen=True)
class ImageKind:
    """The images that a classifier takes.

    Attributes:
        mode: "RGB" or "L", the mode of decoded images.
        side: height and width in pixels at which the preprocessing needs no resizing.
    """

    mode: str
    side: int


class Unreadable(Exception):
    """One sample cannot be read; the message is the reason. Other samples of the source may still be readable."""


class Source(ABC):
    """Samples in a fixed order, read one at a time and only on demand.

    Attributes:
        name: the name given by the user, encoded by `encode_name`.
        classes: the names of the classes in the order of the labels, encoded by `encode_name`; None if the samples have
            no labels or the classes no names.
        labelled: whether samples have labels.
        invalid_labels: why the labels cannot be used, and are left out; empty if they can, or there are none.
        texts: whether samples are texts.
        arrays: the arrays that go to the network as they are; None for images and texts.
        decoder: decodes stored content to `Sample.content`; it can be pickled, and raises `Unreadable`.
        note: what a user should know about what was read, such as files that were left out; empty if there is nothing.
        at_once: the number of threads that may fetch concurrently; above 1 if fetching has a high latency.
        columns: the names of columns or arrays that hold other values of each sample, such as its patient.
    """

    name: str
    classes: tuple[str, ...] | None
    labelled: bool
    invalid_labels: str = ""
    texts: bool = False
    arrays: ArrayKind | None = None
    note: str = ""
    at_once: int = 1
    columns: tuple[str, ...] = ()
    decoder: Callable[[bytes], Image.Image | str | Arrays]

    @abstractmethod
    def __len__(self) -> int:
        """The number of samples, including unreadable ones."""

    @abstractmethod
    def id(self, index: int) -> str:
        """The id of one sample; the sample is not read."""

    @abstractmethod
    def fetch(self, index: int) -> Encoded:
        """Read one sample without decoding it.

        Raises:
            Unreadable: if the sample cannot be read.
        """

    def read(self, index: int) -> Sample:
        """Read and decode one sample.

        Raises:
            Unreadable: if the sample cannot be read or decoded.
        """
        encoded = self.fetch(index)
        return Sample(encoded.id, self.decoder(encoded.content), encoded.label)

    def column(self, name: str) -> Iterator[str | None]:
        """The values of one of `columns` as texts, one for each sample; None where there is no value.

        Raises:
            DataError: if they cannot be read, or are no texts, numbers or times.
        """
        raise KeyError(name)

    @abstractmethod
    def fingerprint(self) -> str:
        """A hash of the set of samples; it changes when samples are added, removed or renamed.

        Of samples in one file it also changes when the file is replaced.
        """

    def containers(self) -> dict[str, str]:
        """Files whose samples are identified by position, and a hash of each.

        While the hash stays the same, an id stands for the same sample. Empty for a folder of images, where the id is
        the path of the file. The name "" stands for the source itself.
        """
        return {"": self.fingerprint()}

    def send_note(self, receive: Callable[[str], None]) -> None:
        """Pass the note to `receive`, with the name of the source, if there is one."""
        if self.note:
            receive(f"{self.name}: {self.note}")

    def file_versions(self) -> FileVersions:
        """The versions of files, if neither `fingerprint` nor `containers` always tells that their samples changed.

        A file has the id of its only sample; of several samples, what their ids have before the last colon.
        """
        return FileVersions.of([])


def no_labels(name: str) -> DataError:
    """The error if a set of samples has no labels, but needs them."""
    return DataError(
        f"{name} has no labels; expected one folder for each class, a column 'label' or 'labels', or an array 'labels'"
    )


def labels_elsewhere(source: Source) -> str | None:
    """A note if a source has no labels, but another column or array seems to hold some; None otherwise."""
    others = [] if source.labelled else [name for name in source.columns if _LIKE_LABELS.search(name)]
    if not others:
        return None
    one_of = "one of " * (len(others) > 1)
    return (
        f"{source.name} has no labels; if they are in {one_of}{listed(others, _NAMED)}, name it 'labels' and start "
        "over with --fresh"
    )


class DerivedSource(Source):
    """The samples of another source; subclasses change something of them.

    Args:
        source: the other source.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self.name, self.classes, self.labelled = source.name, source.classes, source.labelled
        self.texts, self.arrays, self.decoder = source.texts, source.arrays, source.decoder
        self.at_once, self.note = source.at_once, source.note

    def __len__(self) -> int:
        """The number of samples."""
        return len(self._source)

    def id(self, index: int) -> str:
        """The id of one sample."""
        return self._source.id(index)

    def fetch(self, index: int) -> Encoded:
        """Read one sample."""
        return self._source.fetch(index)

    def fingerprint(self) -> str:
        """The fingerprint of the other source."""
        return self._source.fingerprint()

    def containers(self) -> dict[str, str]:
        """The containers of the other source."""
        return self._source.containers()

    def file_versions(self) -> FileVersions:
        """Those of the other source."""
        return self._source.file_versions()


class Unlabelled(DerivedSource):
    """The samples of another source without their labels, for labels that are not classes of the network."""

    def __init__(self, source: Source) -> None:
        super().__init__(source)
        self.classes, self.labelled = None, False

    def fetch(self, index: int) -> Encoded:
        """Read one sample."""
        return replace(self._source.fetch(index), label=None)
