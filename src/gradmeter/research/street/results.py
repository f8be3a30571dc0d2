"""The results of the study: measures of every score, and what one adds to another, as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from gradmeter.files import read_json, write_text
from gradmeter.reading.pixels.scores import CONFIDENCES, SOFTMAX
from gradmeter.research.gradient_gain.gains import Gain
from gradmeter.research.own_files import own_file
from gradmeter.research.street.judges import BOTH, FORWARD, GRADIENTS, INPUTS, NOISE, VARIANTS, judge_name
from gradmeter.research.street.pixels import PixelScores
from gradmeter.research.street.pooled import Measured, Pooled, Resampling, Values
from gradmeter.research.street.segments import ENTROPY, METASEG, METHODS, WITH_GRADIENTS, WITH_NOISE, SegmentScores
from gradmeter.trust.evaluation.binned import Histograms


@dataclass(frozen=True)
class TaskResults:
    """The results of a task, over all networks.

    Attributes:
        inside: number of samples inside (right, or known), mean over networks.
        outside: number of samples outside (wrong, or unknown), mean over networks.
        values: measures of each network, by measure and method.
        gains: what a method has more than another, by measure, method and the other.
        validation: AUROC of wrong pixels in validation scenes, mean over networks, of scores that learn nothing.
        notes: further facts by name.
    """

    inside: float
    outside: float
    values: Mapping[str, Mapping[str, Sequence[float]]]
    gains: Mapping[str, Mapping[str, Mapping[str, Gain]]]
    validation: Mapping[str, float]
    notes: Mapping[str, Any]

    def mean(self, measure: str, method: str) -> float:
        """Return the mean of a measure over the networks."""
        return float(np.mean(self.values[measure][method]))

    @property
    def methods(self) -> list[str]:
        """All methods."""
        return list(next(iter(self.values.values())))

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Self:
        """Return the results that were written as JSON."""
        gains = {
            measure: {
                method: {than: Gain(**gain) for than, gain in by_other.items()}
                for method, by_other in of_method.items()
            }
            for measure, of_method in content["gains"].items()
        }
        return cls(**{**content, "gains": gains})


def pixel_results(networks: Sequence[PixelScores]) -> TaskResults:
    """Return the results of a task on pixels."""
    first = next(iter(networks[0].test))
    counts = [network.test[first] for network in networks]
    notes = {"wrong": [network.wrong for network in networks]}
    validation = {
        name: float(np.mean([network.validation[name] for network in networks]))
        for name in networks[0].validation
        if name in networks[0].test
    }
    pairs = list(_pixel_pairs(list(networks[0].test)))
    return _results([network.test for network in networks], pairs, counts, validation, notes)


def segment_results(networks: Sequence[SegmentScores]) -> TaskResults:
    """Return the results of segments."""
    measured = [
        {method: _Both(network.classified(method), network.regressed(method)) for method in METHODS}
        for network in networks
    ]
    counts = [network.classified(METASEG) for network in networks]
    chosen = {method: [network.estimators[method] for network in networks] for method in METHODS}
    pairs = [(method, than) for method in METHODS for than in (ENTROPY, METASEG) if method != than]
    pairs.append((WITH_GRADIENTS, WITH_NOISE))
    return _results(measured, pairs, counts, {}, {"estimators": chosen})


@dataclass(frozen=True, eq=False)
class _Both:
    """The measures of a meta classifier and of a meta regression."""

    classified: Measured
    regressed: Measured

    def measures(self, weights: Values | None = None) -> dict[str, Values]:
        return {**self.classified.measures(weights), **self.regressed.measures(weights)}


def _results(
    measured: Sequence[Mapping[str, Measured]],
    pairs: Sequence[tuple[str, str]],
    counts: Sequence[Histograms],
    validation: Mapping[str, float],
    notes: Mapping[str, Any],
) -> TaskResults:
    pooled = Pooled(measured, Resampling.draw(len(counts[0].inside), len(measured)))
    values = {
        measure: {method: pooled.of_networks(measure, method) for method in pooled.methods}
        for measure in pooled.measures
    }
    gains: dict[str, dict[str, dict[str, Gain]]] = {measure: {} for measure in pooled.measures}
    for measure in pooled.measures:
        for method, than in pairs:
            gains[measure].setdefault(method, {})[than] = pooled.gain(measure, method, than)
    inside, outside = (
        float(np.mean([getattr(count, kind).sum() for count in counts])) for kind in ("inside", "outside")
    )
    return TaskResults(inside, outside, values, gains, validation, notes)


def _pixel_pairs(methods: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of a method and another one that it is compared with."""
    judges = [judge_name(classifier, variant) for classifier in VARIANTS for variant in VARIANTS[classifier]]
    for method in methods:
        if method not in judges:
            yield from ((method, than) for than in CONFIDENCES if than != method)
    for classifier, variants in VARIANTS.items():
        forward = judge_name(classifier, FORWARD)
        yield from ((judge_name(classifier, variant), forward) for variant in variants if variant != FORWARD)
        yield judge_name(classifier, BOTH), judge_name(classifier, INPUTS)
        yield judge_name(classifier, GRADIENTS), judge_name(classifier, NOISE)
        if SOFTMAX in methods:
            yield from ((judge_name(classifier, variant), SOFTMAX) for variant in variants)


def write_results(path: Path, results: Mapping[str, TaskResults]) -> None:
    """Write the results of all tasks as JSON, atomically."""
    write_text(path, json.dumps({task: asdict(result) for task, result in results.items()}, indent=1) + "\n")


def read_results(path: Path) -> dict[str, TaskResults]:
    """Return the results that `write_results` wrote.

    Raises:
        DataError: if the file cannot be read.
    """
    with own_file(path):
        return {task: TaskResults.from_json(content) for task, content in read_json(path).items()}
