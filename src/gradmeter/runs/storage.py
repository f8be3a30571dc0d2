"""A folder to write to, on this machine or in an object store."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from gradmeter.errors import DataError, OutputError, one_line
from gradmeter.files import atomic_write, is_incidental, parsed_json, sweep
from gradmeter.sources.samples.location import AT_ONCE, Location

Item = TypeVar("Item")
Result = TypeVar("Result")


class Storage:
    """A folder whose files appear whole or not at all; it can be pickled.

    On this machine a file is written under a temporary name and then renamed. S3 and Google Cloud Storage show an
    object when it is complete. Other stores may show a part of it while it is being written.

    Attributes:
        location: where the folder is.

    Args:
        folder: a path, or an address (URI) of one of pyarrow's file systems.

    Raises:
        DataError: if the address is invalid.
    """

    def __init__(self, folder: str | Path) -> None:
        self.location = Location(folder)

    @property
    def name(self) -> str:
        """The folder as the user gave it, encoded by `encode_name` and without a password."""
        return self.location.name

    def sizes(self) -> dict[str, int]:
        """Size in bytes of each file, by name; subfolders have 0. Empty if the folder does not exist.

        Raises:
            DataError: if the folder cannot be listed, for example because it is a file.
        """
        return {name: size for name, size in self.location.sizes().items() if not is_incidental(Path(name))}

    def size(self, file: str) -> int | None:
        """Size of a file in bytes; None if it does not exist.

        Raises:
            DataError: if the folder cannot be read.
        """
        return self.location.size(file)

    def open(self, file: str) -> pa.NativeFile:
        """Open a file for random access.

        Raises:
            OSError, pa.ArrowException: if it cannot be read.
        """
        return self.location.open_for_arrow(file)

    def json(self, file: str) -> dict[str, Any] | None:
        """The JSON object in a file; None if the file does not exist or holds something else.

        Raises:
            DataError: if the file cannot be read now.
        """
        try:
            with self.open(file) as stream:
                return parsed_json(stream.read())
        except (FileNotFoundError, ValueError):
            return None
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.name}/{file} cannot be read: {one_line(error)}") from error

    def each(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Apply a function to every item and yield the results in order; for an object store, in several threads."""
        if self.location.is_local:
            yield from map(function, items)
            return
        iterator = iter(items)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while batch := list(itertools.islice(iterator, AT_ONCE)):
                yield from threads.map(function, batch)

    def write(self, file: str, content: bytes | memoryview) -> None:
        """Write a file, whole or not at all.

        Raises:
            OutputError: if the disk is full or the folder cannot be written.
        """
        if self.location.is_local:
            with atomic_write(Path(self.location.path(file))) as temporary:
                temporary.write_bytes(content)
            return
        try:
            # One write: closing a stream after an error would publish a part of the object.
            with self.location.system.open_output_stream(self.location.path(file)) as stream:
                stream.write(content)
        except (OSError, pa.ArrowException) as error:
            raise self._cannot_write(error) from error

    def write_json(self, file: str, content: Any, *, indent: int | None = None) -> None:
        """Write a JSON file, whole or not at all."""
        text = json.dumps(content, ensure_ascii=False, indent=indent)
        self.write(file, f"{text}\n".encode())

    def remove(self, file: str) -> None:
        """Remove a file, if it exists.

        Raises:
            OutputError: if that fails.
        """
        try:
            self.location.system.delete_file(self.location.native(file))
        except FileNotFoundError:
            return
        except (OSError, pa.ArrowException) as error:
            raise self._cannot_write(error) from error

    def sweep(self) -> None:
        """Remove the temporary files of killed writers."""
        if self.location.is_local:
            sweep(Path(self.location.path()))

    def _cannot_write(self, error: BaseException) -> OutputError:
        return OutputError(f"cannot write {self.name} ({one_line(error)}); choose another folder")
