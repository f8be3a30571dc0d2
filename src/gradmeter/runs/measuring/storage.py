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
from gradmeter.files import atomic_write, is_temporary, parsed_json, sweep
from gradmeter.sources.samples.location import AT_ONCE, Location

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Storage:
    """A folder whose files appear whole or not at all; it may be sent to another process.

    On this machine a file is written beside its place and then takes its name; S3 and Google's store show an object
    when all of it has arrived. Others may show a part of it, as long as its writer is at work.

    Attributes:
        location: where it is.

    Args:
        folder: a path, or an address as pyarrow's file systems take it.

    Raises:
        DataError: for an address that is none.
    """

    def __init__(self, folder: str | Path) -> None:
        self.location = Location(folder)

    @property
    def name(self) -> str:
        """As the user gave it, encoded by `encode_name` and without a password."""
        return self.location.name

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, by its name; folders in it are there with 0. Empty where there is no such folder.

        Raises:
            DataError: if it cannot be listed, being a file, say.
        """
        return {name: size for name, size in self.location.sizes().items() if not is_temporary(Path(name))}

    def size(self, file: str) -> int | None:
        """Bytes of a file; None where there is none.

        Raises:
            DataError: if the folder cannot be read.
        """
        return self.location.size(file)

    def open(self, file: str) -> pa.NativeFile:
        """A file, to read from any place in it.

        Raises:
            OSError, pa.ArrowException: if it cannot be read.
        """
        return self.location.open_for_arrow(file)

    def json(self, file: str) -> dict[str, Any] | None:
        """The JSON object that a file holds; None where there is no such file, or it holds something else.

        Raises:
            DataError: if it cannot be read now: what it says is not known.
        """
        try:
            with self.open(file) as stream:
                return parsed_json(stream.read())
        except (FileNotFoundError, ValueError):
            return None
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.name}/{file} cannot be read: {one_line(error)}") from error

    def each(self, ask: Callable[[Item], Answer], items: Iterable[Item]) -> Iterator[Answer]:
        """What is answered for every item, in their order; of a store some are asked for at once."""
        if self.location.is_local:
            yield from map(ask, items)
            return
        left = iter(items)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            while some := list(itertools.islice(left, AT_ONCE)):
                yield from threads.map(ask, some)

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
            # In one piece: what is closed after an error has come too far.
            with self.location.system.open_output_stream(self.location.path(file)) as stream:
                stream.write(content)
        except (OSError, pa.ArrowException) as error:
            raise self._cannot_write(error) from error

    def write_json(self, file: str, content: Any, *, indent: int | None = None) -> None:
        """Write a JSON file, likewise; where it is indented, its keys are sorted."""
        text = json.dumps(content, ensure_ascii=False, indent=indent, sort_keys=indent is not None)
        self.write(file, f"{text}\n".encode())

    def remove(self, file: str) -> None:
        """Remove a file; it need not be there.

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
        """Remove what killed writers left behind."""
        if self.location.is_local:
            sweep(Path(self.location.path()))

    def _cannot_write(self, error: BaseException) -> OutputError:
        return OutputError(f"cannot write {self.name} ({one_line(error)}); choose another folder")
