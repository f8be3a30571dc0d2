"""What a measurement is made of and with, and how two of them differ, in words."""

from __future__ import annotations

from typing import Any

from gradmeter.runs.store import Manifest, differences

_PLACE = "place"
# Entries that change when samples are added or removed.
_OF_SAMPLES = {"contents", "samples"}


def is_same_data(begun: Manifest, purpose: Manifest) -> bool:
    """Whether two purposes differ at most in samples that were added or removed."""
    return not changes(begun, {**purpose, **{key: begun[key] for key in _OF_SAMPLES & {*begun}}})


def changes(begun: Manifest, purpose: Manifest) -> list[str]:
    """List how a purpose differs from that of an earlier measurement; empty if it does not."""
    keys = {**begun, **purpose}
    differing = {key for key in keys if begun.get(key) != purpose.get(key)}
    if _PLACE not in begun or "data" in differing:  # written by an earlier version, or implied by the other name
        differing.discard(_PLACE)
    lines = []
    if "data" not in differing and differing & _OF_SAMPLES:
        counts = f"; there were {begun.get('samples')} samples, now {purpose.get('samples')}"
        lines.append(f"samples were added, removed or renamed{counts if 'samples' in differing else ''}")
        differing -= _OF_SAMPLES
    # Hashes and fingerprints say nothing to a reader.
    for key, words in (
        ("contents", "the samples changed"),
        ("weights", "the weights changed"),
        ("fit", "the TrustModel changed"),
        (_PLACE, f"{purpose.get('data')} was {begun.get(_PLACE)}, is {purpose.get(_PLACE)}"),
    ):
        if key in differing:
            differing.remove(key)
            lines.append(words)
    before: dict[str, Any] = {key: begun.get(key) for key in sorted(differing)}
    return lines + differences(before, {key: purpose.get(key) for key in sorted(differing)})
