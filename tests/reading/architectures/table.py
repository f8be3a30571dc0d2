"""The whole table: every way in which a network can be built and its parameters used."""

from reading.architectures import attention, bare, layers, published, recurrent, sharing, wrapped
from reading.architectures.case import Case

_PARTS = [part.CASES for part in (published, attention, recurrent, layers, bare, sharing, wrapped)]

CASES: dict[str, Case] = {name: case for part in _PARTS for name, case in part.items()}
"""Case by name."""

assert len(CASES) == sum(len(part) for part in _PARTS), "two cases have one name"
