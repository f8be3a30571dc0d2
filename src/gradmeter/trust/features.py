"""Arrays of features with named columns: each column has a source, a layer and a statistic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

OUTPUTS, LOGITS, EMBEDDING, SCORES = "outputs", "logits", "embedding", "scores"
GRADIENTS, ACTIVATIONS = "gradients", "activations"
SOURCES = (OUTPUTS, LOGITS, EMBEDDING, SCORES, GRADIENTS, ACTIVATIONS)
"""The sources of features."""


class Feature(NamedTuple):
    """The origin of a feature.

    Attributes:
        source: "outputs" for functions of all logits, "logits", "embedding", "scores", "gradients" or "activations".
        statistic: the statistic of a gradient or of activations, the name of a function of the logits ("entropy") or
            of a score, or the index of a logit or of an entry of the embedding.
        layer: the layer of a gradient or of activations; otherwise empty.
        pseudo_label: the pseudo-label of a gradient, if it is not the meter's first; otherwise empty.
    """

    source: str
    statistic: str
    layer: str = ""
    pseudo_label: str = ""

    @property
    def origin(self) -> str:
        """The layer, "conv1 (output)" for its activations, "logits", "embedding", or the name of another feature."""
        if self.source in (LOGITS, EMBEDDING):
            return self.source
        if self.source == ACTIVATIONS:
            return f"{self.layer} (output)"
        return self.layer or str(self)

    def __str__(self) -> str:
        """Return the name of the feature's column in tables of readings, such as "uniform:conv1/l2"."""
        prefix = {LOGITS: "logit:", EMBEDDING: "embedding:", SCORES: "score:", ACTIVATIONS: "activation:"}
        label = f"{self.pseudo_label}:" if self.pseudo_label else prefix.get(self.source, "")
        return f"{label}{self.layer}/{self.statistic}" if self.layer else f"{label}{self.statistic}"


@dataclass(frozen=True)
class FeatureAxes:
    """The features of a block, in the order of its columns."""

    features: tuple[Feature, ...]

    def __len__(self) -> int:
        """Return the number of features."""
        return len(self.features)

    def where(self, condition: Callable[[Feature], bool]) -> NDArray[np.intp]:
        """Return the columns of the features that meet a condition."""
        return np.array([column for column, feature in enumerate(self.features) if condition(feature)], np.intp)

    def of(self, *sources: str) -> NDArray[np.intp]:
        """Return the columns of the features of the given sources."""
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
        axes: the feature of each column.
    """

    values: NDArray[np.float64]
    axes: FeatureAxes

    def __len__(self) -> int:
        """Return the number of predictions."""
        return len(self.values)

    def rows(self, selection: NDArray[np.generic]) -> FeatureBlock:
        """Select predictions by their indices, or by a mask [N]."""
        return FeatureBlock(self.values[selection], self.axes)

    def columns(self, selection: NDArray[np.intp]) -> FeatureBlock:
        """Select features by their columns."""
        features = tuple(self.axes.features[column] for column in selection)
        return FeatureBlock(self.values[:, selection], FeatureAxes(features))

    @classmethod
    def concatenate(cls, blocks: Sequence[FeatureBlock]) -> FeatureBlock:
        """Stack blocks of the same features along the first axis."""
        return cls(np.concatenate([block.values for block in blocks]), blocks[0].axes)
