"""Readings of several pseudo-labels: the part that belongs to one of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeVar

from gradmeter.errors import InputError


class _Labelled(Protocol):
    """Readings of images or of pixels."""

    @property
    def pseudo_label(self) -> str: ...

    @property
    def pseudo_labels(self) -> tuple[str, ...]: ...

    @property
    def further(self) -> Mapping[str, Any]: ...


_Readings = TypeVar("_Readings", bound=_Labelled)


def part_of(readings: _Readings, name: str) -> _Readings:
    """Return the readings for one of the pseudo-labels, without the others.

    Raises:
        InputError: if the pseudo-label was not measured.
    """
    if name == readings.pseudo_label:
        return replace(readings, further={}) if readings.further else readings  # type: ignore[type-var]
    if name not in readings.further:
        raise InputError(f"pseudo-label {name!r} was not measured; expected one of {', '.join(readings.pseudo_labels)}")
    part: _Readings = readings.further[name]
    return part
