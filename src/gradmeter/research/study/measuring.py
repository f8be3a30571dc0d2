"""Measure the gradients of a run: one Parquet file of readings per set of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.research.own_files import own_file
from gradmeter.research.study.data import Concept, Draw
from gradmeter.research.study.network import PaperCNN
from gradmeter.tables import read_table, write_table

_BATCH = 2000


def sets_of(draw: Draw) -> dict[str, Concept]:
    """Return the sets to measure: "validation", "test", unknowns by role, and known unknowns as "known-ROLE"."""
    return {
        "validation": draw.validation,
        "test": draw.test,
        **draw.unknowns,
        **{f"known-{role}": concept for role, concept in draw.known_unknowns.items()},
    }


def measure(network: PaperCNN, draw: Draw, folder: Path, *, biases: bool, on_images: Callable[[int], None]) -> None:
    """Write FOLDER/SET.parquet for every set whose file does not exist yet.

    Args:
        network: the network of the run.
        draw: the images of the run.
        folder: the output folder.
        biases: whether a layer's gradient includes its bias.
        on_images: called after each set with its number of images.
    """
    meter = GradientMeter(network, biases=biases)
    for name, concept in sets_of(draw).items():
        path = folder / f"{name}.parquet"
        if not path.exists():
            readings = Readings.concatenate([meter(batch) for batch in batches(concept)])
            table = readings.to_arrow()
            if concept.labels is not None:
                table = table.append_column("label", pa.array(concept.labels))
            write_table(path, table)
        on_images(len(concept))


def batches(concept: Concept) -> Iterator[torch.Tensor]:
    """Yield the images of a concept in batches for a meter."""
    for start in range(0, len(concept), _BATCH):
        yield concept.take(slice(start, start + _BATCH)).to_tensor()


def read_set(path: Path) -> tuple[Readings, np.ndarray | None]:
    """Read the readings of one set and its labels, or None if it has no labels.

    Raises:
        DataError: the file is missing or damaged.
    """
    with own_file(path):
        table = read_table(path)
    labels = table["label"].to_numpy() if "label" in table.column_names else None
    return Readings.from_arrow(table), labels
