"""One sample of each patient, object or scene, because several of them are not independent."""

from __future__ import annotations

import hashlib
import re

from gradmeter.errors import InputError
from gradmeter.sources.samples.sample import DerivedSource, Encoded, Source


class OnePer(DerivedSource):
    """One sample of each group of another source, drawn at random, and all samples without a group.

    The draw depends on the ids alone: when samples are added to other groups, it stays the same.

    Args:
        source: the other source.
        pattern: what matches it in the id of a sample, or its first group in parentheses, names the group.
    """

    def __init__(self, source: Source, pattern: re.Pattern[str]) -> None:
        super().__init__(source)
        self._pattern = pattern
        drawn: dict[str, tuple[bytes, int]] = {}
        alone: list[int] = []
        for index in range(len(source)):
            sample_id = source.id(index)
            match = pattern.search(sample_id)
            name = None if match is None else match[min(1, pattern.groups)]
            if name is None:
                alone.append(index)
            else:
                sample = _rank(sample_id), index
                drawn[name] = min(drawn.get(name, sample), sample)
        self._groups, self._rows = len(drawn), sorted([*(index for _, index in drawn.values()), *alone])
        rest = f", and {len(alone):,} that {'does' if len(alone) == 1 else 'do'} not match" if alone else ""
        chosen = (
            f"{len(self._rows):,} of its {len(source):,} samples are used: one for each of {len(drawn):,} matches of "
            f"{pattern.pattern}{rest}"
        )
        self.note = "; ".join(filter(None, [source.note, chosen]))

    def require_groups(self) -> None:
        """Check that the pattern matches an id.

        Raises:
            InputError: if it matches none.
        """
        if not self._groups:
            raise InputError(
                f"--one-per {self._pattern.pattern} matches no id of {self.name}, such as {self.id(0)}; expected a "
                "regular expression for the part of the id that names the patient, object or scene"
            )

    def __len__(self) -> int:
        """The number of samples that are used."""
        return len(self._rows)

    def id(self, index: int) -> str:
        """The id of one sample."""
        return self._source.id(self._rows[index])

    def fetch(self, index: int) -> Encoded:
        """Read one sample."""
        return self._source.fetch(self._rows[index])

    def fingerprint(self) -> str:
        """A hash of the other source and the pattern."""
        return hashlib.sha256(f"{self._source.fingerprint()} {self._pattern.pattern}".encode()).hexdigest()


def one_per_pattern(text: str) -> re.Pattern[str]:
    """Compile the regular expression that names groups.

    Raises:
        InputError: if it is none.
    """
    try:
        return re.compile(text)
    except (re.error, OverflowError) as error:
        raise InputError(
            f"--one-per {text}: {error}; expected a regular expression, such as 'patient[0-9]+'"
        ) from error


def _rank(sample_id: str) -> bytes:
    return hashlib.blake2b(sample_id.encode(), digest_size=8).digest()
