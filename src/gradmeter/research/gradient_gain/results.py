"""The results of a subject: its measures and gains, computed from the scores of all draws, as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gradmeter.files import read_json, write_text
from gradmeter.research.gradient_gain.draw import WRONG, reads
from gradmeter.research.gradient_gain.gains import (
    AUPR_OUT,
    AUROC,
    R2,
    SPEARMAN,
    Gain,
    Resampled,
    complete,
    resample_cases,
    resample_predictions,
)
from gradmeter.research.gradient_gain.judges import CLASSIFIERS
from gradmeter.research.gradient_gain.reading import Price
from gradmeter.research.gradient_gain.regression import REGRESSORS
from gradmeter.research.gradient_gain.scored import Predicted, Scored, method
from gradmeter.research.gradient_gain.variants import FORWARD, GRADIENTS, NOISE
from gradmeter.research.own_files import own_file


@dataclass(frozen=True)
class Measures:
    """Measures of all methods in a case, or in the meta regression of a subject.

    Attributes:
        draws: number of draws.
        inside: number of right predictions, over all draws; of all known inputs for a meta regression.
        outside: number of wrong or unknown inputs; 0 for a meta regression.
        values: mean over the draws, by measure and method.
        gains: what each method adds to the same model that reads the forward pass, by measure and method.
    """

    draws: int
    inside: int
    outside: int
    values: Mapping[str, Mapping[str, float]]
    gains: Mapping[str, Mapping[str, Gain]]

    @classmethod
    def of(cls, resampled: Resampled, pairs: Mapping[str, str], draws: int, inside: int, outside: int) -> Measures:
        """Compute the measures; `pairs` maps a method to the one that it is compared with."""
        values: dict[str, dict[str, float]] = {}
        for measure, name in resampled.keys:
            values.setdefault(measure, {})[name] = resampled.value(measure, name)
        gains = {
            measure: {name: resampled.gain(measure, name, than) for name, than in pairs.items()} for measure in values
        }
        return cls(draws, inside, outside, values, gains)

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Measures:
        """Return the measures that were written as JSON."""
        gains = {
            measure: {name: Gain(**gain) for name, gain in by_method.items()}
            for measure, by_method in content["gains"].items()
        }
        return cls(**{**content, "gains": gains})


@dataclass(frozen=True)
class SubjectResults:
    """The results of a subject.

    Attributes:
        cases: by name.
        regression: the meta regression of the loss.
        prices: of each network.
        error: share of wrong predictions for known test inputs.
    """

    cases: Mapping[str, Measures]
    regression: Measures
    prices: Sequence[Price]
    error: float

    @classmethod
    def compute(
        cls, draws: Sequence[Mapping[str, Scored]], predicted: Sequence[Predicted], prices: Sequence[Price]
    ) -> SubjectResults:
        """Compute the results from all draws; cases without enough right or other inputs are left out."""
        cases = {}
        for name in draws[0]:
            usable = list(complete([draw[name] for draw in draws]))
            if usable:
                outside = sum(int(np.count_nonzero(draw.outside)) for draw in usable)
                inside = sum(len(draw.outside) for draw in usable) - outside
                cases[name] = Measures.of(resample_cases(usable), _CASE_PAIRS, len(usable), inside, outside)
        samples = sum(len(draw.loss) for draw in predicted)
        regression = Measures.of(resample_predictions(predicted), _REGRESSION_PAIRS, len(predicted), samples, 0)
        wrong = np.concatenate([draw[WRONG].outside for draw in draws])
        return cls(cases, regression, prices, float(wrong.mean()))

    def write(self, path: Path) -> None:
        """Write the results as JSON, atomically."""
        write_text(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, path: Path) -> SubjectResults:
        """Return the results that `write` wrote.

        Raises:
            DataError: if the file cannot be read.
        """
        with own_file(path):
            content = read_json(path)
            return cls(
                {name: Measures.from_json(case) for name, case in content["cases"].items()},
                Measures.from_json(content["regression"]),
                [Price(**price) for price in content["prices"]],
                content["error"],
            )


def _pairs(models: Mapping[str, Sequence[str]]) -> dict[str, str]:
    return {
        method(model, variant): method(model, FORWARD)
        for model, variants in models.items()
        for variant in variants
        if variant != FORWARD
    }


CASE_MEASURES = (AUROC, AUPR_OUT)
REGRESSION_MEASURES = (R2, SPEARMAN)
_CASE_PAIRS = _pairs({classifier: reads(classifier) for classifier in CLASSIFIERS})
_REGRESSION_PAIRS = _pairs(dict.fromkeys(REGRESSORS, (FORWARD, GRADIENTS, NOISE)))
