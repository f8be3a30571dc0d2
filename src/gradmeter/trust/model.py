"""TrustModel: from a trained network to P(the prediction is correct), and a decision with a stated error rate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradmeter.errors import GradmeterError, InputError
from gradmeter.reading.content import reading_hashes
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import max_softmax
from gradmeter.trust import saving
from gradmeter.trust.judge import Judge, named_classifier
from gradmeter.trust.measured import (
    ReadData,
    read_inputs,
    read_known,
    read_made,
    read_unknown,
    require_disjoint,
    require_several,
)
from gradmeter.trust.meta_classifier import Judgement
from gradmeter.trust.risk import (
    COVERAGE_TOLERANCE,
    LEAST_PROBABILITY,
    Guarantee,
    candidates,
    control_risk,
    require_rates,
)
from gradmeter.trust.synthetic import ImageSample


class TrustModel:
    """Says how likely a network's prediction is correct, and accepts or rejects it.

    Args:
        meter: reads the network.
        classifier: "gradmeter", `TwoHeads`, which say whether the input is known and whether the prediction is right;
            "ridge_cv", "ridge", "lasso", "glm", "elastic_net", "neural_network"; or a scikit-learn classifier.

    Attributes:
        meter: as given; for "gradmeter" one that reads more of the same network, `GradientMeter.for_trust_model`.
        judge: the fitted meta classifier; None before `fit`.
        learns_from_synthetic: whether the meta classifier has use for synthetic unknowns.
        guarantee: what `set_risk` promised; None before it.
        learned_contents: hashes of the inputs that `fit` learned from and of their readings, as
            `gradmeter.reading.content` makes them, in order.
        notes: JSON values that are saved along and mean nothing to a TrustModel.

    Example:
        >>> trust = TrustModel(GradientMeter(model)).fit(validation_loader, unknowns=[noise_loader])
        >>> trust.predict_proba(images)
        >>> trust.set_risk(0.01, calibration_loader)
        >>> trust.accept(images)
    """

    def __init__(self, meter: GradientMeter, classifier: Any = "gradmeter") -> None:
        if not isinstance(meter, GradientMeter):
            raise InputError(f"meter is a {type(meter).__name__}; expected a GradientMeter")
        self.learns_from_synthetic = named_classifier(classifier).learns_from_synthetic
        self.meter = meter.for_trust_model() if self.learns_from_synthetic else meter
        self.classifier = classifier
        self.judge: Judge | None = None
        self.guarantee: Guarantee | None = None
        self.learned_contents: NDArray[np.uint64] = np.empty(0, np.uint64)
        self.notes: dict[str, Any] = {}

    def fit(self, known: Any, unknowns: Sequence[Any] = (), *, synthetic: Iterable[Any] | None = None) -> Self:
        """Learn from validation data when predictions are wrong, and from inputs that the network cannot know.

        "gradmeter" also learns from synthetic unknowns, which it makes of some of the known images, all kinds together
        about as many as these (`gradmeter.trust.synthetic.per_kind`). Images come in a tensor, or in a dict that holds
        nothing else; where inputs are others, or readings, none are made.

        Args:
            known: inputs with labels that the network did not learn from: a loader of batches (inputs, labels) or dicts
                with "labels"; a pair of tensors or arrays; or an Arrow table or pandas frame of readings with a
                column "label".
            unknowns: inputs of no class, each likewise; labels need not be there and are not looked at.
            synthetic: synthetic unknowns, each likewise, in place of those that are made here.

        Raises:
            InputError: for data without labels, inputs that are given as known and as unknown, unknown inputs that are
                in no list, or too few predictions that are right or wrong.
        """
        require_several(unknowns)
        sample = ImageSample() if self.learns_from_synthetic and synthetic is None else None
        known_data, labels = read_known(self.meter, known, sample)
        unknown_data = [read_unknown(self.meter, unknown) for unknown in unknowns]
        require_disjoint(known_data, unknown_data)
        if sample is not None:
            synthetic_readings = read_made(self.meter, sample.unknowns(next(self.meter.model.parameters()).device))
        else:
            synthetic_readings = [read_unknown(self.meter, kind).readings for kind in synthetic or ()]
        learned = (known_data, *unknown_data)
        self.judge = Judge.fit(
            known_data.readings,
            labels,
            [data.readings for data in unknown_data],
            self.classifier,
            synthetic_readings,
            np.concatenate([data.contents for data in learned]),
        )
        # Those of the readings as well: `set_risk` may be given these, without the inputs.
        self.learned_contents = np.unique(
            np.concatenate([hashes for data in learned for hashes in (data.contents, reading_hashes(data.readings))])
        )
        self.guarantee = None
        return self

    def predict_proba(self, inputs: Any) -> Tensor:
        """[N] float64, P(the prediction is correct), for inputs as the meter takes them, arrays, or readings of them.

        `judge.meaning` says for which inputs it is a probability.

        Raises:
            GradmeterError: before `fit`.
        """
        judge = self._fitted()
        return torch.from_numpy(judge.probability(read_inputs(self.meter, inputs)))

    def set_risk(
        self,
        risk: float,
        known: Any,
        unknowns: Sequence[Any] = (),
        *,
        confidence: float = 0.95,
        least_probability: float = LEAST_PROBABILITY,
        coverage_tolerance: float = COVERAGE_TOLERANCE,
    ) -> Guarantee:
        """Find a threshold on P(correct) such that at most the share `risk` of what is accepted is wrong.

        This holds with probability `confidence` over the draw of these data, for inputs drawn as they were, also if
        fewer of those are unknown. Of the thresholds for which it holds, the strictest is taken that gives up at most
        `coverage_tolerance` of the largest coverage, so that inputs of other kinds are not accepted needlessly. For
        the same reason "gradmeter" accepts nothing that is less familiar than all but one in a thousand of the known
        inputs. Copies of an input prove no more than one of them.

        Args:
            risk: largest rate of errors among accepted inputs.
            known: inputs with labels that neither the network nor `fit` saw, as `fit` takes them.
            unknowns: unknown inputs, in the largest share in which they are expected.
            confidence: that the promise holds.
            least_probability: smallest P(correct) that is ever accepted.
            coverage_tolerance: share of the largest coverage that may be given up for a stricter threshold.

        Returns:
            The promise, and the coverage that it costs.

        Raises:
            RiskNotControlled: if no threshold can promise it.
            InputError: for data that `fit` learned from, known by their content or their readings, or inputs that are
                given as known and as unknown.
            GradmeterError: before `fit`.
        """
        judge = self._fitted()
        require_rates(risk, confidence, least_probability, coverage_tolerance)
        require_several(unknowns)
        known_data, labels = read_known(self.meter, known)
        unknown_data = [read_unknown(self.meter, unknown) for unknown in unknowns]
        require_disjoint(known_data, unknown_data)
        parts = [known_data, *unknown_data]
        self._require_new(parts)
        everything = Readings.concatenate([part.readings for part in parts])
        right = (known_data.readings.predictions.cpu() == labels).numpy()
        correct = np.concatenate([right, np.zeros(len(everything) - len(right), np.bool_)])
        guarantee = control_risk(
            judge.judge(everything).score,
            correct,
            risk,
            candidates(judge.held_out.score, least_probability),
            contents=np.concatenate([part.contents for part in parts]),
            confidence=confidence,
            coverage_tolerance=coverage_tolerance,
        )
        unknown = len(everything) - len(right)
        self.guarantee = replace(guarantee, unknown_share=unknown / len(everything))
        return self.guarantee

    def accept(self, inputs: Any) -> Tensor:
        """[N] bool, whether a prediction is accepted under the promise of `set_risk`.

        Raises:
            GradmeterError: before `set_risk`.
        """
        if self.guarantee is None:
            raise GradmeterError("no risk was set; call set_risk(risk, loader) before accept")
        judgement = self._fitted().judge(read_inputs(self.meter, inputs))
        return torch.from_numpy(self._accepted(judgement, self.guarantee))

    def verdicts(self, inputs: Any) -> pa.Table:
        """A row for each input: "prediction", "probability" of it, "p_correct", and "accepted".

        Args:
            inputs: as `predict_proba` takes them.

        Returns:
            An Arrow table, also for pandas by `.to_pandas()`; "accepted" is null where no risk was set.

        Raises:
            GradmeterError: before `fit`.
        """
        judge = self._fitted()
        readings = read_inputs(self.meter, inputs)
        judgement = judge.judge(readings)
        return pa.table(
            {
                "prediction": readings.predictions.cpu().numpy(),
                "probability": max_softmax(readings.logits),
                "p_correct": judgement.p_correct,
                "accepted": pa.nulls(len(readings), pa.bool_())
                if self.guarantee is None
                else pa.array(self._accepted(judgement, self.guarantee)),
            }
        )

    def learned_from(self, contents: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether `fit` learned from inputs, [N], by the hashes of their contents (`gradmeter.reading.content`)."""
        return np.isin(contents, self.learned_contents)

    def save(self, folder: Path | str) -> None:
        """Write to a folder, whole or not at all: JSON, and the meta classifier by skops; nothing is pickled.

        Raises:
            OutputError: if something else is there, or the folder cannot be written.
            GradmeterError: before `fit`, or if the pseudo-label is a function.
        """
        saving.save(Path(folder), self.meter, self._fitted(), self.learned_contents, self.guarantee, self.notes)

    @classmethod
    def load(cls, folder: Path | str, model: nn.Module, *, trusted: Sequence[str] = ()) -> TrustModel:
        """Read what `save` wrote, for the same network.

        Args:
            folder: where it lies.
            model: the network, with the weights it had.
            trusted: full names of types, beyond scikit-learn's and gradmeter's, that the meta classifier may hold.

        Raises:
            DataError: if the folder is incomplete, was changed, holds types that are not trusted, or is of another
                network.
        """
        loaded = saving.load(Path(folder), model, trusted)
        trust = cls(loaded.meter, loaded.judge.classifier)
        trust.judge, trust.guarantee, trust.learned_contents = loaded.judge, loaded.guarantee, loaded.learned_contents
        trust.notes = loaded.notes
        return trust

    def fingerprint(self) -> str:
        """A hash of what was fitted: it tells one fit from another.

        Raises:
            GradmeterError: before `fit`.
        """
        judge = self._fitted()
        digest = hashlib.sha256(" ".join(map(str, judge.features.axes.features)).encode())
        digest.update(judge.held_out.p_correct.tobytes())
        return digest.hexdigest()

    @staticmethod
    def _accepted(judgement: Judgement, guarantee: Guarantee) -> NDArray[np.bool_]:
        return judgement.score >= guarantee.threshold

    def _require_new(self, parts: Sequence[ReadData]) -> None:
        """Check that `fit` did not learn from data.

        Raises:
            InputError: if it did.
        """
        count = sum(len(part.readings) for part in parts)
        seen = sum(
            int((self.learned_from(part.contents) | self.learned_from(reading_hashes(part.readings))).sum())
            for part in parts
        )
        if seen:
            raise InputError(
                f"fit learned from {seen:,} of these {count:,} inputs, or from others with the same readings, so they "
                "prove nothing; expected inputs that it did not see: leave these out, learned_from says which they "
                "are by content_hashes(inputs) and by reading_hashes(readings)"
            )

    def _fitted(self) -> Judge:
        if self.judge is None:
            raise GradmeterError("the TrustModel is not fitted; call fit(validation_loader) first")
        return self.judge
