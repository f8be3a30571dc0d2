"""The kinds of sources that DATA can name: schemes such as "noise:", and file types such as ".npz".

A module outside of gradmeter adds a kind in the same way as the built-in ones; it must be imported before the source is
opened, for example by the module of MODEL's function::

    @register_file_type(".dcm")
    class Scan(Source): ...

Folders, except those of Parquet files, contain images of the usual formats; see `open_source`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.sample import Source

SchemeOpener = Callable[[str, int, str, int], Source]
"""Opens DATA with a scheme.

Takes the whole text, such as "noise:uniform:5000"; the height and width of images that the classifier takes, in pixels;
their mode, "RGB" or "L"; and a seed for random samples.
"""
FileOpener = Callable[[Location, str], Source]
"""Opens a file. Takes its location, and the mode of images that the classifier takes, "RGB" or "L"."""

SCHEMES: dict[str, SchemeOpener] = {}
"""Openers by scheme, without the colon."""
FILE_TYPES: dict[str, FileOpener] = {}
"""Openers by suffix in lower case, with the dot."""

_Scheme = TypeVar("_Scheme", bound=SchemeOpener)
_FileType = TypeVar("_FileType", bound=FileOpener)


def register_scheme(scheme: str) -> Callable[[_Scheme], _Scheme]:
    """Register a source, or a function that returns one, for DATA that begins with "SCHEME:"."""

    def register(opener: _Scheme) -> _Scheme:
        SCHEMES[scheme] = opener
        return opener

    return register


def register_file_type(*suffixes: str) -> Callable[[_FileType], _FileType]:
    """Register a source, or a function that returns one, for files with these suffixes, in lower or upper case."""

    def register(opener: _FileType) -> _FileType:
        FILE_TYPES.update(dict.fromkeys((suffix.lower() for suffix in suffixes), opener))
        return opener

    return register


def scheme_of(data: str) -> str | None:
    """The registered scheme of DATA; None for a path or an address. A path that looks like one can begin with "./"."""
    scheme, colon, _ = data.partition(":")
    return scheme if colon and scheme in SCHEMES else None
