"""The manifest of an experiment in parts: a run may add parts, but must make those that exist with equal settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gradmeter.runs.store import Manifest, Store, as_json, differences

Clear = Callable[[str, set[str]], None]
"""Removes the files of a part, to start over; it also gets the settings that changed, by key of the part's entry."""


def begin_parts(store: Store, identity: Mapping[str, Any], command: str, clear: Clear | None = None) -> Manifest:
    """Prepare a folder for the parts of an experiment.

    Args:
        store: the folder.
        identity: for each part what it is made with.
        command: the user's command, which is recorded.
        clear: removes files of the parts that are in the manifest; None to continue them.

    Returns:
        The manifest, which is written: for each part what it is made with, and the commands that made it.

    Raises:
        DataError: if the manifest is damaged.
        OutputError: if the folder holds something else, or a part that was made with other settings or data.
    """
    store.require_free()  # before anything is removed
    recorded = read_parts(store)
    if not recorded:
        store.clear()
    if clear is not None:
        kept = dict(recorded)
        for name in [name for name in identity if name in recorded]:
            changed = _changed_keys(recorded[name], as_json(identity[name]))
            clear(name, changed)
            if changed:
                del kept[name]
            else:  # the manifest says what the files that the part keeps are made with
                kept[name] = {**recorded[name], "commands": []}
        if recorded:
            store.write(kept)
    recorded = store.begin(identity, changes=changed_parts)
    manifest = dict(recorded)
    for name, made_with in identity.items():
        commands = [*recorded.get(name, {}).get("commands", []), command]
        manifest[name] = {**made_with, "commands": list(dict.fromkeys(commands))}
    store.write(manifest)
    return manifest


def read_parts(store: Store) -> Manifest:
    """Return the manifest of a folder; empty if there is none, or if the folder holds no other file: nothing was made.

    Raises:
        DataError: if it is damaged.
    """
    recorded = store.read() or {}
    if not all(isinstance(entry, dict) and isinstance(entry.get("commands"), list) for entry in recorded.values()):
        raise store.damaged()
    return recorded if store.storage.sizes().keys() - {store.kind.manifest} else {}


def _changed_keys(recorded: Manifest, made_with: Manifest) -> set[str]:
    return {key for key, value in made_with.items() if recorded.get(key) != value}


def changed_parts(recorded: Manifest, identity: Manifest) -> list[str]:
    """List the differences of the parts that are in the manifest."""
    known = {name: made_with for name, made_with in identity.items() if name in recorded}
    return differences({name: {key: recorded[name].get(key) for key in known[name]} for name in known}, known)


def commands_of(manifest: Manifest, parts: Iterable[str]) -> tuple[str, ...]:
    """Return the commands that made those parts that are in the manifest, each once."""
    return tuple(dict.fromkeys(line for name in parts if name in manifest for line in manifest[name]["commands"]))
