"""Texts: names of territories, languages, currencies and time zones in ten languages, from Babel's copy of the CLDR."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from gradmeter.errors import GradmeterError

LANGUAGES = ("cs", "da", "de", "es", "fr", "it", "nl", "pl", "pt", "sv")
"""The classes."""
UNKNOWN = {"Turkish": "tr", "Finnish": "fi"}
"""Languages that are no class, by name."""

LENGTH = 32
"""Characters of a text; longer ones are cut."""
_SHORTEST = 8
_SEED = 0
_OTHER_CHARACTER = 1


def known_texts() -> list[tuple[str, int]]:
    """Return texts that occur in one of `LANGUAGES` only, with the number of the language, in random order.

    Raises:
        GradmeterError: if Babel is not installed.
    """
    by_language = [_names(language) for language in LANGUAGES]
    count = Counter(name for names in by_language for name in names)
    texts = sorted((name, label) for label, names in enumerate(by_language) for name in names if count[name] == 1)
    return [texts[index] for index in np.random.default_rng(_SEED).permutation(len(texts))]


def unknown_texts(language: str) -> list[str]:
    """Return texts of another language that occur in none of `LANGUAGES`, in random order."""
    texts = sorted(_names(language).difference(*map(_names, LANGUAGES)))
    return [texts[index] for index in np.random.default_rng(_SEED).permutation(len(texts))]


class Alphabet:
    """Maps the characters of some texts to integers: 0 is the padding, 1 any other character."""

    def __init__(self, texts: Iterable[str]) -> None:
        characters = sorted({character for text in texts for character in text})
        self._numbers = {character: number for number, character in enumerate(characters, start=2)}

    def __len__(self) -> int:
        """Return how many different integers there are."""
        return len(self._numbers) + 2

    def tokens(self, texts: Sequence[str]) -> Tensor:
        """Return the characters of texts, [n, LENGTH] int64."""
        tokens = torch.zeros(len(texts), LENGTH, dtype=torch.int64)
        for row, text in enumerate(texts):
            numbers = [self._numbers.get(character, _OTHER_CHARACTER) for character in text[:LENGTH]]
            tokens[row, : len(numbers)] = torch.tensor(numbers)
        return tokens


def require_babel() -> ModuleType:
    """Return the package babel.

    Raises:
        GradmeterError: if it is not installed.
    """
    try:
        import babel
    except ModuleNotFoundError as error:
        raise GradmeterError(
            'the texts need the package babel, which is not installed; pip install "gradmeter[compare]"'
        ) from error
    return babel


def _names(language: str) -> set[str]:
    locale = require_babel().Locale(language)
    groups = [locale.territories, locale.languages, locale.scripts, locale.variants, locale.currencies]
    groups += [zone.get("long", {}) for zone in locale.meta_zones.values()]
    names = {name for group in groups for name in group.values() if isinstance(name, str)}
    return {name for name in names if len(name) >= _SHORTEST}
