"""Where samples, and what is made of them, lie: on this machine, or in a store that pyarrow's file systems reach."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from gradmeter.errors import DataError, one_line
from gradmeter.samples.sample import Unreadable

LARGEST_FILE = 2**30
"""Bytes of the largest file that is read as one sample."""
AT_ONCE = 32
"""Files of a store that are asked for at once: each is some hundredths of a second away, whatever its size."""

_SCHEME = "://"
# Options of addresses that are no secrets.
_SHOWN = {"allow_bucket_creation", "allow_bucket_deletion", "endpoint_override", "region", "scheme"}
# There the name in front of the host is the container's.
_AZURE = {"abfs", "abfss"}


class Location:
    """A file or a folder; it may be sent to another process.

    Attributes:
        name: as the user gave it, without a password.
        system: the file system that `path` is of.

    Args:
        name: a path, or an address as pyarrow's file systems take it: s3://bucket/folder, gs://..., hdfs://...,
            file:///folder.

    Raises:
        DataError: for an address that is none.
    """

    def __init__(self, name: str | Path) -> None:
        given = str(name)
        # Passwords are nobody's but the store's: names are printed and written down.
        self.name = _without_secrets(given) if _SCHEME in given else given
        if _SCHEME not in given:
            # Another process may work elsewhere.
            self.system, self._path = fs.LocalFileSystem(), os.path.abspath(given)
            return
        try:
            self.system, self._path = fs.FileSystem.from_uri(given)
        except (OSError, ValueError, pa.ArrowException) as error:
            reason = one_line(error).replace(given, self.name)
            raise DataError(f"{self.name} is no address of a file or folder: {reason}") from error
        self._path = self._path.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether it is a path of this machine."""
        return isinstance(self.system, fs.LocalFileSystem)

    @property
    def suffix(self) -> str:
        """What its last name ends in, the dot included."""
        return os.path.splitext(self._path)[1]

    def is_folder(self) -> bool:
        """Whether there is a folder; an object store has those in which files lie."""
        return bool(self._type() == fs.FileType.Directory)

    def is_file(self) -> bool:
        """Whether there is a file."""
        return bool(self._type() == fs.FileType.File)

    def folders(self) -> list[str]:
        """Names of the folders in this one, in order; those that begin with a dot are passed over."""
        return [name for name, is_folder in self._entries() if is_folder]

    def files(self) -> list[str]:
        """Names of the files in this folder, likewise."""
        return [name for name, is_folder in self._entries() if not is_folder]

    def files_below(self, folder: str) -> list[str]:
        """Paths, seen from here, of the files in a folder and further below, in order; links to folders further below
        are not followed, they may be circles.
        """
        if self.is_local:
            found = _walked(Path(self._path), folder)
        else:
            selector = fs.FileSelector(f"{self._path}/{folder}", recursive=True)
            paths = [info.path for info in self.infos(selector) if info.type == fs.FileType.File]
            found = iter([path.removeprefix(self._path).lstrip("/") for path in paths])
        return sorted(path for path in found if not any(part.startswith(".") for part in path.split("/")))

    def read(self, path: str = "") -> bytes:
        """The content of this file, or of one below this folder.

        Raises:
            Unreadable: if it cannot be read, or is larger than `LARGEST_FILE`.
            DataError: if its store does not answer.
        """
        try:
            return self._content(path)
        except (OSError, pa.ArrowException) as error:
            reason = one_line(error)
        if not self.is_local and self.is_there(path):
            try:
                return self._content(path)
            except (OSError, pa.ArrowException) as error:
                reason = one_line(error)
        raise Unreadable(reason)

    def is_there(self, path: str = "") -> bool:
        """Whether there is this, or what lies below.

        Raises:
            DataError: if the store does not answer.
        """
        return bool(self._type(path) != fs.FileType.NotFound)

    def _content(self, path: str) -> bytes:
        with self.open(path) as file:
            # To ask for as much as is allowed would take as much memory.
            size = file.seek(0, os.SEEK_END)
            if size > LARGEST_FILE:
                raise Unreadable(f"more than {LARGEST_FILE:,} bytes; expected one sample")
            file.seek(0)
            return bytes(file.read(size))

    def open(self, path: str = "") -> IO[bytes]:
        """This file, or one below this folder, to read from any place in it."""
        # The errors of Python's own are shorter.
        if self.is_local:
            return Path(self.path(path)).open("rb")
        file: IO[bytes] = self.system.open_input_file(self.path(path))
        return file

    def path(self, below: str = "") -> str:
        """Of this, or of what lies below, for `system`."""
        return f"{self._path}/{below}" if below else self._path

    def infos(self, what: fs.FileSelector | list[str]) -> list[fs.FileInfo]:
        """What `system` says of paths, or of what a selector finds.

        Raises:
            DataError: if it does not answer.
        """
        try:
            found: list[fs.FileInfo] = self.system.get_file_info(what)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{self.name} cannot be read: {one_line(error)}") from error
        return found

    def _type(self, below: str = "") -> fs.FileType:
        return self.infos([self.path(below)])[0].type

    def _entries(self) -> Iterator[tuple[str, bool]]:
        """(name, whether it is a folder) of what lies in this folder, in order."""
        if self.is_local:
            try:
                with os.scandir(self._path) as entries:
                    found = [(entry.name, entry.is_dir()) for entry in entries if entry.is_dir() or entry.is_file()]
            except OSError as error:
                raise DataError(
                    f"{self.name} cannot be read ({error.strerror}); expected a folder of images"
                ) from error
        else:
            infos = self.infos(fs.FileSelector(self._path))
            found = [(info.base_name, info.type == fs.FileType.Directory) for info in infos]
        return ((name, is_folder) for name, is_folder in sorted(found) if not name.startswith("."))


def _without_secrets(address: str) -> str:
    """An address without passwords and keys; of one that is none what is behind them."""
    scheme, _, rest = address.partition(_SCHEME)
    try:
        place = urlsplit(address)
        place.port  # noqa: B018  it is checked here
    except ValueError:
        return f"{scheme}{_SCHEME}{rest.rpartition('@')[2]}"
    user, at, host = place.netloc.rpartition("@")
    shown = f"{user.partition(':')[0]}{at}{host}" if scheme in _AZURE else host
    options = [option for option in place.query.split("&") if option.partition("=")[0] in _SHOWN]
    return f"{scheme}{_SCHEME}{shown}{place.path}{'?' if options else ''}{'&'.join(options)}"


def _walked(base: Path, folder: str) -> Iterator[str]:
    for where, _, files in os.walk(base / folder):
        relative = os.path.relpath(where, base)
        yield from (os.path.join(relative, file) for file in files)
