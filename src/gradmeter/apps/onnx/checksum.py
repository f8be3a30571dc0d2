"""A checksum of an ONNX file, computed without the onnx package: onnxruntime does not notice damaged weights."""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterator, Mapping
from pathlib import Path

# Fields of onnx.ModelProto, and the wire types of Protocol Buffers.
_METADATA = 14
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def checksum_of(model: bytes | memoryview, properties: Mapping[str, str]) -> str:
    """Hash a serialised model: its graph with the weights, its other fields and its metadata.

    Args:
        model: a serialised onnx.ModelProto; its own metadata do not count.
        properties: the metadata that count, in any order.

    Returns:
        The SHA-256 in hexadecimal digits.

    Raises:
        ValueError: if the model is not a protocol buffer.
    """
    digest = hashlib.sha256()
    for number, content in _fields(memoryview(model)):
        if number != _METADATA:
            digest.update(f"{number} {len(content)} ".encode())
            digest.update(content)
    for key, value in sorted(properties.items()):
        digest.update(f"{len(key)} {key} {len(value)} {value} ".encode())
    return digest.hexdigest()


def checksum_of_file(path: Path, properties: Mapping[str, str]) -> str:
    """Hash a file as `checksum_of`, without reading all of it into memory.

    Raises:
        OSError, ValueError: if it cannot be read, or is not a protocol buffer.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        view = memoryview(mapped)
        try:
            return checksum_of(view, properties)
        finally:
            view.release()


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Iterate over the numbers of a message's fields and their encoded values."""
    position = 0
    while position < len(message):
        tag, start = _varint(message, position)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            end = _varint(message, start)[1]
        elif wire == _BYTES:
            length, start = _varint(message, start)
            end = start + length
        elif wire in (_FIXED64, _FIXED32):
            end = start + (8 if wire == _FIXED64 else 4)
        else:
            raise ValueError(f"unknown wire type {wire}")
        if end > len(message):
            raise ValueError("the file ends early")
        with message[start:end] as content:
            yield number, content
        position = end


def _varint(message: memoryview, position: int) -> tuple[int, int]:
    """Return a number of variable length, and the position behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    raise ValueError("a number has no end")
