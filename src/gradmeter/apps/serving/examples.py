"""Images that the page offers to try."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np

from gradmeter.errors import DataError
from gradmeter.sources.samples import ImageKind, Source, open_source

MOST = 24
"""The most examples; they are taken evenly from the data."""

# A frame of this share of the side is taken for the background.
_FRAME = 1 / 14


@dataclass(frozen=True)
class Example:
    """An image to try.

    Attributes:
        name: name of its class, or its id in the data.
        content: a PNG file of the decoded image.
        light: whether the background is lighter than medium grey.
    """

    name: str
    content: bytes
    light: bool


def read_examples(data: str, image: ImageKind) -> tuple[Example, ...]:
    """Return up to `MOST` images of DATA; those that cannot be read are left out.

    Args:
        data: as for `gradmeter.sources.samples.open_source`.
        image: the images that the classifier takes.

    Raises:
        DataError: if `data` does not exist, or no image of it can be read.
    """
    # Not above: the gate of the server loads this module, and does not need PyTorch.
    from gradmeter.runs.measuring.dataset import Skipped
    from gradmeter.runs.measuring.loading import decoded, fetch_samples

    source = open_source(data, image, labels=False)
    rows = np.unique(np.linspace(0, len(source) - 1, min(MOST, len(source))).round().astype(int)).tolist()
    examples = []
    for encoded in fetch_samples(source, rows):
        sample = encoded if isinstance(encoded, Skipped) else decoded(encoded, source.decoder)
        if not isinstance(sample, Skipped):
            examples.append(_example(_name(source, sample.id, sample.label), np.asarray(sample.content)))
    if not examples:
        raise DataError(f"{source.name} holds no image that can be read; give other examples")
    return tuple(examples)


def _name(source: Source, identity: str, label: int | None) -> str:
    if label is None:
        return identity
    return str(label) if source.classes is None else source.classes[label]


def _example(name: str, pixels: np.ndarray) -> Example:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    frame = max(1, round(min(pixels.shape[:2]) * _FRAME))
    inner = np.ones(pixels.shape[:2], np.bool_)
    inner[frame:-frame, frame:-frame] = False
    return Example(name, stream.getvalue(), bool(pixels[inner].mean() > 127.5))
