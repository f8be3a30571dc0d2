"""One draw: judges that read different things, fitted to the same inputs and tested on the same others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gradmeter.errors import DataError
from gradmeter.reading.readings import Readings
from gradmeter.research.gradient_gain.exam import (
    ADVERSARIAL,
    CORRUPTED,
    KNOWN,
    SYNTHETIC,
    UNKNOWN,
    VALIDATION,
    Exam,
    pool_name,
)
from gradmeter.research.gradient_gain.judges import (
    CLASSIFIERS,
    LOGISTIC,
    TWO_HEADS,
    Doubt,
    FittedJudge,
    Lessons,
    fit_logistic,
    fit_two_heads,
)
from gradmeter.research.gradient_gain.regression import REGRESSORS
from gradmeter.research.gradient_gain.scored import SOFTMAX, Predicted, Scored, method
from gradmeter.research.gradient_gain.variants import ALONE, FORWARD, GRADIENTS, NOISE, VARIANTS, outputs_only, view_of
from gradmeter.trust.features import GRADIENTS as GRADIENT_SOURCE
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.synthetic import per_kind
from gradmeter.trust.two_heads import TwoHeads

Rows = NDArray[np.intp]
Values = NDArray[np.float64]

WRONG = "wrong"
_FITS = {TWO_HEADS: fit_two_heads, LOGISTIC: fit_logistic}


def reads(classifier: str) -> tuple[str, ...]:
    """Return the variants that a classifier is fitted with; gradmeter's own needs the logits."""
    return tuple(variant for variant in VARIANTS if classifier == LOGISTIC or variant != ALONE)


def learned(attack: str) -> str:
    """Return the name of a case whose judge learns from the attack."""
    return f"{attack}, learned"


def few(labels: int, case: str) -> str:
    """Return the name of a case whose judge learns from the given number of known inputs."""
    return f"{case}, {labels:,} labels"


class Pools:
    """The features of all pools of an exam, for the judges of one fold.

    Args:
        exam: the exam.
        readings: the readings of its pools.
        fold: number of the fold.

    Raises:
        DataError: if the gradients are constant in what the judges learn from.
    """

    def __init__(self, exam: Exam, readings: dict[str, Readings], fold: int) -> None:
        self.exam, self.readings, self.fold = exam, readings, fold
        self.lessons, self.lesson_rows = exam.lesson_rows(fold)
        lessons = [readings[self.lessons].rows(self.lesson_rows)]
        lessons += [readings[pool_name(SYNTHETIC, kind)] for kind in exam.synthetic]
        # Those that are constant in what the judges learn from are left out.
        features = TwoHeads().features(Readings.concatenate(lessons))
        if not len(features.axes.of(GRADIENT_SOURCE)):
            raise DataError(f"the {len(self.lesson_rows):,} inputs to learn from have the same gradients; give others")
        self.blocks = {name: features.block(part) for name, part in readings.items()}
        self.wrong = {KNOWN: _wrong(readings[KNOWN], exam.known.labels)}
        if exam.validation is not None:
            self.wrong[VALIDATION] = _wrong(readings[VALIDATION], exam.validation.labels)
        for name, samples in exam.corrupted.items():
            pool = pool_name(CORRUPTED, name)
            self.wrong[pool] = _wrong(readings[pool], samples.labels)
        # Only inputs whose prediction an attack has changed from right to wrong count as adversarial.
        for name in exam.adversarial:
            pool = pool_name(ADVERSARIAL, name)
            originals = len(readings[pool])
            now = _wrong(readings[pool], exam.known.labels[:originals])
            self.wrong[pool] = now & ~self.wrong[KNOWN][:originals]

    def softmax(self, pool: str, rows: Rows) -> Values:
        """Return the softmax's doubt log(1 - p), which does not round where p rounds to 1."""
        return np.asarray(self.readings[pool].log_scale.double().numpy()[rows])

    def loss(self, pool: str, rows: Rows) -> Values:
        """Return -log p(true class) of known inputs."""
        index = torch.from_numpy(rows)
        logits, labels = self.readings[pool].logits[index].double(), self.exam.labels(pool)[index]
        losses = F.cross_entropy(logits, labels, reduction="none")
        return np.asarray(losses.numpy())

    def test_rows(self, pool: str) -> Rows:
        """Return the test rows of the fold in a pool."""
        return self.exam.test_rows(len(self.readings[pool]), self.fold)

    def counted(self, pool: str) -> NDArray[np.bool_]:
        """Return which test inputs of a pool count: all unknown ones, but only successful attacks."""
        rows = self.test_rows(pool)
        return self.wrong[pool][rows] if pool in self.wrong else np.ones(len(rows), np.bool_)


def _wrong(readings: Readings, labels: Tensor) -> NDArray[np.bool_]:
    return np.asarray((readings.predictions != labels).numpy())


class Panel:
    """All judges that learn the same lessons, and their doubt about the test inputs of each pool, computed once.

    Args:
        pools: the features of the exam.
        lessons: what the judges learn from.
    """

    def __init__(self, pools: Pools, lessons: Lessons) -> None:
        self._pools = pools
        self._judges: dict[str, FittedJudge] = {}
        for classifier in CLASSIFIERS:
            for variant in reads(classifier):
                view = view_of(variant, lessons.known, seed=pools.fold)
                self._judges[method(classifier, variant)] = _FITS[classifier](lessons, view)
        self._doubts: dict[str, dict[str, Doubt]] = {}

    def _doubt(self, pool: str) -> dict[str, Doubt]:
        if pool not in self._doubts:
            rows = self._pools.test_rows(pool)
            block, softmax = self._pools.blocks[pool].rows(rows), self._pools.softmax(pool, rows)
            doubts = {SOFTMAX: Doubt(softmax, softmax)}
            self._doubts[pool] = doubts | {name: judge(block) for name, judge in self._judges.items()}
        return self._doubts[pool]

    def wrong(self) -> Scored:
        """Return the right and the wrong predictions for known inputs, by the doubt about known inputs."""
        outside = self._pools.wrong[KNOWN][self._pools.test_rows(KNOWN)]
        return Scored(outside, {name: doubt.wrong for name, doubt in self._doubt(KNOWN).items()})

    def shifted(self, pool: str) -> Scored:
        """Return the right and the wrong predictions in a pool, by the overall doubt."""
        outside = self._pools.wrong[pool][self._pools.test_rows(pool)]
        return Scored(outside, {name: doubt.overall for name, doubt in self._doubt(pool).items()})

    def against_right(self, pools: Sequence[str]) -> Scored:
        """Return right predictions for known inputs, and the samples of pools that count, by the overall doubt."""
        right = ~self._pools.wrong[KNOWN][self._pools.test_rows(KNOWN)]
        counted = {pool: self._pools.counted(pool) for pool in pools}
        scores = {}
        for name, doubt in self._doubt(KNOWN).items():
            others = [self._doubt(pool)[name].overall[counted[pool]] for pool in pools]
            scores[name] = np.concatenate([doubt.overall[right], *others])
        samples = len(scores[SOFTMAX])
        return Scored(np.arange(samples) >= np.count_nonzero(right), scores)


class Draw:
    """The cases and the meta regression of one fold of an exam.

    Args:
        pools: the features of the exam, for that fold.
    """

    def __init__(self, pools: Pools) -> None:
        self._pools, self._exam = pools, pools.exam
        self._lessons = Lessons(
            pools.blocks[pools.lessons].rows(pools.lesson_rows),
            pools.wrong[pools.lessons][pools.lesson_rows],
            (),
            [pools.blocks[pool_name(SYNTHETIC, kind)] for kind in self._exam.synthetic],
        )

    def cases(self, sizes: Sequence[int]) -> Iterator[tuple[str, Scored]]:
        """Iterate over the cases.

        They are wrong predictions, unknown, adversarial and corrupted inputs, attacks that the judges have seen, and
        judges that learn from few known inputs.

        Args:
            sizes: numbers of known inputs for further judges; those beyond the known inputs are left out.
        """
        panel = self._panel(self._lessons)
        yield WRONG, panel.wrong()
        for group, names in ((UNKNOWN, self._exam.unknown), (ADVERSARIAL, self._exam.adversarial)):
            for name in names:
                yield name, panel.against_right([pool_name(group, name)])
        for name in self._exam.corrupted:
            yield name, panel.shifted(pool_name(CORRUPTED, name))
        if self._exam.adversarial and self._exam.folds > 1:
            yield from self._learned()
        for size in sizes:
            if size < len(self._lessons.known):
                panel = self._panel(self._first(size))
                yield few(size, WRONG), panel.wrong()
                for name in list(self._exam.unknown)[:1]:
                    yield few(size, name), panel.against_right([pool_name(UNKNOWN, name)])

    def _panel(self, lessons: Lessons) -> Panel:
        return Panel(self._pools, lessons)

    def _learned(self) -> Iterator[tuple[str, Scored]]:
        """Judge attacks by judges that learn from the same attacks on images of the other folds."""
        by_attack: dict[str, list[str]] = {}
        for name in self._exam.adversarial:
            by_attack.setdefault(name.partition(" ")[0], []).append(pool_name(ADVERSARIAL, name))
        unknown = [
            FeatureBlock.concatenate([self._pools.blocks[pool].rows(self._seen(pool)) for pool in pools])
            for pools in by_attack.values()
        ]
        panel = self._panel(replace(self._lessons, unknown=[block for block in unknown if len(block)]))
        for attack, pools in by_attack.items():
            yield learned(attack), panel.against_right(pools)

    def _seen(self, pool: str) -> Rows:
        """Return the rows of successful attacks on images of the other folds."""
        rows = self._exam.other_rows(len(self._pools.wrong[pool]), self._pools.fold)
        return rows[self._pools.wrong[pool][rows]]

    def _first(self, size: int) -> Lessons:
        """Return the lessons from the first known inputs, with as many synthetic ones as `TrustModel.fit` makes."""
        first = np.arange(size)
        synthetic = [block.rows(np.arange(min(len(block), per_kind(size)))) for block in self._lessons.synthetic]
        return replace(
            self._lessons, known=self._lessons.known.rows(first), wrong=self._lessons.wrong[first], synthetic=synthetic
        )

    def predicted(self) -> Predicted:
        """Predict the loss of known test inputs with each regressor, from each variant and from the outputs alone."""
        donors, test_rows = self._lessons.known, self._pools.test_rows(KNOWN)
        loss = self._pools.loss(self._pools.lessons, self._pools.lesson_rows)
        test = self._pools.blocks[KNOWN].rows(test_rows)
        views = {variant: view_of(variant, donors, seed=self._pools.fold) for variant in (FORWARD, GRADIENTS, NOISE)}
        views[SOFTMAX] = outputs_only(donors)
        predictions = {
            method(regressor, variant): fit(donors, loss, view)(test)
            for regressor, fit in REGRESSORS.items()
            for variant, view in views.items()
        }
        return Predicted(self._pools.loss(KNOWN, test_rows), predictions)
