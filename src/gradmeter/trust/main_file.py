"""The main file of a saved model: JSON with a format and a checksum."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gradmeter.errors import DataError, OutputError, one_line
from gradmeter.files import is_incidental, read_json, read_regular, write_text

TRUST = "trust.json"
"""The main file of a TrustModel."""

# How every main file begins.
_BEGIN = b'{\n "format": '


def require_free_folder(folder: Path, kind: str, main: str, *others: str) -> None:
    """Check that a folder does not exist, is empty, or holds a saved model or parts of one.

    Args:
        folder: to write to.
        kind: the class that is saved, for messages.
        main: the name of its main file.
        others: patterns of the names of its other files.

    Raises:
        OutputError: if it is a file, holds something else or cannot be read.
    """
    if not os.path.exists(folder):  # `Path.exists` fails if a name is too long
        return

    def is_part(path: Path) -> bool:
        return is_incidental(path) or any(map(path.match, (main, *others)))

    try:
        is_free = folder.is_dir() and (
            _is_ours(folder / main) if (folder / main).is_file() else all(map(is_part, folder.iterdir()))
        )
    except OSError as error:
        raise OutputError(f"{folder} cannot be read ({error.strerror}); choose another folder") from error
    if not is_free:
        raise OutputError(f"{folder} exists and holds no {kind}; choose another folder")


def _is_ours(main: Path) -> bool:
    """Whether a file is a main file, or a damaged one."""
    text = main.read_bytes()
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        # A file that was cut off may end with zeros.
        return b'"gradmeter"' in text or _BEGIN.startswith(text.rstrip(b"\0\n")[: len(_BEGIN)])
    return isinstance(content, dict) and {"format", "gradmeter", "checksum"} <= content.keys()


def write_main(path: Path, content: Mapping[str, Any]) -> None:
    """Write the content, which names its "format", with a checksum."""
    write_text(path, json.dumps({**content, "checksum": _checksum(content)}, indent=1) + "\n")


def read_main(path: Path, kind: str, formats: Sequence[int]) -> dict[str, Any]:
    """Read a main file and check its checksum and format.

    Args:
        path: of the file, in the folder of the saved model.
        kind: the class that is saved, for messages.
        formats: those that can be read.

    Raises:
        DataError: if it is missing, cannot be read, was changed, or has another format.
    """
    folder = path.parent
    try:
        content = read_json(path)
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no {kind}; expected a folder that {kind}.save wrote") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({one_line(error)})") from error
    except ValueError as error:
        raise DataError(f"{path} is damaged ({one_line(error)}); save the {kind} again") from error
    if content.pop("checksum", None) != _checksum(content):
        raise DataError(f"{path} was changed after it was saved; save the {kind} again")
    if content.get("format") not in formats:
        raise DataError(
            f"{folder} has format {content.get('format')}, written by gradmeter {content.get('gradmeter')}; this "
            f"version reads format{'s' if len(formats) > 1 else ''} {' and '.join(map(str, formats))}: install that "
            "version"
        )
    return content


def read_with_estimators(path: Path, kind: str, formats: Sequence[int], key: str) -> tuple[dict[str, Any], Path, bytes]:
    """Read a main file and the file of estimators beside it; return its content, and path and content of the other one.

    If another process replaces the files in the meantime, both are read again.

    Args:
        path: of the main file.
        kind: see `read_main`.
        formats: see `read_main`.
        key: the entry of the main file whose "file" is the name of the other one.

    Raises:
        DataError: see `read_main`; also if the other file is missing.
    """
    content = read_main(path, kind, formats)
    while True:
        estimators = path.parent / Path(content[key]["file"]).name
        try:
            return content, estimators, read_regular(estimators)
        except FileNotFoundError as error:
            previous, content = content, read_main(path, kind, formats)
            if content == previous:
                raise DataError(f"{estimators} is missing; save the {kind} again") from error


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
