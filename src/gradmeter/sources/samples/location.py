"""Where samples, and what is made of them, lie: on this machine, or in a store that pyarrow's file systems reach."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import pyarrow as pa
from pyarrow import fs

from gradmeter.errors import DataError, one_line
from gradmeter.names import encode_name
from gradmeter.sources.samples.left_out import Kind, LeftOut, kind_of, kind_of_entry, kind_of_mode
from gradmeter.sources.samples.sample import Unreadable

LARGEST_FILE = 2**30
"""Bytes of the largest file that is read as one sample."""
AT_ONCE = 32
"""Files of a store that are asked for at once: each is some hundredths of a second away, whatever its size."""

_SCHEME = "://"
# A path such as ./a://b is none.
_ADDRESS = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*{_SCHEME}")
# Options of addresses that are no secrets.
_SHOWN = {"allow_bucket_creation", "allow_bucket_deletion", "endpoint_override", "region", "scheme"}
# There the name in front of the host is the container's.
_AZURE = {"abfs", "abfss"}


def is_address(name: str) -> bool:
    """Whether a name is an address, with a scheme, and no path."""
    return _ADDRESS.match(name) is not None


class Location:
    """A file or a folder; it may be sent to another process.

    Attributes:
        name: as the user gave it, encoded by `encode_name` and without a password.
        system: the file system that `path` is of.

    Args:
        name: a path, or an address as pyarrow's file systems take it: s3://bucket/folder, gs://..., hdfs://...,
            file:///folder.

    Raises:
        DataError: for an address that is none, or an empty name.
    """

    def __init__(self, name: str | Path) -> None:
        given = str(name)
        if not given:
            raise DataError("a name is empty; expected a path or an address")
        # Passwords are nobody's but the store's: names are printed and written down.
        remote = is_address(given)
        self.name = encode_name(_without_secrets(given) if remote else given)
        if not remote:
            # Another process may work elsewhere.
            self.system, self._path = fs.LocalFileSystem(), os.path.abspath(given)
            return
        try:
            self.system, self._path = fs.FileSystem.from_uri(given)
        except (OSError, ValueError, pa.ArrowException) as error:
            reason = one_line(error).replace(given, self.name)
            raise DataError(f"{self.name} is no address of a file or folder: {reason}") from error
        self._path = self._path.rstrip("/") or self._path[:1]  # the root is nothing but one

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
        return self.kind() is Kind.FOLDER

    def is_file(self) -> bool:
        """Whether there is a file."""
        return self.kind() is Kind.FILE

    def kind(self, below: str = "") -> Kind | None:
        """What lies here, or below; None for nothing.

        Raises:
            DataError: if that cannot be told.
        """
        if not self.is_local:
            return _KINDS.get(self._infos([self.path(below)])[0].type)
        try:
            return kind_of(self.path(below))
        except OSError as error:
            raise self._cannot_read(error) from error

    def holds(self, other: Location) -> bool:
        """Whether another place lies below this one."""
        here, there = self._real(), other._real()
        return self.system == other.system and here != there and there.startswith(here.rstrip("/") + "/")

    def is_same(self, other: Location) -> bool:
        """Whether another name is of this place, too."""
        return self.system == other.system and self._real() == other._real()

    def _real(self) -> str:
        """The path behind links."""
        return os.path.realpath(self._path) if self.is_local else self._path

    def entries(self) -> list[tuple[str, Kind]]:
        """Names in this folder, in order, and what each is.

        Raises:
            DataError: if it cannot be read.
        """
        if not self.is_local:
            infos = self._infos(fs.FileSelector(self._path))
            return sorted(((info.base_name, _KINDS[info.type]) for info in infos), key=_name)
        try:
            return _scanned(self._path)
        except OSError as error:
            raise DataError(f"{self.name} cannot be read ({error.strerror}); expected a folder of images") from error

    def files_below(self, folder: str, left_out: LeftOut) -> list[str]:
        """Paths, seen from here, of the files in a folder and further below, in order.

        Links to folders further below are not followed, they may be circles.

        Args:
            folder: its name.
            left_out: told of all that is no file, hidden, or cannot be read.
        """
        return sorted(self._walked(folder, left_out) if self.is_local else self._listed(folder, left_out))

    def sizes(self) -> dict[str, int]:
        """Bytes of each file in this folder, by its name; folders in it are there with 0. Empty where it is not there.

        Raises:
            DataError: if it cannot be listed, being a file, say.
        """
        if not self.is_local:
            return {info.base_name: info.size or 0 for info in self._infos(fs.FileSelector(self._path, True))}
        try:
            with os.scandir(self._path) as entries:
                return {entry.name: entry.stat().st_size if entry.is_file() else 0 for entry in entries}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise self._cannot_read(error) from error

    def size(self, below: str = "") -> int | None:
        """Bytes of this file, or of one below; None where there is none.

        Raises:
            DataError: if that cannot be told.
        """
        (info,) = self._infos([self.native(below)])
        return info.size if info.type == fs.FileType.File else None

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
        return self.kind(path) is not None

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
            return open(self.path(path), "rb", opener=_without_waiting)
        file: IO[bytes] = self.open_for_arrow(path)
        return file

    def open_for_arrow(self, path: str = "") -> pa.NativeFile:
        """The same as Arrow's own readers are faster with.

        Raises:
            OSError, pa.ArrowException: if it cannot be read.
        """
        return self.system.open_input_file(self.native(path))

    def path(self, below: str = "") -> str:
        """Of this, or of what lies below, in `system`."""
        return f"{self._path}/{below}" if below else self._path

    def native(self, below: str = "") -> str | bytes:
        """The same as `system` takes it, which knows no surrogates."""
        return os.fsencode(self.path(below)) if self.is_local else self.path(below)

    def _infos(self, what: fs.FileSelector | list[str | bytes]) -> list[fs.FileInfo]:
        """What `system` says of paths, or of what a selector finds.

        Raises:
            DataError: if it does not answer.
        """
        try:
            found: list[fs.FileInfo] = self.system.get_file_info(what)
        except (OSError, pa.ArrowException) as error:
            raise self._cannot_read(error) from error
        return found

    def _cannot_read(self, error: BaseException) -> DataError:
        return DataError(f"{self.name} cannot be read: {one_line(error)}")

    def _walked(self, folder: str, left_out: LeftOut) -> list[str]:
        files, folders = [], [folder]
        while folders:
            where = folders.pop()
            try:
                entries = _scanned(f"{self._path}/{where}")
            except OSError:
                left_out.add(Kind.UNREADABLE_FOLDER, where)
                continue
            for name, kind in entries:
                path = f"{where}/{name}"
                if name.startswith("."):
                    left_out.add_hidden(kind, path)
                elif kind is Kind.FILE:
                    files.append(path)
                elif kind is Kind.FOLDER:
                    folders.append(path)
                else:
                    left_out.add(kind, path)
        return files

    def _listed(self, folder: str, left_out: LeftOut) -> list[str]:
        files = []
        for info in self._infos(fs.FileSelector(f"{self._path}/{folder}", recursive=True)):
            if info.type != fs.FileType.File:
                continue
            path = info.path.removeprefix(self._path).lstrip("/")
            if any(part.startswith(".") for part in path.split("/")):
                left_out.add(Kind.HIDDEN, path)
            else:
                files.append(path)
        return files


_KINDS = {fs.FileType.File: Kind.FILE, fs.FileType.Directory: Kind.FOLDER, fs.FileType.Unknown: Kind.DEVICE}


def _scanned(folder: str) -> list[tuple[str, Kind]]:
    with os.scandir(folder) as entries:
        return sorted(((entry.name, kind_of_entry(entry)) for entry in entries), key=_name)


def _name(entry: tuple[str, Kind]) -> str:
    return entry[0]


def _without_waiting(path: str, flags: int) -> int:
    """Open a file; to open a FIFO, which may have taken its place, would wait for who writes into it."""
    number = os.open(path, flags | os.O_NONBLOCK)
    if kind_of_mode(os.fstat(number).st_mode) in (Kind.FILE, Kind.FOLDER):
        return number
    os.close(number)
    raise OSError(errno.EINVAL, "no regular file")


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
