"""The store of all long work: a folder, and a manifest that says what its content was made with.

A killed run can be continued, because files appear whole (`Storage.write`, `gradmeter.files.atomic_write`), and because
`Store.begin` refuses to continue work that was made with other settings or data.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gradmeter.errors import DataError, OutputError
from gradmeter.locks import locked
from gradmeter.names import listed
from gradmeter.runs.storage import Storage

_HASH = re.compile(r"[0-9a-f]{16,}")
# Items of a list that a message names.
_LISTED = 10

Manifest = dict[str, Any]


@dataclass(frozen=True)
class StoreKind:
    """What a folder holds, and how it is recognised.

    Attributes:
        manifest: name of the manifest in the folder.
        content: what the folder holds, for messages: "a study".
        command: the command that makes it, for messages.
        fields: keys that every manifest of this kind has, with the type of their values.
    """

    manifest: str
    content: str
    command: str
    fields: Mapping[str, type]


class Store:
    """A folder of finished work with its manifest.

    Attributes:
        storage: the folder.
        kind: what it holds.

    Args:
        folder: a path, or the address of a folder in an object store.
        kind: what it holds.
    """

    def __init__(self, folder: str | Path, kind: StoreKind) -> None:
        self.storage, self.kind = Storage(folder), kind

    @property
    def name(self) -> str:
        """The folder as the user gave it, without a password."""
        return self.storage.name

    def exists(self) -> bool:
        """Whether the folder has a manifest."""
        return self.storage.size(self.kind.manifest) is not None

    def read(self) -> Manifest | None:
        """The manifest; None if there is none.

        Raises:
            DataError: if it is damaged or was written by another program.
        """
        manifest = self.storage.json(self.kind.manifest)
        if manifest is None and not self.exists():
            return None
        fields = self.kind.fields.items()
        if manifest is None or any(not isinstance(manifest.get(key), kind) for key, kind in fields):
            raise self.damaged()
        return manifest

    def damaged(self) -> DataError:
        """The error for a manifest that is damaged or was written by another program."""
        return DataError(
            f"{self.name}/{self.kind.manifest} is damaged or was not written by {self.kind.command}; choose another "
            "folder or remove this one"
        )

    def write(self, manifest: Manifest) -> None:
        """Write the manifest, whole or not at all; an equal one is left as it is.

        Raises:
            OutputError: if the disk is full or the folder cannot be written.
        """
        if self.storage.json(self.kind.manifest) != manifest:
            self.storage.write_json(self.kind.manifest, manifest, indent=2)

    def require_free(self) -> None:
        """Check that the folder is new, empty or of this kind. Nothing is written.

        Raises:
            OutputError: if it is a file, holds something else or cannot be written.
        """
        location = self.storage.location
        if location.is_file():
            raise OutputError(f"{self.name} is a file; expected a folder: choose another one")
        if not self.exists() and (files := self.storage.sizes()):
            raise OutputError(f"{self.name} holds {min(files)} and not {self.kind.content}; choose another folder")
        if location.is_local and (path := Path(location.path())).exists() and not os.access(path, os.W_OK | os.X_OK):
            raise OutputError(f"{self.name} is not writable; choose another folder")

    def begin(
        self,
        identity: Mapping[str, Any],
        *,
        fresh: bool = False,
        changes: Callable[[Manifest, Manifest], list[str]] | None = None,
    ) -> Manifest:
        """Prepare the folder for new work, or for continuing the same work.

        Args:
            identity: what the work is made with, JSON values under keys of the manifest.
            fresh: remove earlier work, even if it was made with other settings or data.
            changes: lists how the manifest differs from the identity; by default `differences`.

        Returns:
            The manifest of the work to continue, empty for new work.

        Raises:
            DataError: if the manifest is damaged.
            OutputError: if the folder holds something else, or work made with other settings or data.
        """
        self.require_free()
        recorded = self.read()
        if recorded is not None and fresh:
            self.clear()
            recorded = None
        if recorded is not None and (listed := (changes or differences)(recorded, as_json(identity))):
            raise OutputError(
                f"{self.name} holds {self.kind.content} made with other settings or data ({'; '.join(listed)}); "
                "choose another folder, or start over with --fresh"
            )
        self.storage.sweep()
        return recorded or {}

    def clear(self) -> None:
        """Remove the finished work; here only the manifest, in subclasses also the other files.

        Raises:
            OutputError: if that fails.
        """
        self.storage.remove(self.kind.manifest)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder, which must be on this machine, for this thread while the block runs.

        Raises:
            OutputError: if another process or thread writes there.
        """
        with locked(Path(self.storage.location.path())):
            yield


def as_json(content: Mapping[str, Any]) -> Manifest:
    """The mapping as it would be read back from JSON: tuples become lists, keys become strings."""
    manifest: Manifest = json.loads(json.dumps(content))
    return manifest


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """List what is different, as "options: patience was 5, is 10"; keys that only `before` has do not count."""
    lines = []
    for key, value in now.items():
        earlier = before.get(key)
        if earlier == value:
            continue
        if isinstance(value, dict) and isinstance(earlier, dict):
            keys = {**earlier, **value}
            inner = differences({name: earlier.get(name) for name in keys}, {name: value.get(name) for name in keys})
            lines += [f"{key}: {line}" for line in inner]
        elif any(isinstance(text, str) and _HASH.fullmatch(text) for text in (earlier, value)):
            lines.append(f"{key} changed")  # a hash says nothing to a reader
        else:
            lines.append(f"{key} was {_words(earlier)}, is {_words(value)}")
    return lines


def _words(value: Any) -> str:
    """A JSON value as a reader writes it: "none", "yes", or "cat, dog"."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return listed([_words(inner) for inner in value], _LISTED) or "empty"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(inner)}" for key, inner in value.items()) or "empty"
    return str(value)
