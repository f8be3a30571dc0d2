"""Paths on this machine, and addresses in remote stores that pyarrow's file systems support."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

import pyarrow as pa
from pyarrow import fs

from gradmeter.errors import DataError, one_line
from gradmeter.names import encode_name
from gradmeter.sources.samples.left_out import Kind, LeftOut, is_hidden, kind_of, kind_of_entry, kind_of_mode
from gradmeter.sources.samples.sample import Unreadable
from gradmeter.sources.samples.store_errors import is_temporary

LARGEST_FILE = 2**30
"""The largest size in bytes of a file that holds one sample."""
AT_ONCE = 32
"""The number of concurrent requests to a remote store; each has a latency of some hundredths of a second."""

_NO_FILE = -1, 0
_SCHEME = "://"
# Matches at the start only: ./a://b is a path.
_ADDRESS = re.compile(rf"[A-Za-z][A-Za-z0-9+.-]*{_SCHEME}")
# The characters that have a meaning in addresses, without "#", as pyarrow ignores what follows it,
# and without brackets, which it refuses also around a host of IPv6 in an option.
_SYNTAX = ":/?@!$&'()*+,;=%~"
# Options of addresses that are not secret.
_SHOWN = {"allow_bucket_creation", "allow_bucket_deletion", "endpoint_override", "region", "scheme"}
# pyarrow reads it with a library whose errors are of any kind.
_HUB = "hf://"
# In addresses of these schemes, the part before "@" is the name of the container.
_AZURE = {"abfs", "abfss"}
_GOOGLE = {"gs", "gcs"}
# Seconds. Google's library tries again for a quarter of an hour by default, without credentials too.
_RETRIES = "retry_limit_seconds=30"


def is_address(name: str) -> bool:
    """Whether a name is an address with a scheme, not a path."""
    return _ADDRESS.match(name) is not None


def plain_name(name: str) -> str:
    """A path or address without secrets, and without slashes and dots that do not matter, as in "./images/"."""
    return _without_secrets(name) if is_address(name) else _plain(name)


class Location:
    """A file or folder, local or in a remote store; can be pickled.

    Attributes:
        name: the name given by the user, made plain by `plain_name` and encoded by `encode_name`.
        system: the file system of `path`.

    Args:
        name: a path, or an address in the form of pyarrow's file systems: s3://bucket/folder, gs://..., hdfs://...,
            file:///folder. In an address, %20 stands for a space, but a space may be written as such, too.

    Raises:
        DataError: if the name is empty or the address invalid.
    """

    def __init__(self, name: str | Path) -> None:
        given = str(name)
        if not given:
            raise DataError("a name is empty; expected a path or an address")
        # The name is printed and saved, so it must not contain passwords.
        remote = is_address(given)
        self.name = encode_name(plain_name(given))
        if not remote:
            # Absolute, since a process that gets this object may have another working directory.
            self.system, self._path = fs.LocalFileSystem(), os.path.abspath(given)
            self._device = _device(self._path)
            return
        if given.startswith(_HUB):
            raise DataError(
                f"{self.name}: the Hugging Face hub is not read directly; download the data set, for example with "
                "hf download, and give the path of its folder"
            )
        uri = _as_uri(given)
        try:
            self.system, self._path = fs.FileSystem.from_uri(uri)
        except (OSError, ValueError, pa.ArrowException) as error:
            reason = one_line(error).replace(uri, self.name)
            raise DataError(f"{self.name} is not a valid address of a file or folder: {reason}") from error
        self._path = self._path.rstrip("/") or self._path[:1]  # keep the root, "/"
        self._device = _device(self._path) if self.is_local else None

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Unpickle; on another machine, the same file system has another number."""
        vars(self).update(state)
        self._device = _device(self._path) if self.is_local else None

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine."""
        return isinstance(self.system, fs.LocalFileSystem)

    @property
    def suffix(self) -> str:
        """The suffix of the file name, with its dot."""
        return os.path.splitext(self._path)[1]

    def is_folder(self) -> bool:
        """Whether a folder exists here. In an object store, a folder exists if it contains files."""
        return self.kind() is Kind.FOLDER

    def is_file(self) -> bool:
        """Whether a file exists here."""
        return self.kind() is Kind.FILE

    def kind(self, below: str = "") -> Kind | None:
        """The kind of file here, or at a path below; None if there is none.

        Raises:
            DataError: if the location cannot be examined.
        """
        if not self.is_local:
            return _KINDS.get(self._infos([self.path(below)])[0].type)
        try:
            return kind_of(self.path(below))
        except OSError as error:
            raise self._cannot_read(error) from error

    def holds(self, other: Location) -> bool:
        """Whether another location lies inside this one."""
        here, there = self._real(), other._real()
        return self.system == other.system and here != there and there.startswith(here.rstrip("/") + "/")

    def is_same(self, other: Location) -> bool:
        """Whether both are the same file or folder, links followed."""
        return self.system == other.system and self._real() == other._real()

    def _real(self) -> str:
        """The path with links resolved."""
        return os.path.realpath(self._path) if self.is_local else self._path

    def entries(self) -> list[tuple[str, Kind]]:
        """The names in this folder, sorted, with the kind of each.

        Raises:
            DataError: if the folder cannot be read.
        """
        if not self.is_local:
            infos = self._infos(fs.FileSelector(self._path))
            return sorted(((info.base_name, _KINDS[info.type]) for info in infos), key=_name)
        try:
            return _scan(self._path)
        except OSError as error:
            raise DataError(f"{self.name} cannot be read ({error.strerror}); expected a folder of images") from error

    def files_below(self, folder: str, left_out: LeftOut) -> list[str]:
        """The files in a subfolder and its subfolders, as sorted paths relative to this folder.

        Links to folders inside the subfolder are not followed, because they may be circular.

        Args:
            folder: the name of the subfolder.
            left_out: collects hidden and unreadable entries, and those that are not regular files.
        """
        return sorted(self._walk(folder, left_out) if self.is_local else self._list(folder, left_out))

    def sizes(self) -> dict[str, int]:
        """The size in bytes of each file in this folder, by name; 0 for subfolders. Empty if the folder does not exist.

        Raises:
            DataError: if the folder cannot be listed, for example because it is a file.
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
        """The size in bytes of this file, or of one below this folder; None if there is no such file.

        Raises:
            DataError: if the location cannot be examined.
        """
        (info,) = self._infos([self.native(below)])
        return info.size if info.type == fs.FileType.File else None

    def versions(self, paths: Iterable[str]) -> Iterator[tuple[int, int]]:
        """Yield what changes when this file, or files below this folder, are modified or replaced.

        Of a folder in a remote store, all files below it are listed.

        Args:
            paths: of the files, relative to this folder; "" for this file itself.

        Yields:
            For each file its size in bytes, and when it was modified, in nanoseconds (after the year 2262 the low 63
            bits of them; 0 if the store does not say it); -1 and 0 if it cannot be examined.

        Raises:
            DataError: if a remote store does not respond.
        """
        if self.is_local:
            yield from map(_version, map(self.path, paths))
            return
        infos = self._infos(fs.FileSelector(self._path, recursive=True) if self.is_folder() else [self._path])
        versions = {info.path: (info.size or 0, info.mtime_ns or 0) for info in infos}
        for path in paths:
            yield versions.get(self.path(path), _NO_FILE)

    def read(self, path: str = "") -> bytes:
        """Read this file, or one below this folder.

        Raises:
            Unreadable: if the file cannot be read or is larger than `LARGEST_FILE`.
            DataError: if a remote store does not respond or fails twice, or this file or folder is gone.
        """
        try:
            return self._read(path)
        except (OSError, pa.ArrowException) as error:
            reason = one_line(error)
            self.require_present()
        # A remote store may have failed temporarily, so try once more. If it is still down, `exists` raises.
        if not self.is_local and self.exists(path):
            try:
                return self._read(path)
            except (OSError, pa.ArrowException) as error:
                reason = one_line(error)
                self.require_service(reason, path)
        raise Unreadable(reason)

    def require_present(self) -> None:
        """Check that a local file or folder is still there, after a sample in it could not be read.

        The others cannot be read either where a network share or a disk was unmounted.

        Raises:
            DataError: if it is gone.
        """
        if not self.is_local:
            return
        try:
            device = os.stat(self._path).st_dev
        except OSError as error:
            raise self._gone(one_line(error)) from error
        if self._device not in (None, device):
            raise self._gone("it is in another file system now")

    def require_service(self, reason: str, path: str = "") -> None:
        """Check that a file which could not be read twice is at fault itself, and not its remote store.

        Args:
            reason: why it could not be read.
            path: of the file, relative to this folder; "" for this file itself.

        Raises:
            DataError: if the store is overloaded, for example, or the connection breaks off.
        """
        if not self.is_local and is_temporary(reason):
            file = f"{encode_name(path)} in {self.name}" if path else self.name
            raise DataError(f"{file} cannot be read now ({reason}); when it can, run the same command again")

    def _gone(self, reason: str) -> DataError:
        return DataError(
            f"{self.name} cannot be read any more ({reason}); when it is there again, run the same command again"
        )

    def exists(self, path: str = "") -> bool:
        """Whether this, or a path below this folder, exists.

        Raises:
            DataError: if a remote store does not respond.
        """
        return self.kind(path) is not None

    def _read(self, path: str) -> bytes:
        with self.open(path) as file:
            # read(LARGEST_FILE) would allocate that much memory, so get the size first.
            size = file.seek(0, os.SEEK_END)
            if size > LARGEST_FILE:
                raise Unreadable(f"more than {LARGEST_FILE:,} bytes; expected one sample")
            file.seek(0)
            return bytes(file.read(size))

    def open(self, path: str = "") -> IO[bytes]:
        """Open this file, or one below this folder, for random access."""
        # Python's own error messages are shorter than pyarrow's.
        if self.is_local:
            return open(self.path(path), "rb", opener=_open_regular)
        file: IO[bytes] = self.open_for_arrow(path)
        return file

    def open_for_arrow(self, path: str = "") -> pa.NativeFile:
        """As `open`, but return a file of pyarrow, with which pyarrow's readers are faster.

        Raises:
            OSError, pa.ArrowException: if the file cannot be read.
        """
        return self.system.open_input_file(self.native(path))

    def path(self, below: str = "") -> str:
        """The path in `system` of this, or of a path below this folder."""
        return f"{self._path}/{below}" if below else self._path

    def native(self, below: str = "") -> str | bytes:
        """As `path`, in the form that `system` takes: bytes for a local path, which may not be valid UTF-8."""
        return os.fsencode(self.path(below)) if self.is_local else self.path(below)

    def _infos(self, query: fs.FileSelector | list[str | bytes]) -> list[fs.FileInfo]:
        """Query `system` for paths or a selector.

        Raises:
            DataError: if it does not respond.
        """
        try:
            infos: list[fs.FileInfo] = self.system.get_file_info(query)
        except (OSError, pa.ArrowException) as error:
            raise self._cannot_read(error) from error
        return infos

    def _cannot_read(self, error: BaseException) -> DataError:
        return DataError(f"{self.name} cannot be read: {one_line(error)}")

    def _walk(self, folder: str, left_out: LeftOut) -> list[str]:
        files, folders = [], [folder]
        while folders:
            parent = folders.pop()
            try:
                entries = _scan(f"{self._path}/{parent}")
            except OSError:
                left_out.add(Kind.UNREADABLE_FOLDER, parent)
                continue
            for name, kind in entries:
                path = f"{parent}/{name}"
                if is_hidden(name):
                    left_out.add_hidden(kind, path)
                elif kind is Kind.FILE:
                    files.append(path)
                elif kind is Kind.FOLDER:
                    folders.append(path)
                else:
                    left_out.add(kind, path)
        return files

    def _list(self, folder: str, left_out: LeftOut) -> list[str]:
        files = []
        for info in self._infos(fs.FileSelector(f"{self._path}/{folder}", recursive=True)):
            if info.type != fs.FileType.File:
                continue
            path = info.path.removeprefix(self._path).lstrip("/")
            if any(map(is_hidden, path.split("/"))):
                left_out.add(Kind.HIDDEN, path)
            else:
                files.append(path)
        return files


_KINDS = {fs.FileType.File: Kind.FILE, fs.FileType.Directory: Kind.FOLDER, fs.FileType.Unknown: Kind.DEVICE}


def _scan(folder: str) -> list[tuple[str, Kind]]:
    with os.scandir(folder) as entries:
        return sorted(((entry.name, kind_of_entry(entry)) for entry in entries), key=_name)


def _device(path: str) -> int | None:
    """The file system of a path, by number; None if it cannot be examined."""
    try:
        return os.stat(path).st_dev
    except (OSError, ValueError):  # a path may hold a null byte
        return None


def _version(path: str) -> tuple[int, int]:
    try:
        status = os.stat(path)
    except OSError:
        return _NO_FILE
    return status.st_size, status.st_mtime_ns % 2**63


def _name(entry: tuple[str, Kind]) -> str:
    return entry[0]


def _open_regular(path: str, flags: int) -> int:
    """Open a regular file without blocking: the path may now be a FIFO, whose `open` waits for a writer."""
    descriptor = os.open(path, flags | os.O_NONBLOCK)
    if kind_of_mode(os.fstat(descriptor).st_mode) in (Kind.FILE, Kind.FOLDER):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "not a regular file")


def _as_uri(address: str) -> str:
    """An address for pyarrow: each character percent-encoded that URIs may not contain, and a limit for retries."""
    scheme, _, rest = address.partition(_SCHEME)
    before, slash, path = rest.partition("/")
    encoded = quote(re.sub("%(?![0-9A-Fa-f]{2})", "%25", path), safe=_SYNTAX, errors="surrogateescape")
    uri = f"{scheme}{_SCHEME}{before}{slash}{encoded}"
    if scheme.lower() not in _GOOGLE or _RETRIES.partition("=")[0] in rest:
        return uri
    return f"{uri}{'&' if '?' in rest else '?'}{_RETRIES}"


def _without_secrets(address: str) -> str:
    """An address without passwords and keys. Of an invalid address, only the part after them is kept."""
    scheme, _, rest = address.partition(_SCHEME)
    try:
        url = urlsplit(address, allow_fragments=False)
        url.port  # noqa: B018  raises ValueError if it is invalid
    except ValueError:
        return f"{scheme}{_SCHEME}{rest.rpartition('@')[2]}"
    user, at, host = url.netloc.rpartition("@")
    shown = f"{user.partition(':')[0]}{at}{host}" if scheme in _AZURE else host
    options = [option for option in url.query.split("&") if option.partition("=")[0] in _SHOWN]
    path = url.path.rstrip("/") or ("" if shown else url.path[:1])  # keep the root, "/"
    return f"{scheme}{_SCHEME}{shown}{path}{'?' if options else ''}{'&'.join(options)}"


def _plain(path: str) -> str:
    parts = "/".join(part for part in path.split("/") if part not in ("", "."))
    if path.startswith("/"):
        return f"/{parts}"
    # This dot matters: it says that a name with a colon is a path.
    return f"./{parts}" if path.startswith("./") and ":" in parts else parts or "."
