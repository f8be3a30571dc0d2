"""Atomic writes, and checked reads of small files."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
import stat
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gradmeter.errors import OutputError

_SUFFIX = ".partial"
# Matches only names made by `atomic_write`: users may have other hidden files with this suffix.
_PARTIAL = re.compile(rf"\..+\.\d+-[0-9a-f]{{8}}{re.escape(_SUFFIX)}", re.DOTALL)
# Bytes of a file's own name in those of its temporary files, which must not be longer than file systems allow.
_NAMED = 100
_OF_MACOS = ".DS_Store"
# `Path` makes s3:/bucket of the address s3://bucket, which would be a folder in the current one.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+:/)(.*)", re.DOTALL)
LOCK = ".gradmeter.lock"
"""The end of a lock file's name; see `gradmeter.locks`."""
LONGEST = 255
"""Bytes of the longest name of a file on usual file systems."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Write a file atomically: yield a temporary path in the same folder and rename it to `path` on success.

    If the block raises, the temporary file is deleted and an existing file at `path` stays unchanged.

    Raises:
        OutputError: if the path is an address or has no name, the folder cannot be written or the disk is full.
    """
    require_path(path)
    if not path.name:
        raise OutputError(f"{path} is a folder; expected the path of a file")
    # The random part avoids collisions with processes of the same id on other machines.
    name = shortened(path.name, _NAMED)
    temporary = path.with_name(f".{name}.{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OutputError:  # an OSError that says which file
        raise
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {path} ({reason}); make room or choose another folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, in UTF-8 with Unix line ends."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


@contextmanager
def plainly_named(path: Path) -> Iterator[Path]:
    """Yield a path to a file in valid UTF-8, for libraries that require it: the path itself or a temporary link."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        with tempfile.TemporaryDirectory() as folder:
            link = Path(folder) / "link"
            link.symlink_to(path.absolute())
            yield link
    else:
        yield path


def shortened(name: str, longest: int) -> str:
    """A name of at most `longest` bytes: the given one, or if it is longer, its beginning and a hash of it."""
    if len(os.fsencode(name)) <= longest:
        return name
    digest = hashlib.sha256(os.fsencode(name)).hexdigest()[:16]
    beginning = name
    while len(os.fsencode(f"{beginning}-{digest}")) > longest:
        beginning = beginning[:-1]  # characters and not bytes, because some file systems accept only valid UTF-8
    return f"{beginning}-{digest}"


def require_path(out: Path) -> None:
    """Check that an output is a path, not an address.

    Raises:
        OutputError: if it is an address, whose folder would be lost with this machine.
    """
    if address := _ADDRESS.fullmatch(str(out)):
        raise OutputError(
            f"{address[1]}/{address[2]} is an address; expected a path on this machine: choose one, and copy what is "
            "written there"
        )


def require_short_name(out: Path, *beside: Path) -> None:
    """Check that the name of an output, and those of files that are written beside it, are not too long.

    Raises:
        OutputError: if one of them is, which would be noticed only after the work.
    """
    size = len(os.fsencode(out.name))
    longest = LONGEST - max(len(os.fsencode(path.name)) - size for path in (out, *beside))
    if size > longest:
        raise OutputError(f"the name {out.name} has {size} bytes; expected at most {longest}: choose a shorter --out")


def remove_earlier(paths: Iterable[Path]) -> None:
    """Remove files of an earlier run that describe what will be replaced now.

    An output of several files is replaced one file after the other. If that stops halfway, for example because the disk
    is full, an earlier report must not remain beside a table of other data.

    Raises:
        OutputError: if one of them cannot be removed.
    """
    for path in paths:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot replace {path} ({error.strerror}); choose another output") from error


def read_regular(path: Path) -> bytes:
    """The content of a regular file. Pipes and devices are refused: reading them may block or never end.

    Raises:
        OSError: if the path is not a regular file or cannot be read.
    """
    # One look: between two, another process may delete the file.
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return path.read_bytes()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a file.

    Raises:
        OSError: if the file cannot be read.
        ValueError: if it does not hold a JSON object.
    """
    return parsed_json(read_regular(path))


def parsed_json(content: bytes) -> dict[str, Any]:
    """Parse a JSON object, encoded in UTF-8.

    Raises:
        ValueError: if the content is anything else.
    """
    try:
        parsed = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(parsed, dict):
        raise ValueError(f"a JSON {type(parsed).__name__}, expected an object")
    return parsed


def is_incidental(path: Path) -> bool:
    """Whether a file says nothing about what its folder holds.

    This is a temporary or lock file of gradmeter, which a killed process leaves behind, or what macOS puts into every
    folder that is opened.
    """
    name = path.name
    return _PARTIAL.fullmatch(name) is not None or (name[:1] == "." and name.endswith(LOCK)) or name == _OF_MACOS


def sweep(folder: Path) -> None:
    """Delete temporary files that killed processes left in a folder and its subfolders."""
    for leftover in folder.rglob(f".*{_SUFFIX}"):
        if _PARTIAL.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)


def sweep_beside(path: Path) -> None:
    """Delete temporary files that killed writers of `path` left beside it."""
    for leftover in path.parent.glob(f".{escape(shortened(path.name, _NAMED))}.*{_SUFFIX}"):
        if _PARTIAL.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)
