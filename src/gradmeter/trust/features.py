"""Features of predictions as one array, with names for its axes: which source, layer and statistic a column holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

OUTPUTS, LOGITS, EMBEDDING, SCORES = "outputs", "logits", "embedding", "scores"
GRADIENTS, ACTIVATIONS = "gradients", "activations"
"""The sources of features."""


class Feature(NamedTuple):
    """Where a feature comes from.

    Attributes:
        source: "outputs" for what the distribution of the logits says, "logits", "embedding", "scores", "gradients" or
            "activations".
        statistic: which number of that source: "entropy", "l2"; of logits and embedding its index; of scores its name.
        layer: of a gradient or of activations; else empty.
        pseudo_label: of a gradient, where it is not the meter's first; else empty.
    """

    source: str
    statistic: str
    layer: str = ""
    pseudo_label: str = ""

    @property
    def origin(self) -> str:
        """The layer, "conv1 (output)" for its activations, or what else the feature is read from."""
        if self.source in (LOGITS, EMBEDDING):
            return self.source
        if self.source == ACTIVATIONS:
            return f"{self.layer} (output)"
        return self.layer or str(self)

    def __str__(self) -> str:
        """The name of the feature's column in tables, where it has one: "uniform:conv1/l2"."""
        prefix = {LOGITS: "logit:", EMBEDDING: "embedding:", SCORES: "score:", ACTIVATIONS: "activation:"}
        label = f"{self.pseudo_label}:" if self.pseudo_label else prefix.get(self.source, "")
        return f"{label}{self.layer}/{self.statistic}" if self.layer else f"{label}{self.statistic}"


@dataclass(frozen=True)
class FeatureAxes:
    """The features of a block, in order."""

    features: tuple[Feature, ...]

    def __len__(self) -> int:
        """How many there are."""
        return len(self.features)

    def where(self, keeps: Callable[[Feature], bool]) -> NDArray[np.intp]:
        """Columns of the features that are kept."""
        return np.array([column for column, feature in enumerate(self.features) if keeps(feature)], np.intp)

    def of(self, *sources: str) -> NDArray[np.intp]:
        """Columns of the features of some sources."""
        return self.where(lambda feature: feature.source in sources)

    @cached_property
    def groups(self) -> dict[tuple[str, str], NDArray[np.intp]]:
        """Columns by source and pseudo-label."""
        groups: dict[tuple[str, str], list[int]] = {}
        for column, feature in enumerate(self.features):
            groups.setdefault((feature.source, feature.pseudo_label), []).append(column)
        return {group: np.array(columns, np.intp) for group, columns in groups.items()}


@dataclass(frozen=True, eq=False)
class FeatureBlock:
    """Features of N predictions.

    Attributes:
        values: [N, features] float64.
        axes: what each column holds.
    """

    values: NDArray[np.float64]
    axes: FeatureAxes

    def __len__(self) -> int:
        """The number of predictions."""
        return len(self.values)

    def rows(self, taken: NDArray[np.generic]) -> FeatureBlock:
        """Some of the predictions: their numbers, or [N] bool."""
        return FeatureBlock(self.values[taken], self.axes)

    def columns(self, taken: NDArray[np.intp]) -> FeatureBlock:
        """Some of the features, by their columns."""
        return FeatureBlock(self.values[:, taken], FeatureAxes(tuple(self.axes.features[column] for column in taken)))

    @classmethod
    def concatenate(cls, blocks: Sequence[FeatureBlock]) -> FeatureBlock:
        """Blocks of the same features, one after the other."""
        return cls(np.concatenate([block.values for block in blocks]), blocks[0].axes)
