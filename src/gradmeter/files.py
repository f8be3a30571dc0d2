"""Files that appear whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from gradmeter.errors import OutputError

_SUFFIX = ".partial"
# Exactly what `whole` makes: a user may have hidden files of that suffix, too.
_PARTIAL = re.compile(rf"\..+\.\d+-[0-9a-f]{{8}}{re.escape(_SUFFIX)}", re.DOTALL)
LOCK = ".gradmeter.lock"
"""What the names of lock files end in; `gradmeter.locks` makes them."""


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary neighbour of `path` to write to; it takes the name of `path` when the block ends without an error.

    Raises:
        OutputError: if the folder cannot be written or the disk is full; the old file, if any, is still there.
    """
    # Writers on other machines have the same numbers.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as stream:
            os.fsync(stream.fileno())
        temporary.replace(path)
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise OutputError(f"cannot write {path} ({reason}); make room or choose another folder") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file, UTF-8 with Unix line ends, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def read_regular(path: Path) -> bytes:
    """What a regular file holds; a pipe would be waited for, and a device may never end.

    Raises:
        OSError: if it cannot be read, or is none.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return path.read_bytes()


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object that a file holds.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it holds something else.
    """
    return parsed_json(read_regular(path))


def parsed_json(content: bytes) -> dict[str, Any]:
    """The JSON object that is written there, in UTF-8.

    Raises:
        ValueError: if something else is.
    """
    try:
        found = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(found, dict):
        raise ValueError(f"a JSON {type(found).__name__}, expected an object")
    return found


def is_temporary(path: Path) -> bool:
    """Whether a path is a writer's temporary file or lock file; killed writers leave both behind."""
    return _PARTIAL.fullmatch(path.name) is not None or (path.name.startswith(".") and path.name.endswith(LOCK))


def sweep(folder: Path) -> None:
    """Remove what killed writers left behind below a folder."""
    for leftover in folder.rglob(f".*{_SUFFIX}"):
        if _PARTIAL.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)


def sweep_beside(path: Path) -> None:
    """Remove what killed writers of one file left behind."""
    for leftover in path.parent.glob(f".{escape(path.name)}.*{_SUFFIX}"):
        if _PARTIAL.fullmatch(leftover.name):
            leftover.unlink(missing_ok=True)
