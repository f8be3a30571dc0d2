"""The manifest of an experiment in parts: a run may add parts, but must make those that exist with equal settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gradmeter.runs.store import Manifest, Store, differences


def begin_parts(store: Store, identity: Mapping[str, Any], command: str) -> Manifest:
    """Prepare a folder for the parts of an experiment.

    Args:
        store: the folder.
        identity: for each part what it is made with.
        command: the user's command, which is recorded.

    Returns:
        The manifest, which is written: for each part what it is made with, and the commands that made it.

    Raises:
        DataError: if the manifest is damaged.
        OutputError: if the folder holds something else, or a part that was made with other settings or data.
    """
    recorded = store.begin(identity, changes=changed_parts)
    manifest = dict(recorded)
    for name, made_with in identity.items():
        commands = [*recorded.get(name, {}).get("commands", []), command]
        manifest[name] = {**made_with, "commands": list(dict.fromkeys(commands))}
    store.write(manifest)
    return manifest


def changed_parts(recorded: Manifest, identity: Manifest) -> list[str]:
    """List the differences of the parts that are in the manifest."""
    known = {name: made_with for name, made_with in identity.items() if name in recorded}
    return differences({name: {key: recorded[name].get(key) for key in known[name]} for name in known}, known)


def commands_of(manifest: Manifest, parts: list[str]) -> tuple[str, ...]:
    """Return the commands that made some parts, each once."""
    return tuple(dict.fromkeys(command for name in parts for command in manifest[name]["commands"]))
