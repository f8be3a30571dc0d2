"""Draw the readings of every pixel over the images of a source."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from PIL import Image

from gradmeter.apps.workflows.segmenting import changes, identity, on_image
from gradmeter.errors import DataError, InputError, OutputError
from gradmeter.files import LONGEST, atomic_write, is_incidental, read_json, remove_earlier, sweep, write_text
from gradmeter.names import decode_name
from gradmeter.reading.pixels import PixelMeter, PixelReadings
from gradmeter.reading.statistics import STATISTICS
from gradmeter.report.figures import heatmap as draw
from gradmeter.runs.arrays import write_arrays
from gradmeter.runs.measuring import Skipped
from gradmeter.runs.store import Manifest, as_json
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Source, Unreadable

MANIFEST = "_heatmaps.json"
"""The file that says how the maps of a folder were made."""
_DOTS_PER_INCH = 130
# By this a map's name is longer than that of its image.
_LONGER = ".png"
# The text of a map that identifies the image it was drawn for.
_DRAWN_FOR = "gradmeter image"


@dataclass(frozen=True)
class Maps:
    """What is drawn.

    Attributes:
        layers: names of the layers; empty for the last ones.
        statistic: the statistic of each layer.
        limits: the smallest and the largest value of the scales; None for those of each image.
        npz: whether all readings are also written, as NAME.npz, where NAME is that of the image with its suffix.
    """

    layers: tuple[str, ...] = ()
    statistic: str = "l2"
    limits: tuple[float, float] | None = None
    npz: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        if self.statistic not in STATISTICS:
            raise InputError(f"statistic {self.statistic!r}; expected one of {', '.join(STATISTICS)}")
        if self.limits is not None and not 0 < self.limits[0] < self.limits[1] < math.inf:
            low, high = self.limits
            raise InputError(f"limits {low:g} and {high:g}; expected two finite positive numbers, the smaller first")


@dataclass(frozen=True)
class Drawn:
    """The result.

    Attributes:
        maps: number of images with a map, those of earlier runs included.
        skipped: images without a map, and why.
        others: number of maps in the folder that are of no image of the source, or of one that was skipped.
    """

    maps: int
    skipped: tuple[Skipped, ...]
    others: int = 0


def heatmaps(
    segmenter: Classifier,
    source: Source,
    out: Path,
    maps: Maps,
    *,
    device: str = "cpu",
    fresh: bool = False,
    on_progress: Callable[[int], None] = lambda steps: None,
    on_skip: Callable[[Skipped], None] = lambda skipped: None,
) -> Drawn:
    """Write NAME.png for every image, with the image and a map of each layer; images with a map are not measured again.

    An image that changed since its map was drawn, or another one of its name, gets a new map.

    Args:
        segmenter: a segmentation network, as returned by `open_segmenter`.
        source: the images.
        out: the folder of the maps; subfolders of a source are kept.
        maps: what is drawn.
        device: the device of the network.
        fresh: replace all maps of an earlier run.
        on_progress: called with the number of images done since its last call.
        on_skip: called for each image without a map.

    Raises:
        InputError, UnsupportedModelError: if a layer is unknown or cannot be measured.
        OutputError: if `out` cannot be written, or holds something else, or maps made with other settings.
        DataError: if no image has a map.
    """
    segmenter.move(device)
    meter = PixelMeter(segmenter.network, maps.layers or None, size="input")
    settings = as_json({**identity(segmenter, device), **asdict(maps)})
    _require_own(out, settings, fresh=fresh)
    sweep(out)
    begun, skipped, drawn = False, list[Skipped](), set[Path]()
    for index in range(len(source)):
        name = source.id(index)
        try:
            target = _target(out, name)
            image = _image(source, index)
            if fresh or not _has_map(image, target, maps):
                readings = on_image(segmenter, image, device, meter)
                if not begun:
                    # Only now, so that a run without any map leaves nothing behind, and maps of an earlier run.
                    _begin(out, settings, source, fresh=fresh)
                    begun = True
                _write(image, readings, target, maps)
            drawn.add(_files(target, maps)[0])
        except (Unreadable, InputError) as error:
            skipped.append(Skipped(name, str(error)))
            on_skip(skipped[-1])
        on_progress(1)
    if not drawn:
        raise DataError(f"none of the {len(source):,} images of {source.name} has a map; see the reasons above")
    others = sum(path not in drawn and _drawn_for(path) is not None for path in out.rglob("*.png"))
    return Drawn(len(drawn), tuple(skipped), others)


def _require_own(out: Path, settings: Mapping[str, Any], *, fresh: bool) -> None:
    """Require a folder without files, or one of maps, which were made with the same settings unless `fresh`."""
    path = out / MANIFEST
    if out.exists() and not out.is_dir():
        raise OutputError(f"{out} is a file; expected a folder: choose another --out")
    if not out.is_dir() or all(entry == path or is_incidental(entry) for entry in out.iterdir()):
        return
    if not path.exists():
        raise OutputError(f"{out} exists and was not written by gradmeter heatmap; choose another --out")
    if fresh:
        return
    try:
        earlier: Manifest = dict(read_json(path))
    except (OSError, TypeError, ValueError) as error:
        raise OutputError(f"{path} is damaged; give --fresh, or choose another --out") from error
    if different := changes(earlier, settings):
        raise OutputError(
            f"{out} holds maps made with other settings ({'; '.join(different)}); choose another --out, or give "
            "--fresh to replace them"
        )


def _begin(out: Path, settings: Mapping[str, Any], source: Source, *, fresh: bool) -> None:
    """Say in the folder how its maps are made; with `fresh`, remove those that the source's images have."""
    if fresh:
        for index in range(len(source)):
            with suppress(Unreadable):
                for path in _files(_target(out, source.id(index)), Maps(npz=True)):
                    path.unlink(missing_ok=True)
    write_text(out / MANIFEST, json.dumps(settings, indent=2))


def _target(out: Path, name: str) -> Path:
    """The path of an image's map without its last suffix.

    Raises:
        Unreadable: if the name leads out of the folder, or is too long for one with another suffix.
    """
    parts = PurePosixPath(decode_name(name)).parts
    if not parts or any(part in ("..", "/") or "\0" in part for part in parts):
        raise Unreadable(f"the name {name!r} is no path inside a folder")
    longest = LONGEST - len(_LONGER)
    if len(os.fsencode(parts[-1])) > longest:
        raise Unreadable(f"its name has more than {longest} bytes, which is too long for that of a map")
    return out.joinpath(*parts)


def _files(target: Path, maps: Maps) -> list[Path]:
    """The files of an image. Its own suffix stays, because two images may differ in that only."""
    return [target.with_name(f"{target.name}{suffix}") for suffix in (".png", *((".npz",) if maps.npz else ()))]


def _has_map(image: Image.Image, target: Path, maps: Maps) -> bool:
    files = _files(target, maps)
    return all(path.is_file() for path in files) and _drawn_for(files[0]) == _digest(image)


def _drawn_for(path: Path) -> str | None:
    """The digest of the image that a map was drawn for; None if the file is no map, or damaged."""
    try:
        with Image.open(path) as drawn:
            digest = drawn.info.get(_DRAWN_FOR)
    except OSError:
        return None
    return digest if isinstance(digest, str) else None


def _digest(image: Image.Image) -> str:
    return hashlib.sha256(f"{image.mode} {image.size} ".encode() + image.tobytes()).hexdigest()[:16]


def _image(source: Source, index: int) -> Image.Image:
    content = source.read(index).content
    assert isinstance(content, Image.Image)
    return content


def _write(image: Image.Image, readings: PixelReadings, target: Path, maps: Maps) -> None:
    """Write the map of an image, and the numbers before it, because the map marks the image as done."""
    drawn = {f"{maps.statistic} of the gradient, {layer}": _map(readings, layer, maps) for layer in readings.layers}
    figure = draw(np.asarray(image), drawn, limits=maps.limits)
    picture, *numbers = _files(target, maps)
    if numbers:
        remove_earlier([picture])
    for path in numbers:
        write_arrays(path, readings.to_numpy())
    with atomic_write(picture) as temporary:
        metadata = {"Software": None, _DRAWN_FOR: _digest(image)}
        figure.savefig(temporary, format="png", dpi=_DOTS_PER_INCH, metadata=metadata)


def _map(readings: PixelReadings, layer: str, maps: Maps) -> np.ndarray:
    """Magnitudes of a statistic, [H, W]: minimum, mean, skewness and kurtosis may be negative."""
    values = torch.nan_to_num(readings[layer, maps.statistic][0]).abs()
    numbers: np.ndarray = values.cpu().numpy()
    return numbers
