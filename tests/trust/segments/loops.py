"""Segments, their features and their adjusted IoU, one pixel at a time: the definitions written down as loops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special

from gradmeter import PixelReadings
from gradmeter.trust.segments import SegmentFeatures

Pixel = tuple[int, int]
Segment = frozenset[Pixel]
CORNERS = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if dy or dx]
SIDES = [(-1, 0), (1, 0), (0, -1), (0, 1)]


def readings(
    classes: NDArray[np.int64], count: int, seed: int = 0, further: bool = False, layers: int = 2
) -> PixelReadings:
    """Random readings [N, H, W] whose predictions are the given classes, some of them very confident."""
    random = np.random.default_rng(seed)
    images, height, width = classes.shape
    logits = random.normal(size=(images, count, height, width))
    top = np.take_along_axis(logits, classes[:, None], 1)
    above = logits.max(1, keepdims=True) + random.uniform(0.1, 1, top.shape) * random.choice([1, 30], top.shape)
    np.put_along_axis(logits, classes[:, None], above, 1)

    def part(name: str) -> PixelReadings:
        values = random.normal(size=(images, layers, 8, height, width)) * 10.0 ** random.integers(-9, 1)
        log_scale = random.normal(size=(images, height, width))
        names = ("low", "high")[:layers]
        return PixelReadings(
            torch.from_numpy(logits), torch.from_numpy(log_scale), names, torch.from_numpy(values), name
        )

    first = part("predicted")
    if not further:
        return first
    return PixelReadings(
        first.logits, first.log_scale, first.layers, first.values, further={"uniform": part("uniform")}
    )


def pixels_of(mask: NDArray[np.int64]) -> dict[int, Segment]:
    """The pixels of each number of a map [H, W], without -1."""
    found: dict[int, set[Pixel]] = {}
    for y, x in np.ndindex(*mask.shape):
        if mask[y, x] >= 0:
            found.setdefault(int(mask[y, x]), set()).add((y, x))
    return {number: frozenset(pixels) for number, pixels in found.items()}


def components(classes: NDArray[np.int64]) -> set[Segment]:
    """The connected components of a map [H, W], by a walk from each pixel; negative classes belong to none."""
    seen: set[Pixel] = set()
    found = set()
    for start in np.ndindex(*classes.shape):
        if start in seen or classes[start] < 0:
            continue
        members, waiting = {start}, [start]
        while waiting:
            for neighbour in around(waiting.pop(), classes.shape, CORNERS):
                if neighbour not in members and classes[neighbour] == classes[start]:
                    members.add(neighbour)
                    waiting.append(neighbour)
        seen |= members
        found.add(frozenset(members))
    return found


def around(pixel: Pixel, shape: tuple[int, ...], steps: list[Pixel]) -> Iterator[Pixel]:
    """The neighbours of a pixel inside of the image."""
    for dy, dx in steps:
        y, x = pixel[0] + dy, pixel[1] + dx
        if 0 <= y < shape[0] and 0 <= x < shape[1]:
            yield y, x


def adjusted_iou(segment: Segment, classes: NDArray[np.int64], truth: NDArray[np.int64], ignore: int | None) -> float:
    """MetaSeg's adjusted IoU by sets of pixels; NaN without a valid pixel."""
    valid = {pixel for pixel in np.ndindex(*truth.shape) if truth[pixel] != ignore}
    label = classes[next(iter(segment))]
    objects = [
        members
        for members in components(np.where(truth == label, truth, -1) if label != ignore else np.full_like(truth, -1))
        if members & segment
    ]
    union_of_objects = set().union(*objects)
    others = {pixel for pixel in np.ndindex(*truth.shape) if classes[pixel] == label} - segment
    counted = segment & valid
    if not counted:
        return float("nan")
    return len(counted & union_of_objects) / len(counted | (union_of_objects - others))


def features(given: PixelReadings, image: int, segment: Segment) -> dict[str, float]:
    """The features of one segment, by name."""
    classes = given.predictions[image].numpy()
    logits = given.logits[image].double().numpy()
    if len(logits) == 1:
        logits = np.stack([np.zeros_like(logits[0]), logits[0]])
    count, height, width = logits.shape
    boundary = {pixel for pixel in segment if any(n not in segment for n in around(pixel, classes.shape, CORNERS))}
    inside = segment - boundary
    zones = {"all": segment, "inside": inside, "boundary": boundary}
    rim = max(len(boundary), 1)
    shares = special.softmax(logits, axis=0)
    ordered = np.sort(shares, axis=0)
    maps = {
        "softmax/entropy": -special.xlogy(shares, shares).sum(0) / np.log(count),
        "softmax/margin": 1 - ordered[-1] + ordered[-2],
        "softmax/variation_ratio": 1 - ordered[-1],
    }
    parts = {"": given, **{f"{name}:": part for name, part in given.further.items()}}
    for prefix, part in parts.items():
        for layer in part.layers:
            for metric in part.metrics:
                maps[f"gradients/{metric}/{prefix}{layer}"] = part[layer, metric][image].numpy()
    named: dict[str, float] = {}
    for name, values in maps.items():
        for zone, pixels in zones.items():
            numbers = [float(values[pixel]) for pixel in pixels]
            named[f"{name}/mean_{zone}"] = float(np.mean(numbers)) if numbers else 0.0
            named[f"{name}/variance_{zone}"] = float(np.var(numbers)) if numbers else 0.0
        named[f"{name}/relative"] = named[f"{name}/mean_all"] * len(segment) / rim
        named[f"{name}/relative_inside"] = named[f"{name}/mean_inside"] * len(inside) / rim
    named["shape/size"], named["shape/size_inside"], named["shape/size_boundary"] = map(
        float, (len(segment), len(inside), len(boundary))
    )
    named["shape/size_relative"], named["shape/size_relative_inside"] = len(segment) / rim, len(inside) / rim
    named["position/y"] = float(np.mean([(y + 0.5) / height for y, _ in segment]))
    named["position/x"] = float(np.mean([(x + 0.5) / width for _, x in segment]))
    own = classes[next(iter(segment))]
    contacts = dict.fromkeys([*map(str, range(count)), "edge"], 0)
    for y, x in segment:
        for dy, dx in SIDES:
            neighbour = y + dy, x + dx
            if not (0 <= neighbour[0] < height and 0 <= neighbour[1] < width):
                contacts["edge"] += 1
            elif neighbour not in segment:
                contacts[str(classes[neighbour])] += 1
    for label in range(count):
        named[f"class/{label}"] = float(label == own)
        named[f"probability/{label}"] = float(np.mean([shares[label][pixel] for pixel in segment]))
    for name, edges in contacts.items():
        named[f"neighbours/{name}"] = edges / sum(contacts.values())
    return named


def drawn(
    images: int, per_image: int, seed: int = 0, *, gradients: bool = True, offset: float = 0.0
) -> SegmentFeatures:
    """Features of random segments whose gradient says how likely they hit, and the softmax less so.

    Segments of an image are not independent: some images are harder than others.
    """
    from gradmeter.trust.segments import SegmentFeature

    random = np.random.default_rng(seed)
    image = np.repeat(np.arange(images), per_image)
    quality = random.normal(size=images)[image] + random.normal(size=len(image)) + 1.2 - offset
    iou = np.where(quality > 0, special.expit(quality + random.normal(0, 0.3, len(image))), 0.0)
    norm = np.exp(-3 * quality + random.normal(0, 0.5, len(image)) - 10)
    entropy = special.expit(-quality + random.normal(0, 1.5, len(image)))
    columns = {
        SegmentFeature("softmax", "entropy", "", "mean_all"): entropy,
        SegmentFeature("shape", "size"): random.integers(1, 500, len(image)).astype(float),
        SegmentFeature("class", "0"): (random.random(len(image)) < 0.5).astype(float),
    }
    if gradients:
        columns[SegmentFeature("gradients", "l2", "head", "mean_all")] = norm
    size = columns[SegmentFeature("shape", "size")].astype(np.int64)
    return SegmentFeatures(
        np.stack([*columns.values()], axis=1), tuple(columns), image, images, (1 - image % 2), size, iou, None
    )
