"""Kinds of directory entries, and a summary of those that are not samples."""

from __future__ import annotations

import errno
import os
import stat
from enum import Enum
from pathlib import Path

from gradmeter.files import LOCK
from gradmeter.names import encode_name

# The most names to list of each kind.
_NAMED = 3
# What macOS adds to archives, network drives of Synology to folders, and file systems to their root.
_OF_SYSTEMS = ("__MACOSX", "@eaDir", "lost+found", "$RECYCLE.BIN", "System Volume Information")
# Errors of `stat` for a dangling link.
_DANGLING = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


class Kind(Enum):
    """The kind of a file or directory entry; the value is its name in the singular and in the plural."""

    FILE = ("file", "files")
    NO_IMAGE = ("file that is not an image", "files that are not images")
    NO_TABLE = ("file that is not a Parquet file", "files that are not Parquet files")
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
        """Whether it is a folder or a link to one."""
        return self in (Kind.FOLDER, Kind.LINKED_FOLDER)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or stands for one that is hidden on another system."""
    return name.startswith(".") or name in _OF_SYSTEMS


def kind_of(path: str | Path) -> Kind | None:
    """The kind of a local path, links followed; None if it does not exist.

    Raises:
        OSError: if the path cannot be examined.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno not in _DANGLING:
            raise
        return Kind.DANGLING if os.path.islink(path) else None
    return kind_of_mode(mode)


def kind_of_entry(entry: os.DirEntry[str]) -> Kind:
    """The kind of a directory entry."""
    # These two need no further system call.
    if entry.is_file(follow_symlinks=False):
        return Kind.FILE
    if entry.is_dir(follow_symlinks=False):
        return Kind.FOLDER
    try:
        kind = kind_of_mode(entry.stat().st_mode)
    except OSError as error:
        return Kind.DANGLING if error.errno in _DANGLING else Kind.UNREADABLE
    return Kind.LINKED_FOLDER if kind is Kind.FOLDER else kind


def kind_of_mode(mode: int) -> Kind:
    """The kind of a file with this `st_mode`."""
    kinds = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.FOLDER, stat.S_IFIFO: Kind.FIFO, stat.S_IFSOCK: Kind.SOCKET}
    return kinds.get(stat.S_IFMT(mode), Kind.DEVICE)


class LeftOut:
    """The entries of a folder that are not samples: the number of each kind, and the first names."""

    def __init__(self) -> None:
        self._counts: dict[Kind, int] = {}
        self._first: dict[Kind, list[str]] = {}

    def add(self, kind: Kind, path: str) -> None:
        """Count an entry.

        Args:
            kind: its kind.
            path: its path relative to the folder.
        """
        self._counts[kind] = self._counts.get(kind, 0) + 1
        first = self._first.setdefault(kind, [])
        if len(first) < _NAMED:
            first.append(encode_name(path))

    def add_hidden(self, kind: Kind, path: str) -> None:
        """Count an entry that `is_hidden`, but no lock of a command."""
        if not path.endswith(LOCK):
            self.add(Kind.HIDDEN_FOLDER if kind.is_folder else Kind.HIDDEN, path)

    def __str__(self) -> str:
        """What was left out, in words; empty if nothing was."""
        kinds = ", ".join(
            f"{count:,} {kind.value[count > 1]} ({', '.join(self._first[kind])}{', ...' if count > _NAMED else ''})"
            for kind in Kind
            if (count := self._counts.get(kind))
        )
        return f"left out {kinds}" if kinds else ""
