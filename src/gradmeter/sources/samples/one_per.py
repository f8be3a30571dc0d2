"""One sample of each patient, object or scene, because several of them are not independent."""

from __future__ import annotations

import hashlib
import re
import warnings
from collections.abc import Iterator
from itertools import repeat

import numpy as np

from gradmeter.errors import InputError
from gradmeter.names import listed
from gradmeter.sources.samples.sample import DerivedSource, Encoded, Source

# The most names of columns in a message.
_NAMED = 8


class OnePer(DerivedSource):
    """One sample of each group of another source, drawn at random, and all samples without a group.

    The draw depends on the ids alone: when samples are added to other groups, it stays the same.

    Args:
        source: the other source.
        group: a column of the source that names the group of each sample; or a regular expression: what matches it in
            the id of a sample, or its first group in parentheses, is the name, if it is not empty.
        is_column: which of the two it is. A source without this column has no groups.

    Raises:
        InputError: if it is no regular expression.
        DataError: if the column cannot be read.
    """

    def __init__(self, source: Source, group: str, *, is_column: bool) -> None:
        super().__init__(source)
        self._group, self._is_column = group, is_column
        if not is_column:
            names = _names_in_ids(source, group)
        else:
            names = source.column(group) if group in source.columns else repeat(None, len(source))
        drawn: dict[str, tuple[bytes, int]] = {}
        alone: list[int] = []
        for index, name in enumerate(names):
            if name is None:
                alone.append(index)
            else:
                sample = _rank(source.id(index)), index
                drawn[name] = min(drawn.get(name, sample), sample)
        self._groups, self._rows = len(drawn), sorted([*(index for _, index in drawn.values()), *alone])
        self.note = "; ".join(filter(None, [source.note, self._chosen(len(alone))]))

    def _chosen(self, alone: int) -> str:
        """Say how many samples are used, `alone` of them because they have no group."""
        one, several = ("value", "values") if self._is_column else ("match", "matches")
        if not self._groups:
            return f"all of its {alone:,} samples are used, because none has a {one} of {self._group}"
        rest = f", and {alone:,} without a {one}" if alone else ""
        return (
            f"{len(self):,} of its {len(self._source):,} samples are used: one for each of {self._groups:,} "
            f"{one if self._groups == 1 else several} of {self._group}{rest}"
        )

    def require_groups(self) -> None:
        """Check that some sample has a group.

        Raises:
            InputError: if none has.
        """
        if self._groups:
            return
        if self._is_column:
            raise InputError(
                f"--one-per {self._group}: this column of {self.name} is empty; expected names of patients"
            )
        columns = self._source.columns
        expected = f"one of its columns ({listed(columns, _NAMED)}), or " if columns else ""
        raise InputError(
            f"--one-per {self._group} matches no id of {self.name}, such as {self.id(0)}; expected {expected}a "
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
        """A hash of the other source and the rows that are used."""
        digest = hashlib.sha256(self._source.fingerprint().encode())
        digest.update(np.array(self._rows, np.int64).data)
        return digest.hexdigest()


def _names_in_ids(source: Source, pattern: str) -> Iterator[str | None]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", FutureWarning)  # of brackets that may mean something else one day
            compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError, FutureWarning) as error:
        raise InputError(
            f"--one-per {pattern}: {error}; expected a regular expression, such as 'patient[0-9]+'"
        ) from error
    for index in range(len(source)):
        match = compiled.search(source.id(index))
        yield None if match is None else match[min(1, compiled.groups)] or None


def _rank(sample_id: str) -> bytes:
    return hashlib.blake2b(sample_id.encode(), digest_size=8).digest()
