"""How well the scores of pixels find anomalies in a folder in the form of SegmentMeIfYouCan (Chan et al. 2021)."""

from __future__ import annotations

import csv
import hashlib
import io
import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from gradmeter.apps.workflows.records import interval_record
from gradmeter.apps.workflows.segmenting import changes, identity, on_image
from gradmeter.errors import DataError, InputError
from gradmeter.files import remove_earlier, shortened, write_text
from gradmeter.names import decode_name
from gradmeter.reading.pixels import PixelMeter
from gradmeter.reading.pixels.scores import PREDICTED, UNIFORM, confidence_scores, gradient_scores
from gradmeter.report.markdown import markdown_table
from gradmeter.runs.arrays import read_array, write_arrays
from gradmeter.runs.measuring import Skipped
from gradmeter.runs.store import Store, StoreKind
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import Source, Unreadable, open_source
from gradmeter.sources.samples.decoding import decode_mask
from gradmeter.trust.evaluation.binned import AUPR, AUROC, FPR95, SEPARATION, GroupedScores, ScoreCounts
from gradmeter.trust.evaluation.resampling import REPETITIONS, Interval, percentile_interval

IMAGES, MASKS, SUFFIX = "images", "labels_masks", "_labels_semantic.png"
"""Names in the folder: images/NAME.jpg, .png or .webp, and labels_masks/NAME_labels_semantic.png."""
NORMAL, ANOMALY, VOID = 0, 1, 255
"""The values of a mask."""
TABLE = "anomalies"
"""Name of the tables, without suffix."""
_KIND = StoreKind("anomalies.json", "scores of anomalies", "gradmeter pixels anomalies", {"model": str})
_PARTS, _SUFFIXES = "parts", (".csv", ".md")
# Bytes of an image's name in that of its part.
_NAMED = 200


@dataclass(frozen=True)
class Found:
    """The result.

    Attributes:
        images: number of images that were scored.
        skipped: the other images, and why.
        scores: AUROC, AUPR and FPR95 with intervals over images, by name of the score and of the measure.
    """

    images: int
    skipped: tuple[Skipped, ...]
    scores: Mapping[str, Mapping[str, Interval]]


def anomaly_images(folder: Path, segmenter: Classifier) -> Source:
    """Return the images of a folder in the benchmark's form.

    Raises:
        DataError: if the folder does not have the benchmark's form.
    """
    missing = [name for name in (IMAGES, MASKS) if not (folder / name).is_dir()]
    if missing:
        raise DataError(
            f"{folder} has no folder {missing[0]}; expected {IMAGES}/NAME.jpg, .png or .webp and {MASKS}/NAME{SUFFIX}"
        )
    return open_source(str(folder / IMAGES), segmenter.image)


def score_anomalies(
    segmenter: Classifier,
    source: Source,
    masks: Path,
    out: Path,
    *,
    layers: tuple[str, ...] = (),
    device: str = "cpu",
    fresh: bool = False,
    on_progress: Callable[[int], None] = lambda steps: None,
    on_skip: Callable[[Skipped], None] = lambda skipped: None,
) -> Found:
    """Score all pixels of all images that have a mask, and write how well each score finds the anomalies.

    The scores of an image are counted in out/parts/, so that an interrupted run goes on with the next image. Nothing is
    written before the first image has scores.

    Args:
        segmenter: a segmentation network, as returned by `open_segmenter`.
        source: the images, as returned by `anomaly_images`.
        masks: the folder of masks.
        out: folder of the tables.
        layers: names of the layers to measure; empty for the last ones.
        device: the device of the network.
        fresh: start over.
        on_progress: called with the number of images done since its last call.
        on_skip: called for each image that is skipped.

    Raises:
        InputError, UnsupportedModelError: if a layer is unknown or cannot be measured.
        OutputError: if `out` cannot be written, or holds something else.
        DataError: if no image with anomalies and other pixels remains.
    """
    segmenter.move(device)
    store = Store(out, _KIND)
    made_with = {**identity(segmenter, device), "layers": list(layers)}
    scorer = _Scorer(segmenter, layers, device)
    store.begin(made_with, fresh=fresh, changes=changes)
    if fresh:
        _clear(out)
    parts, skipped = list[Path](), list[Skipped]()
    for index in range(len(source)):
        name = PurePosixPath(decode_name(source.id(index)))
        try:
            mask = _mask(masks / name.with_name(f"{name.stem}{SUFFIX}"))
            image = source.read(index).content
            assert isinstance(image, Image.Image)
            # An image or a mask that changed since an earlier run is scored again.
            part = out / _PARTS / f"{name.with_name(shortened(name.name, _NAMED))}-{_digest(image, mask)}.npz"
            if not part.is_file():
                counts = scorer.counts(image, mask)
                # Only now, so that a run without any scores leaves nothing behind.
                store.write(made_with)
                _write_counts(part, counts)
            parts.append(part)
        except (Unreadable, InputError) as error:
            skipped.append(Skipped(source.id(index), str(error)))
            on_skip(skipped[-1])
        on_progress(1)
    if not parts:
        raise DataError(f"none of the {len(source):,} images of {source.name} has scores; see the reasons above")
    result = Found(len(parts), tuple(skipped), _measures(parts, masks))
    _write_tables(result, out)
    return result


class _Scorer:
    """Counts the scores of the pixels of one image after the other."""

    def __init__(self, segmenter: Classifier, layers: tuple[str, ...], device: str) -> None:
        self._segmenter, self._layers, self._device = segmenter, layers or None, device
        # Unknown layers are an error of all images.
        PixelMeter(segmenter.network, self._layers)
        self._meters: dict[tuple[int, int], PixelMeter] = {}

    def counts(self, image: Image.Image, mask: NDArray[np.uint8]) -> dict[str, ScoreCounts]:
        """Return the counts of each score over the pixels that are not void; the logits get the size of the mask."""
        height, width = mask.shape
        if image.size != (width, height):
            raise InputError(f"{image.width} x {image.height} pixels, and its mask {width} x {height}; expected equal")
        if (height, width) not in self._meters:
            self._meters[height, width] = PixelMeter(
                self._segmenter.network, self._layers, [PREDICTED, UNIFORM], size=(height, width)
            )
        readings = on_image(self._segmenter, image, self._device, self._meters[height, width])
        used = (mask != VOID).ravel()
        outside = (mask == ANOMALY).ravel()[used]
        maps: Mapping[str, torch.Tensor] = confidence_scores(readings.logits) | gradient_scores(readings)
        return {name: ScoreCounts.of(values.flatten().cpu().numpy()[used], outside) for name, values in maps.items()}


def _clear(out: Path) -> None:
    """Remove what an earlier run wrote; its manifest is gone already."""
    shutil.rmtree(out / _PARTS, ignore_errors=True)
    for suffix in _SUFFIXES:
        (out / f"{TABLE}{suffix}").unlink(missing_ok=True)


def _digest(image: Image.Image, mask: NDArray[np.uint8]) -> str:
    """Return a short hash of the pixels of an image and its mask."""
    pixels = hashlib.sha256(f"{image.mode} {image.size} {mask.shape}".encode())
    pixels.update(image.tobytes())
    pixels.update(mask.tobytes())
    return pixels.hexdigest()[:16]


def _mask(path: Path) -> NDArray[np.uint8]:
    if not os.path.isfile(path):  # `Path.is_file` fails if the name is too long
        raise Unreadable(f"it has no mask {path.name}")
    try:
        readings = decode_mask(path)
    except Unreadable as error:
        raise Unreadable(f"its mask {path.name} cannot be read: {error}") from error
    others = [set(np.unique(numbers).tolist()) - {NORMAL, ANOMALY, VOID} for numbers in readings]
    valid = [numbers.astype(np.uint8) for numbers, further in zip(readings, others, strict=True) if not further]
    if not valid:
        raise Unreadable(
            f"its mask contains {min(others[0])}; expected 0 for normal, 1 for anomaly, 255 for void pixels"
        )
    mask = valid[0]
    if not all(np.array_equal(mask, numbers) for numbers in valid):
        raise Unreadable(
            "the numbers in its mask differ from the grey values that they show (a palette, or one bit); expected 0 "
            "for normal, 1 for anomaly, 255 for void pixels: save it with 8 bits of grey"
        )
    if (mask == VOID).all():
        raise Unreadable("its mask has only void pixels")
    return mask


def _write_counts(path: Path, counts: Mapping[str, ScoreCounts]) -> None:
    arrays = {"names": np.array(list(counts))}
    for name, of_score in counts.items():
        arrays[name] = np.stack([of_score.scores, of_score.inside, of_score.outside])
    write_arrays(path, arrays)


def _read_counts(path: Path, name: str) -> ScoreCounts:
    scores, inside, outside = read_array(path, name)
    return ScoreCounts(scores, inside.astype(np.int64), outside.astype(np.int64))


def _measures(parts: Sequence[Path], masks: Path) -> dict[str, dict[str, Interval]]:
    """Return the measures over all pixels, with intervals of resampled images, their copies together.

    One image has no interval.
    """
    images = len(parts)
    digests = [part.stem.rpartition("-")[2] for part in parts]
    numbers = {digest: number for number, digest in enumerate(dict.fromkeys(digests))}
    random = np.random.default_rng(0)
    drawn = random.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=REPETITIONS)
    weights = drawn[:, [numbers[digest] for digest in digests]]
    scores: dict[str, dict[str, Interval]] = {}
    for name in map(str, read_array(parts[0], "names")):
        # One score at a time, because those of many images fill the memory.
        grouped = GroupedScores()
        for group, part in enumerate(parts):
            grouped.add(group, _read_counts(part, name))
        histograms = grouped.histograms()
        if not histograms.inside.any() or not histograms.outside.any():
            kind = "normal" if not histograms.inside.any() else "anomalous"
            raise DataError(f"{masks} has no {kind} pixel in {images:,} masks; expected both kinds")
        values, resampled = histograms.measures(), histograms.measures(weights)
        scores[name] = {}
        for measure in SEPARATION:
            value = float(values[measure][0])
            scores[name][measure] = percentile_interval(value, resampled[measure], len(numbers))
    return scores


def _write_tables(found: Found, out: Path) -> None:
    rows = io.StringIO()
    writer = csv.writer(rows, lineterminator="\n")
    writer.writerow(["score", *(f"{measure}{end}" for measure in SEPARATION for end in ("", "_low", "_high"))])
    for name, of_score in found.scores.items():
        intervals = [interval_record(of_score[measure]) for measure in SEPARATION]
        writer.writerow([name, *(number for one in intervals for number in one.values())])
    remove_earlier([out / f"{TABLE}.md"])
    write_text(out / f"{TABLE}.csv", rows.getvalue())
    order = sorted(found.scores, key=lambda name: -found.scores[name][AUPR].value)
    table = markdown_table(
        ["score", "AUPR", "FPR95", "AUROC"],
        [[name, *(_cell(found.scores[name][measure]) for measure in (AUPR, FPR95, AUROC))] for name in order],
    )
    about = (
        f"Anomalous pixels against the others of {found.images:,} images, in percent, with 95 % bootstrap intervals "
        "over images; anomalies are positive. A high score means an anomaly; an AUROC below 50 % says that the "
        "opposite holds for a score."
    )
    write_text(out / f"{TABLE}.md", "\n".join([about, "", *table, ""]))


def _cell(interval: Interval) -> str:
    value, low, high = (f"{100 * number:.2f}" for number in (interval.value, interval.low, interval.high))
    return value if math.isnan(interval.low) else f"{value} [{low}, {high}]"
