"""Open an `.npz` archive: of images, or of arrays that go to the network as they are."""

from __future__ import annotations

from gradmeter.errors import DataError
from gradmeter.sources.samples.array_archive import ArrayArchive, argument_arrays
from gradmeter.sources.samples.array_kind import ArrayKind
from gradmeter.sources.samples.arrays import IMAGES, ImageArchive
from gradmeter.sources.samples.left_out import Kind
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.npz import array_names
from gradmeter.sources.samples.registry import register_file_type, scheme_of
from gradmeter.sources.samples.sample import Source

_SUFFIX = ".npz"


@register_file_type(_SUFFIX)
def open_archive(location: Location, mode: str = "RGB") -> Source:
    """Open an archive with the array `images`, or with `inputs` or arrays for several arguments of the network.

    Args:
        location: the archive.
        mode: "RGB" or "L", the mode of decoded images.

    Raises:
        DataError: if the archive is damaged or its arrays have other names, types or shapes.
    """
    names, arguments = _read_names(location)
    return ArrayArchive(location, arguments, names) if arguments else ImageArchive(location, mode)


def arrays_of(data: str) -> ArrayKind | None:
    """The arrays that DATA holds; None if it is no `.npz` archive, or one of images.

    Raises:
        DataError: if it is an archive that does not exist, is damaged, or whose arrays have other types or shapes.
    """
    if scheme_of(data) is not None:
        return None
    location = Location(data)
    if location.suffix.lower() != _SUFFIX:
        return None
    kind = location.kind()
    if kind is None:
        raise DataError(f"{location.name}: no such file or folder; expected an .npz archive")
    if kind is not Kind.FILE:
        return None
    names, arguments = _read_names(location)
    # Images are not read twice; `ImageArchive` says what is missing.
    return open_archive(location).arrays if arguments or IMAGES not in names else None


def _read_names(location: Location) -> tuple[list[str], dict[str, str]]:
    """The names of the arrays of an archive, and those that go to the network, see `argument_arrays`."""
    with location.open() as file:
        names = array_names(location.name, file)
    return names, argument_arrays(location.name, names)
