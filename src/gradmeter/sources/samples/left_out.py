"""What lies in a folder: kinds of files, and what of them is no sample."""

from __future__ import annotations

import errno
import os
import stat
from enum import Enum
from pathlib import Path

from gradmeter.names import encode_name

# Names that are listed of each kind.
_NAMED = 3
_LEADS_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Kind(Enum):
    """What lies under a name: in the singular, and in the plural."""

    FILE = ("file", "files")
    NO_IMAGE = ("file that is no image", "files that are no images")
    NO_TABLE = ("file that is no Parquet file", "files that are no Parquet files")
    FOLDER = ("folder", "folders")
    LINKED_FOLDER = ("link to a folder", "links to folders")
    DANGLING = ("dangling link", "dangling links")
    FIFO = ("FIFO", "FIFOs")
    SOCKET = ("socket", "sockets")
    DEVICE = ("device", "devices")
    UNREADABLE = ("file that cannot be read", "files that cannot be read")
    UNREADABLE_FOLDER = ("folder that cannot be read", "folders that cannot be read")
    HIDDEN = ("hidden file", "hidden files")
    HIDDEN_FOLDER = ("hidden folder", "hidden folders")

    @property
    def is_folder(self) -> bool:
        """Whether files may lie in it."""
        return self in (Kind.FOLDER, Kind.LINKED_FOLDER)


def kind_of(path: str | Path) -> Kind | None:
    """What lies at a path of this machine, behind links; None for nothing.

    Raises:
        OSError: if that cannot be told.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno not in _LEADS_NOWHERE:
            raise
        return Kind.DANGLING if os.path.islink(path) else None
    return kind_of_mode(mode)


def kind_of_entry(entry: os.DirEntry[str]) -> Kind:
    """What an entry of a folder is."""
    # These need no look at the file itself.
    if entry.is_file(follow_symlinks=False):
        return Kind.FILE
    if entry.is_dir(follow_symlinks=False):
        return Kind.FOLDER
    try:
        kind = kind_of_mode(entry.stat().st_mode)
    except OSError as error:
        return Kind.DANGLING if error.errno in _LEADS_NOWHERE else Kind.UNREADABLE
    return Kind.LINKED_FOLDER if kind is Kind.FOLDER else kind


def kind_of_mode(mode: int) -> Kind:
    """What a file of this mode, as `os.stat` gives it, is."""
    kinds = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER, stat.S_IFIFO: Kind.FIFO, stat.S_IFSOCK: Kind.SOCKET}
    return kinds.get(stat.S_IFMT(mode), Kind.DEVICE)


class LeftOut:
    """What lies in a folder and is no sample: how much of each kind, and the first names."""

    def __init__(self) -> None:
        self._counts: dict[Kind, int] = {}
        self._first: dict[Kind, list[str]] = {}

    def add(self, kind: Kind, path: str) -> None:
        """Count one."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        first = self._first.setdefault(kind, [])
        if len(first) < _NAMED:
            first.append(encode_name(path))

    def add_hidden(self, kind: Kind, path: str) -> None:
        """Count one whose name begins with a dot."""
        self.add(Kind.HIDDEN_FOLDER if kind.is_folder else Kind.HIDDEN, path)

    def __str__(self) -> str:
        """In words; empty where nothing was left out."""
        return ", ".join(
            f"{count:,} {kind.value[count > 1]} ({', '.join(self._first[kind])}{', ...' if count > _NAMED else ''})"
            for kind in Kind
            if (count := self._counts.get(kind))
        )
