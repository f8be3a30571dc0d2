"""Comparing what two measurements are made with: the network, its preprocessing and the samples."""

from __future__ import annotations

import re
from collections.abc import Sequence

from gradmeter.runs.store import Manifest, differences
from gradmeter.sources.same_outputs import are_close
from gradmeter.sources.samples.location import plain_name

OUTPUTS = "outputs"
"""Key of the network's outputs on noise, of which earlier versions wrote none."""
CLASSES = "names of classes"
"""Key of the names of the samples' classes."""
PLACE = "place"
"""Key of the absolute path or the address of the samples, of which earlier versions wrote none."""
LABELLED = "labelled"
"""Key of whether the samples have labels, of which earlier versions wrote nothing."""
_PREPROCESSING = "preprocessing"
# A value in the `repr` of a preprocessing: a number, a name, or a tuple of such.
_VALUE = re.compile(r"(\w+)=(\([^()]*\)|[^(),=]+(?=[,)]))")
# Entries that change when samples are added or removed.
_OF_SAMPLES = {"contents", "samples", "arrays"}


def is_same_data(recorded: Manifest, purpose: Manifest) -> bool:
    """Whether two purposes are equal, except for samples that were added or removed."""
    return not changes(recorded, {**purpose, **{key: recorded[key] for key in _OF_SAMPLES & {*recorded}}})


def changes(recorded: Manifest, purpose: Manifest) -> list[str]:
    """List how a purpose differs from that of an earlier measurement; empty if it does not."""
    keys = {**recorded, **purpose}
    differing = {key for key in keys if recorded.get(key) != purpose.get(key)}
    # Spelled in another way, for example as an absolute path; or not made plain, by an earlier version.
    same_place = PLACE in recorded and recorded[PLACE] == purpose.get(PLACE)
    if same_place or plain_name(str(recorded.get("data"))) == purpose.get("data"):
        differing.discard("data")
    if PLACE not in recorded or "data" in differing:  # written by an earlier version, or implied by the other name
        differing.discard(PLACE)
    if LABELLED not in recorded:
        differing.discard(LABELLED)
    # The noise of other arrays is other noise.
    if "arrays" in differing or has_same_outputs(recorded, purpose.get(OUTPUTS, ())):
        differing.discard(OUTPUTS)
    lines = []
    if "data" not in differing and differing & _OF_SAMPLES:
        counts = f"; there were {recorded.get('samples')} samples, now {purpose.get('samples')}"
        lines.append(
            f"samples or labels were added, removed, renamed or replaced{counts if 'samples' in differing else ''}"
        )
        differing -= _OF_SAMPLES
    # Hashes and fingerprints say nothing to a reader.
    for key, words in (
        ("contents", "the samples changed"),
        ("weights", "the weights changed"),
        (OUTPUTS, "the network gives other outputs on the same noise"),
        (_PREPROCESSING, _preprocessing(recorded.get(_PREPROCESSING), purpose.get(_PREPROCESSING))),
        ("fit", "the TrustModel changed"),
        (PLACE, f"{purpose.get('data')} was {recorded.get(PLACE)}, is {purpose.get(PLACE)}"),
    ):
        if key in differing:
            differing.remove(key)
            lines.append(words)
    return lines + differences(recorded, {key: purpose.get(key) for key in sorted(differing)})


def has_same_outputs(recorded: Manifest, outputs: Sequence[Sequence[float]]) -> bool:
    """Whether a network's outputs on noise are close to those of an earlier measurement, if it recorded any."""
    try:
        return OUTPUTS not in recorded or are_close(outputs, recorded[OUTPUTS])
    except TypeError:  # another program changed the manifest
        return False


def _preprocessing(before: object, now: object) -> str:
    """Say what changed between the `repr` of two preprocessings, as far as they show it."""
    values, others = (
        {name: value.strip("(),'") for name, value in _VALUE.findall(str(text))} for text in (before, now)
    )
    changed = [
        f"{name} was {values[name]}, is {others[name]}"
        for name in values
        if name in others and values[name] != others[name]
    ]
    return ": ".join(["the preprocessing changed", *(["; ".join(changed)] if changed else [])])
