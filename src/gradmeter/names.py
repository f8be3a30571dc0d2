r"""Names that others gave: of files, folders, classes and models.

A file system may hold any bytes as a name. Arrow, JSON and CSV hold Unicode only, so `encode_name` writes a byte that
is no UTF-8 as ``\xff`` and leaves every ordinary name as it is. A terminal obeys some characters of a name, so
`printable` shows these escaped, too.
"""

from __future__ import annotations

import re

# What Python reads of a byte from 0x80 on that is no UTF-8 ("surrogateescape", PEP 383).
_FIRST_BYTE = 0xDC80
_LAST_BYTE = 0xDCFF
_BYTE_OFFSET = 0xDC00
_SURROGATE = re.compile(r"(\\*)([\ud800-\udfff])")
# What `encode_name` writes for a surrogate, and so must write otherwise where it stands in a name.
_ESCAPE = r"x[89a-f][0-9a-f]|ud[89a-f][0-9a-f]{2}"
_LIKE_ESCAPE = re.compile(rf"(\\+)(?={_ESCAPE})")
_ESCAPED = re.compile(rf"(\\+)({_ESCAPE})")
_BYTE = "x"


def encode_name(name: str) -> str:
    r"""A name as Unicode, which Arrow, JSON and CSV can hold.

    A byte that is no UTF-8 becomes ``\xff``, another lone surrogate ``\ud800``. Backslashes are doubled where such an
    escape, or text that looks like one, follows them. Every other name stays as it is.

    Args:
        name: as Python's file functions give it, with surrogates for bytes that are no UTF-8.
    """
    if "\\" not in name and name.isprintable():
        return name
    doubled = _LIKE_ESCAPE.sub(r"\1\1", name)
    return _SURROGATE.sub(lambda match: f"{match[1] * 2}\\{_escape(match[2])}", doubled)


def decode_name(name: str) -> str:
    """The name of which `encode_name` made this, as Python's file functions take it."""
    return _ESCAPED.sub(_decoded, name) if "\\" in name else name


def printable(text: str) -> str:
    r"""A text in one line in which nothing is hidden, moves the cursor or turns the direction of writing.

    What `str.isprintable` says is none is shown as Python writes it, ``\n`` or ``\u202e``, and a byte that is no UTF-8
    as ``\xff``.
    """
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else f"\\{_escape(character)}" for character in text)


def _decoded(match: re.Match[str]) -> str:
    backslashes, escape = match.groups()
    kept = "\\" * (len(backslashes) // 2)
    if len(backslashes) % 2 == 0:
        return kept + escape
    number = int(escape[1:], 16)
    return kept + chr(number + _BYTE_OFFSET if escape.startswith(_BYTE) else number)


def _escape(character: str) -> str:
    """What stands behind the backslash."""
    number = ord(character)
    if _FIRST_BYTE <= number <= _LAST_BYTE:
        return f"{_BYTE}{number - _BYTE_OFFSET:02x}"
    if 0x80 <= number <= 0xFF:  # Python's \x85 is taken for a byte here
        return f"u{number:04x}"
    return character.encode("unicode_escape").decode()[1:]
