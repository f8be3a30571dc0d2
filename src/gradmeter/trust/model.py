"""TrustModel: P(the prediction is correct) for a trained network, and a decision with a bounded error rate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gradmeter.errors import GradmeterError, InputError, warn
from gradmeter.reading.activations import Activations
from gradmeter.reading.content import reading_hashes
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.readings import Readings
from gradmeter.reading.scores import max_softmax
from gradmeter.trust import saving
from gradmeter.trust.data import (
    Collector,
    KnownInputs,
    ReadData,
    are_readings,
    identifiers,
    labelled_batches,
    read_inputs,
    read_known,
    read_synthetic,
    read_unknown,
    require_disjoint,
    require_kinds,
    require_list,
)
from gradmeter.trust.doubts import absent_doubts, doubts
from gradmeter.trust.fitted_weights import CHANGED, FittedWeights
from gradmeter.trust.folds import distinct_rows
from gradmeter.trust.judge import Judge, resolve_classifier
from gradmeter.trust.layer_ranges import LayerValues
from gradmeter.trust.meta_classifier import P_CORRECT, P_CORRECT_IF_KNOWN, P_KNOWN, Judgement
from gradmeter.trust.reads import (
    AUTO,
    FORWARD,
    GRADIENTS,
    READS,
    Pilot,
    ReadsChoice,
    choose_by_readings,
    choose_reads,
    right_and_wrong,
)
from gradmeter.trust.risk import (
    CONFIDENCE,
    COVERAGE_TOLERANCE,
    LEAST_PROBABILITY,
    Guarantee,
    candidates,
    control_risk,
    require_rates,
)
from gradmeter.trust.synthetic import ImageSample
from gradmeter.trust.verdict_columns import VERDICT_COLUMNS


class TrustModel:
    """Predict the probability that a network's prediction is correct, and accept it or abstain.

    Args:
        meter: reads the network.
        classifier: "gradmeter" (`TwoHeads`, which separates unknown inputs from wrong predictions), "ridge_cv",
            "ridge", "lasso", "glm", "elastic_net", "neural_network", or a scikit-learn classifier.
        reads: "forward" reads what one forward pass shows: logits, embedding and statistics of the layers' outputs; a
            verdict then costs little more than the forward pass. "gradients" reads gradients, too. "auto" compares
            both in `fit`, on held-out folds of a sample, and reads gradients only if they pay; other meta classifiers
            than "gradmeter" then read gradients.

    Attributes:
        meter: the given meter; with "gradmeter" or `reads="forward"`, its `GradientMeter.for_trust_model`, which reads
            what the meta classifier needs.
        reads: as given.
        choice: what `fit` chose to read, and why; None unless `reads` is "auto".
        judge: the fitted meta classifier; None before `fit`.
        learns_from_synthetic: whether the meta classifier uses synthetic unknowns.
        guarantee: the risk guarantee of `set_risk`; None before it.
        learned_contents: sorted hashes of the training inputs and of their readings (`gradmeter.reading.content`).
        notes: JSON values that are saved with the model and not used by it.
        weights: the network's weights in `fit`; None before it.

    Example:
        >>> trust = TrustModel(GradientMeter(model)).fit(validation_loader, unknowns=[noise_loader])
        >>> trust.predict_proba(images)
        >>> trust.set_risk(0.01, calibration_loader)
        >>> trust.accept(images)
    """

    def __init__(self, meter: GradientMeter, classifier: Any = "gradmeter", *, reads: str = AUTO) -> None:
        if not isinstance(meter, GradientMeter):
            raise InputError(f"meter is a {type(meter).__name__}; expected a GradientMeter")
        self.learns_from_synthetic = resolve_classifier(classifier).learns_from_synthetic
        if reads not in READS:
            raise InputError(f"reads={reads!r}; expected {', '.join(READS)}")
        self.reads = reads
        self.choice: ReadsChoice | None = None
        self._given_choice: ReadsChoice | None = None
        self._given_meter = meter
        look = -inf if meter.second_look is None else meter.second_look
        self.meter = self._meter_for(gradients=reads != FORWARD, second_look=look)
        self.classifier = classifier
        self.judge: Judge | None = None
        self.guarantee: Guarantee | None = None
        self.learned_contents: NDArray[np.uint64] = np.empty(0, np.uint64)
        self.notes: dict[str, Any] = {}
        self.weights: FittedWeights | None = None

    def choose(self, known: Any, counts: tuple[int, int] | None = None) -> ReadsChoice:
        """With `reads="auto"`, choose what to read by a sample of the known inputs; `fit` then compares nothing.

        Args:
            known: labelled inputs in the forms of `fit`, but no readings.
            counts: numbers of right and wrong predictions of all known inputs, if they are known; nothing is read if
                they are too few.

        Raises:
            InputError: if `reads` leaves no choice, or labels are missing or invalid.
        """
        if self.reads != AUTO:
            raise InputError(f"choose: reads={self.reads!r} leaves no choice; expected a TrustModel with reads='auto'")
        # `fit` changes the meter, which must go with the judge until then.
        self._given_choice = choose_reads(self._given_meter, labelled_batches(self._given_meter, known), counts)
        return self._given_choice

    def _reads_gradients(self, choice: ReadsChoice | None) -> bool:
        return self.reads != FORWARD if choice is None else choice.reads == GRADIENTS

    def meter_to_fit(self) -> GradientMeter:
        """Return a meter that reads all that `fit` may use; `meter` reads what the verdicts of the last fit need."""
        return self._meter_for(gradients=self._reads_gradients(self._given_choice))

    def _meter_for(
        self, *, gradients: bool, second_look: float = -inf, like: Activations | None = None
    ) -> GradientMeter:
        """Return a meter that reads what the meta classifier needs, and outputs of the same layers as earlier ones."""
        if self.learns_from_synthetic:
            meter = self._given_meter.for_trust_model(gradients, second_look)
            if like is not None and like.layers:
                meter.read_outputs_of(like.layers)
            return meter
        return self._given_meter if gradients else self._given_meter.for_trust_model(gradients=False, second_look=None)

    def fit(self, known: Any, unknowns: Sequence[Any] = (), *, synthetic: Iterable[Any] | None = None) -> Self:
        """Fit the meta classifier to validation data and to unknown inputs.

        "gradmeter" also learns from synthetic unknowns, which it makes from a sample of the known images: all kinds
        together are about as many as the known inputs (`gradmeter.trust.synthetic.per_kind`). Images are tensors, or
        the only value of a dict. No synthetic unknowns are made from other inputs or from readings.

        Args:
            known: labelled inputs that the network was not trained on, one of each patient or scene: a loader of
                batches (inputs, labels) or dicts with "labels"; a pair of tensors or arrays; or an Arrow table or
                pandas frame of readings with a column "label".
            unknowns: a list of data sets of unknown inputs, each in one of these forms; labels are optional and
                ignored. A batch of several inputs is a dict or ((a, b), None).
            synthetic: synthetic unknowns, in the form of `unknowns`, to use instead of those made here.

        Raises:
            InputError: if labels are missing, an input is both known and unknown, `unknowns` or `synthetic` is no list,
                or there are too few right or wrong predictions.
        """
        require_list(unknowns)
        require_kinds(synthetic)
        sample = ImageSample() if self.learns_from_synthetic and synthetic is None else None
        known_inputs = KnownInputs()
        known_data, labels, choice = self._read_known(known, [known_inputs, *([] if sample is None else [sample])])
        activations, embedding = known_data.readings.activations, known_data.readings.embedding
        _warn_of_doubts(known_data, labels)
        # The attributes change together at the end: after an error the model is as it was before.
        meter = self._meter_for(gradients=self._reads_gradients(choice), like=activations)
        unknown_data = [read_unknown(meter, unknown, known_inputs) for unknown in unknowns]
        require_disjoint(known_data, unknown_data)
        if self.learns_from_synthetic and activations is not None and not activations.layers and embedding is None:
            warn(
                "the outputs of the network's layers cannot be read, as in a traced or exported network, so unknown "
                "inputs are recognised worse; expected a network that is not traced, whose layers are modules"
            )
        if sample is not None:
            # Only known images need a second look.
            without_look = self._meter_for(gradients=meter.gradients, second_look=inf, like=activations)
            synthetic_readings = read_synthetic(without_look, sample.unknowns(next(meter.model.parameters()).device))
        else:
            synthetic_readings = [
                read_unknown(meter, kind, known_inputs).readings for kind in (() if synthetic is None else synthetic)
            ]
        training_data = (known_data, *unknown_data)
        judge = Judge.fit(
            known_data.readings,
            labels,
            [data.readings for data in unknown_data],
            self.classifier,
            synthetic_readings,
            np.concatenate([data.contents for data in training_data]),
        )
        # Hashes of the readings too, because `set_risk` may be given readings without the inputs.
        hashes = [hashes for data in training_data for hashes in (data.contents, reading_hashes(data.readings))]
        weights = FittedWeights(meter.model)
        if self.learns_from_synthetic:
            look = judge.classifier.second_look
            second_look = inf if look is None else look
            meter = self._meter_for(gradients=meter.gradients, second_look=second_look, like=activations)
        learned = np.unique(np.concatenate(hashes))
        # Without calls in between, other threads see all of the old state or all of the new one.
        self.judge, self.meter, self.guarantee = judge, meter, None
        self.learned_contents, self.choice, self.weights = learned, choice, weights
        return self

    def _read_known(self, known: Any, collectors: Sequence[Collector]) -> tuple[ReadData, Tensor, ReadsChoice | None]:
        """Read the known inputs; with `reads="auto"`, choose what to read on the way, unless `choose` has chosen."""
        if self.reads != AUTO or not self.learns_from_synthetic or self._given_choice is not None:
            return *read_known(self.meter_to_fit(), known, *collectors), self._given_choice
        with_gradients, forward = (self._meter_for(gradients=gradients) for gradients in (True, False))
        # A generator can be read only once, so read everything.
        once, pilot = isinstance(known, Iterator), Pilot()
        meter, earlier = with_gradients if once else forward, (with_gradients, forward)
        data, labels = read_known(meter, known, *collectors, pilot, earlier=earlier)
        if len(pilot):
            choice = choose_reads(self._given_meter, pilot.batches(), right_and_wrong(data.readings, labels))
            if choice.reads == GRADIENTS and not once:
                data, labels = read_known(with_gradients, known)
        elif data.readings.layers:
            rows, _ = distinct_rows(data.contents, labels.cpu().numpy())
            choice = choose_by_readings(data.readings.rows(rows), labels[rows], {})
        else:
            choice = ReadsChoice(FORWARD, "the readings have no gradients")
        return data if choice.reads == GRADIENTS else data.without_gradients(), labels, choice

    def predict_proba(self, inputs: Any) -> Tensor:
        """Return P(the prediction is correct), [N] float64.

        `judge.meaning` says for which inputs it is a probability.

        Args:
            inputs: inputs as the meter takes them, NumPy arrays, or readings.

        Raises:
            GradmeterError: before `fit`.
        """
        judge, meter, _ = self._at_once()
        self._watch(inputs)
        return torch.from_numpy(judge.probability(read_inputs(meter, inputs)))

    def set_risk(
        self,
        risk: float,
        known: Any,
        unknowns: Sequence[Any] = (),
        *,
        confidence: float = CONFIDENCE,
        least_probability: float = LEAST_PROBABILITY,
        coverage_tolerance: float = COVERAGE_TOLERANCE,
        score: str = P_CORRECT,
        recurring: bool = False,
    ) -> Guarantee:
        """Choose a threshold such that at most the share `risk` of the accepted predictions is wrong.

        The guarantee holds with probability `confidence` over the draw of these data, for inputs from the same
        distribution, and also if fewer of them are unknown inputs of some kind. Among the thresholds for which it
        holds, the strictest one whose coverage is within the share `coverage_tolerance` of the largest is chosen, so
        that other kinds of unknown inputs are not accepted needlessly. For the same reason, "gradmeter" accepts no
        input that looks less known than all but one in a thousand of the known inputs. Copies of an input count as one.

        Where inputs recur, as short texts do, some of the data are inputs that `fit` has seen, and the guarantee must
        hold with them, too: without them it would be for other inputs only. With `recurring=True` it is tested with and
        without them.

        Args:
            risk: largest error rate among accepted inputs.
            known: labelled inputs, as in `fit`, that neither the network nor, unless they recur, `fit` has seen.
            unknowns: unknown inputs, one data set for each kind, in the largest share in which it is expected.
            confidence: probability that the guarantee holds.
            least_probability: smallest value of the score that is accepted.
            coverage_tolerance: share of the largest coverage that may be given up for a stricter threshold.
            score: the probability to put the threshold on: "p_correct", or "p_known" or "p_correct_if_known" of the
                default meta classifier. The guarantee is the same; it is about wrong predictions and unknown inputs.
            recurring: whether the data may contain inputs that `fit` has seen, because inputs recur. They must be drawn
                independently of those of `fit`.

        Returns:
            The guarantee and its coverage, which count inputs that `fit` has not seen.

        Raises:
            RiskNotControlled: if no threshold can guarantee the risk.
            InputError: if `fit` has seen an input (same content or same readings) and `recurring` is False, an input is
                both known and unknown, or the meta classifier does not give `score`.
            GradmeterError: before `fit`.
        """
        judge, meter, _ = self._at_once()
        require_rates(risk, confidence, least_probability, coverage_tolerance)
        require_list(unknowns)
        self._watch(known)
        thresholds = candidates(judge.held_out.score(score), least_probability)
        known_inputs = KnownInputs()
        known_data, labels = read_known(meter, known, known_inputs)
        unknown_data = [read_unknown(meter, unknown, known_inputs) for unknown in unknowns]
        require_disjoint(known_data, unknown_data)
        parts = [known_data, *unknown_data]
        seen = [self._seen(part) for part in parts]
        if not recurring:
            _require_new(seen)
        readings = Readings.concatenate([part.readings for part in parts])
        known_correct = (known_data.readings.predictions.cpu() == labels).numpy()
        guarantee = control_risk(
            judge.judge(readings).score(score),
            np.concatenate([known_correct, np.zeros(len(readings) - len(known_correct), np.bool_)]),
            risk,
            thresholds,
            contents=np.concatenate([part.contents for part in parts]),
            seen=np.concatenate(seen),
            confidence=confidence,
            coverage_tolerance=coverage_tolerance,
        )
        # Tested with and without inputs that `fit` has seen; what holds for both shares is proven for the smaller one.
        new = [part.contents[~mask] for part, mask in zip(parts, seen, strict=True)]
        every = [part.contents for part in parts]
        share, *shares = map(min, _shares(new), _shares(every))
        guarantee = replace(guarantee, unknown_share=share, unknown_shares=tuple(shares), score=score)
        if self.judge is not judge:
            raise GradmeterError(
                "fit ran during set_risk, so the guarantee would be another judge's; call set_risk again"
            )
        self.guarantee = guarantee
        return guarantee

    def accept(self, inputs: Any) -> Tensor:
        """Return whether each prediction is accepted under the guarantee of `set_risk`, [N] bool.

        Raises:
            GradmeterError: before `set_risk`.
        """
        judge, meter, guarantee = self._at_once()
        if guarantee is None:
            raise GradmeterError("the TrustModel has no risk guarantee; call set_risk(risk, loader) first")
        self._watch(inputs)
        judgement = judge.judge(read_inputs(meter, inputs))
        return torch.from_numpy(_accepted(judgement, guarantee))

    def verdicts(self, inputs: Any) -> pa.Table:
        """Return one row for each input.

        Args:
            inputs: as in `predict_proba`.

        Returns:
            An Arrow table with the columns of `VERDICT_COLUMNS`, after a column "id" if the inputs are a table or frame
            of readings that has one: "prediction", its "probability" by the softmax,
            "p_known", "p_correct_if_known", "p_correct", "accepted", and "reason" why a prediction is not accepted:
            "unfamiliar: " and up to three layers in which the input is farthest from known ones, if a low P(known) is
            the main cause; else "doubtful". "accepted" and "reason" are null if there is no risk guarantee, "p_known"
            and "p_correct_if_known" if the meta classifier does not tell known from unknown inputs.

        Raises:
            GradmeterError: before `fit`.
        """
        judge, meter, guarantee = self._at_once()
        self._watch(inputs)
        readings = read_inputs(meter, inputs)
        judgement = judge.judge(readings)
        accepted = None if guarantee is None else _accepted(judgement, guarantee)
        columns = {
            "prediction": readings.predictions.cpu().numpy(),
            "probability": max_softmax(readings.logits),
            P_KNOWN: judgement.p_known,
            P_CORRECT_IF_KNOWN: judgement.p_correct_if_known,
            P_CORRECT: judgement.p_correct,
            "accepted": accepted,
            "reason": None
            if accepted is None or guarantee is None
            else judge.reasons(readings, judgement, accepted, guarantee.score),
        }
        ids = identifiers(inputs)
        return pa.table(
            {
                **({} if ids is None else {"id": ids}),
                **{
                    name: pa.nulls(len(readings), VERDICT_COLUMNS[name])
                    if values is None
                    else pa.array(values, VERDICT_COLUMNS[name])
                    for name, values in columns.items()
                },
            }
        )

    def layer_values(self, inputs: Any) -> list[LayerValues]:
        """Return how far each layer is from what it shows for right predictions.

        Args:
            inputs: as in `predict_proba`.

        Returns:
            One entry for each measure that this TrustModel reads: "gradient", log10 of the Euclidean norm of the
            layer's gradient for the prediction, and "distance", log10 of the distance of the layer's output from those
            of known inputs; each beside the quantiles of the right validation predictions.

        Raises:
            GradmeterError: before `fit`.
        """
        judge, meter, _ = self._at_once()
        self._watch(inputs)
        return judge.layer_values(read_inputs(meter, inputs))

    def learned_from(self, contents: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Return whether `fit` has seen inputs with these content hashes (`gradmeter.reading.content`), [N] bool."""
        return np.isin(contents, self.learned_contents)

    def save(self, folder: Path | str) -> None:
        """Save to a folder atomically, as JSON and a skops file; nothing is pickled.

        Raises:
            OutputError: if the folder holds something else, or cannot be written.
            InputError: if `notes` are not JSON values.
            GradmeterError: before `fit`, if the network's weights changed after it, if a pseudo-label or probe is a
                function, or if the meta classifier could not be loaded again.
        """
        judge, meter, guarantee = self._at_once()
        assert self.weights is not None
        fitted = saving.Saved(meter, judge, self.learned_contents, guarantee, self.notes, self.choice, self.weights)
        saving.save(Path(folder), fitted)

    @classmethod
    def load(cls, folder: Path | str, model: nn.Module, *, trusted: Sequence[str] = ()) -> TrustModel:
        """Load a saved TrustModel for the same network.

        Args:
            folder: the folder that `save` wrote.
            model: the network, with the same weights.
            trusted: full names of further types that the meta classifier may contain, beyond those of scikit-learn and
                gradmeter.

        Raises:
            DataError: if the folder is incomplete, was changed, contains types that are not trusted, or belongs to
                another network.
            InputError: if `model` is no network.
        """
        loaded = saving.load(folder, model, trusted)
        trust = cls(loaded.meter, loaded.judge.classifier, reads=GRADIENTS if loaded.meter.gradients else FORWARD)
        trust.judge, trust.guarantee, trust.learned_contents = loaded.judge, loaded.guarantee, loaded.learned_contents
        trust.notes, trust.choice, trust.weights = loaded.notes, loaded.choice, loaded.weights
        return trust

    def fingerprint(self) -> str:
        """Return a hash of the fitted model.

        Raises:
            GradmeterError: before `fit`.
        """
        judge, _, _ = self._at_once()
        digest = hashlib.sha256(" ".join(map(str, judge.features.axes.features)).encode())
        digest.update(judge.held_out.p_correct.tobytes())
        return digest.hexdigest()

    def _seen(self, data: ReadData) -> NDArray[np.bool_]:
        """Whether `fit` has seen the inputs, or others with the same readings, [N] bool."""
        return self.learned_from(data.contents) | self.learned_from(reading_hashes(data.readings))

    def _watch(self, inputs: Any) -> None:
        """Warn if the network that would read the inputs has other weights than in `fit`."""
        if self.weights is not None and not are_readings(inputs) and self.weights.have_changed(self.meter.model):
            warn(CHANGED)

    def _at_once(self) -> tuple[Judge, GradientMeter, Guarantee | None]:
        """Return the judge with the meter and the guarantee that belong to it, also if another thread fits meanwhile.

        Raises:
            GradmeterError: before `fit`.
        """
        judge, meter, guarantee = self.judge, self.meter, self.guarantee
        if judge is None:
            raise GradmeterError("the TrustModel is not fitted; call fit(validation_loader) first")
        return judge, meter, guarantee


def _warn_of_doubts(known: ReadData, labels: Tensor) -> None:
    """Warn if the known inputs, exact copies aside, may not show how often the network is right on new ones."""
    numbers, readings = labels.numpy(), known.readings
    rows, _ = distinct_rows(known.contents, numbers)
    if conflicts := len(rows) - len(np.unique(known.contents)):
        warn(f"{conflicts:,} of the known inputs occur again with another label; at most one of their labels is right")
    outputs = None if readings.activations is None else readings.activations.values.flatten(1).cpu().numpy()[rows]
    predictions, classes = readings.predictions.cpu().numpy()[rows], readings.logits.shape[1]
    labelled = predictions, numbers[rows]
    for doubt in (*absent_doubts(*labelled, classes), *doubts(*labelled, outputs)):
        warn(doubt)


def _require_new(seen: Sequence[NDArray[np.bool_]]) -> None:
    """Check that `fit` has not seen the data.

    Raises:
        InputError: if it has.
    """
    count, seen_count = sum(map(len, seen)), sum(int(part.sum()) for part in seen)
    if seen_count:
        raise InputError(
            f"fit has seen {seen_count:,} of these {count:,} inputs, or inputs with the same readings; expected new "
            "inputs: remove those for which learned_from(content_hashes(inputs, network)) or "
            "learned_from(reading_hashes(readings)) is true, with both functions of gradmeter.reading.content; or, if "
            "inputs recur as short texts do, give recurring=True and data that were drawn independently of those of fit"
        )


def _shares(contents: Sequence[NDArray[np.uint64]]) -> Iterator[float]:
    """Iterate over the shares of all unknown inputs, and of those of each set, given the known ones' contents first."""
    known, *unknown = contents
    yield _share(known, np.concatenate([np.empty(0, np.uint64), *unknown]))
    for others in _without_earlier(unknown):
        yield _share(known, others)


def _share(known: NDArray[np.uint64], unknown: NDArray[np.uint64]) -> float:
    """Return the share of unknown inputs for which a guarantee is proven, from the contents of the tested inputs.

    It was tested with all inputs and with the distinct ones; what holds for both shares is proven for the smaller one.
    """
    distinct_known, distinct_unknown = np.unique(known), np.unique(unknown)
    return min(
        len(unknown) / (len(known) + len(unknown)),
        len(distinct_unknown) / (len(distinct_known) + len(distinct_unknown)),
    )


def _without_earlier(sets: Sequence[NDArray[np.uint64]]) -> Iterator[NDArray[np.uint64]]:
    """Iterate over the contents of sets without those that an earlier set has, so that each counts for one set."""
    earlier = np.empty(0, np.uint64)
    for contents in sets:
        yield contents[~np.isin(contents, earlier)]
        earlier = np.union1d(earlier, contents)


def _accepted(judgement: Judgement, guarantee: Guarantee) -> NDArray[np.bool_]:
    """Return whether predictions are accepted, [N]."""
    return judgement.score(guarantee.score) >= guarantee.threshold
