r"""Encoding of names from users: names of files, folders, classes and models.

File names may contain arbitrary bytes, but Arrow, JSON and CSV hold only Unicode. `encode_name` therefore writes a byte
that is not valid UTF-8 as ``\xff`` and leaves all other names unchanged. `printable` also escapes control characters,
which a terminal would execute.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence

# Python decodes an invalid UTF-8 byte (0x80 or above) to one of these surrogates ("surrogateescape", PEP 383).
_FIRST_BYTE = 0xDC80
_LAST_BYTE = 0xDCFF
_BYTE_OFFSET = 0xDC00
_SURROGATE = re.compile(r"(\\*)([\ud800-\udfff])")
# The escapes that `encode_name` writes. If a name already contains such text, its backslashes are doubled.
_ESCAPE = r"x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2}"
_LIKE_ESCAPE = re.compile(rf"(\\+)(?={_ESCAPE})")
_ESCAPED = re.compile(rf"(\\+)({_ESCAPE})")
_BYTE = "x"


def encode_name(name: str) -> str:
    r"""Encode a name as valid Unicode, for Arrow, JSON and CSV.

    A byte that is not valid UTF-8 becomes ``\xff``, any other lone surrogate ``\ud800``. Backslashes are doubled if
    such an escape, or text that looks like one, follows. All other names stay unchanged.

    Args:
        name: a name from Python's file functions, with surrogates for invalid UTF-8 bytes.
    """
    if "\\" not in name and name.isprintable():
        return name
    doubled = _LIKE_ESCAPE.sub(r"\1\1", name)
    return _SURROGATE.sub(lambda match: f"{match[1] * 2}\\{_escape(match[2])}", doubled)


def decode_name(name: str) -> str:
    """Invert `encode_name`; the result can be passed to Python's file functions."""
    return _ESCAPED.sub(_unescape, name) if "\\" in name else name


def printable(text: str) -> str:
    r"""A text as one printable line.

    Characters that `str.isprintable` rejects, such as line breaks, terminal escapes and marks of the writing direction,
    become Python escapes (``\n``, ``\u202e``). A byte that is not valid UTF-8 becomes ``\xff``.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else f"\\{_escape(character)}" for character in text)


def listed(names: Sequence[object], most: int) -> str:
    """Return names as a list in words: "cat, dog", or of more than `most` "cat, dog and 5 more"."""
    rest = len(names) - most
    return ", ".join(map(str, names[:most])) + (f" and {rest:,} more" if rest > 0 else "")


def class_name(classes: Sequence[str] | None, number: int) -> str:
    """Return the name of a class, or its number if the classes have no names."""
    return str(number) if classes is None else classes[number]


def look_alike(owner: str, names: Iterable[str], other_owner: str, others: Iterable[str]) -> str | None:
    """Say which class of one owner is none of the other's but looks like one of them.

    They look alike if they differ only in spaces or in Unicode normalisation, as "é" in one character and "e" with a
    combining accent do.

    Returns:
        A clause with both names in quotation marks, with escapes for characters that are not ASCII; None if no two
        look alike.
    """
    others = {*others}
    by_look = {_look(other): other for other in others}
    for name in names:
        if name not in others and (other := by_look.get(_look(name))) is not None:
            return (
                f"{owner} has the class {_quoted(name)}, but {other_owner} has {_quoted(other)}: these differ only in "
                "spaces or in Unicode normalisation"
            )
    return None


def _quoted(name: str) -> str:
    return '"{}"'.format("".join(c if c.isascii() else f"\\{_escape(c)}" for c in name))


def _look(name: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", name).split())


def _unescape(match: re.Match[str]) -> str:
    backslashes, escape = match.groups()
    kept = "\\" * (len(backslashes) // 2)
    if len(backslashes) % 2 == 0:
        return kept + escape
    number = int(escape[1:], 16)
    return kept + chr(number + _BYTE_OFFSET if escape.startswith(_BYTE) else number)


def _escape(character: str) -> str:
    """The escape of a character, without its backslash."""
    number = ord(character)
    if _FIRST_BYTE <= number <= _LAST_BYTE:
        return f"{_BYTE}{number - _BYTE_OFFSET:02x}"
    if 0x80 <= number <= 0xFF:  # Python would write \x85, which means an invalid byte here
        return f"u{number:04x}"
    return character.encode("unicode_escape").decode()[1:]
