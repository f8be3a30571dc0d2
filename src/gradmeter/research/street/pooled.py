"""Measures of several networks on the same test scenes, and intervals of their differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gradmeter.research.gradient_gain.gains import Gain, gain_of
from gradmeter.trust.evaluation.resampling import REPETITIONS

Values = NDArray[np.float64]
_SEED = 0


class Measured(Protocol):
    """Scores of the test scenes, by blocks of scenes."""

    def measures(self, weights: Values | None = None) -> Mapping[str, Values]:
        """Return each measure [R], for weights of the blocks [R, blocks]; by default, of all blocks once."""


@dataclass(frozen=True, eq=False)
class Resampling:
    """Which blocks of scenes, and which networks, occur how often in each resample.

    Attributes:
        blocks: [R, blocks] the same for all networks and methods.
        networks: [R, networks].
    """

    blocks: Values
    networks: Values

    @classmethod
    def draw(cls, blocks: int, networks: int, repetitions: int = REPETITIONS) -> Resampling:
        """Draw with replacement as many blocks and networks as there are."""
        random = np.random.default_rng(_SEED)
        drawn = (
            random.multinomial(count, np.full(count, 1 / count), size=repetitions).astype(np.float64)
            for count in (blocks, networks)
        )
        return cls(*drawn)


class Pooled:
    """Measures of all methods, as means over networks.

    Args:
        networks: for each network, the scores by method.
        resampling: of blocks and networks.

    Attributes:
        methods: names of the methods.
        measures: names of the measures.
    """

    def __init__(self, networks: Sequence[Mapping[str, Measured]], resampling: Resampling) -> None:
        self.methods, self.measures = list(networks[0]), list(next(iter(networks[0].values())).measures())
        self._values: dict[tuple[str, str], Values] = {}
        self._draws: dict[tuple[str, str], Values] = {}
        share = resampling.networks / len(networks)
        for method in self.methods:
            plain = [network[method].measures() for network in networks]
            drawn = [network[method].measures(resampling.blocks) for network in networks]
            for measure in plain[0]:
                self._values[measure, method] = np.array([values[measure][0] for values in plain])
                resamples = np.stack([values[measure] for values in drawn], axis=1)
                self._draws[measure, method] = (share * resamples).sum(axis=1)

    def of_networks(self, measure: str, method: str) -> list[float]:
        """Return a measure of each network."""
        return [float(value) for value in self._values[measure, method]]

    def gain(self, measure: str, method: str, than: str) -> Gain:
        """Return what a method has more than another, with the interval of resamples."""
        first, second = (measure, method), (measure, than)
        return gain_of(self._values[first] - self._values[second], self._draws[first] - self._draws[second])
