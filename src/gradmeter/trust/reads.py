"""What a TrustModel reads: the forward pass only, or gradients too; and a comparison of both on held-out halves."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedKFold
from torch import Tensor

from gradmeter.errors import GradmeterError, is_out_of_memory, one_line
from gradmeter.reading.content import content_hashes
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.network import NotFinite
from gradmeter.reading.readings import Readings
from gradmeter.stages import stage
from gradmeter.trust.candidates import FEW
from gradmeter.trust.data import require_classes
from gradmeter.trust.evaluation.comparison import ALL, WRONG, Judged, compare
from gradmeter.trust.evaluation.resampling import Interval
from gradmeter.trust.features import GRADIENTS as GRADIENT_FEATURES
from gradmeter.trust.features import FeatureBlock
from gradmeter.trust.log_features import LogFeatures
from gradmeter.trust.meta_classifier import CORRECT, UNKNOWN
from gradmeter.trust.one_thread import one_thread
from gradmeter.trust.synthetic import synthetic_unknowns
from gradmeter.trust.two_heads import LEAST_KNOWN, TwoHeads

AUTO, FORWARD, GRADIENTS = "auto", "forward", "gradients"
READS = (AUTO, FORWARD, GRADIENTS)
"""What a TrustModel can read; "auto" is one of the other two, chosen by `fit`."""

PILOT = 1000
"""Largest number of known inputs in the comparison."""
_PER_KIND = 40
# Each half needs enough for the judge to learn from.
_LEAST_RIGHT, _LEAST_WRONG = 2 * LEAST_KNOWN, 2 * FEW
PILOT_BATCH = 64
"""Number of inputs that are read together."""
_REPETITIONS = 200
# Reading the pilot stops after this many seconds; what was read until then is compared.
_SECONDS = 120.0
# Inputs that are read before the time is taken.
_WARM_UP = 2
# Largest memory of the pilot's inputs.
_BYTES = 2**28


@dataclass(frozen=True)
class Gain:
    """What gradients add to the forward pass, for one group of inputs.

    Attributes:
        group: "wrong" for wrong predictions, a kind of synthetic unknowns, or "wrong or unknown" for all of them.
        forward: AUROC of P(correct) between the group and right predictions, without gradients.
        gradients: the same with gradients.
        difference: their difference, with a 95 % interval.
    """

    group: str
    forward: float
    gradients: float
    difference: Interval


@dataclass(frozen=True)
class ReadsChoice:
    """What a TrustModel reads, and why.

    Attributes:
        reads: "forward" or "gradients".
        reason: one sentence.
        known: number of known inputs in the comparison; 0 if there was none.
        gains: what gradients add, for each group.
        seconds: time to read an input without and with gradients.
    """

    reads: str
    reason: str
    known: int = 0
    gains: tuple[Gain, ...] = ()
    seconds: tuple[float, float] = (0.0, 0.0)


class Pilot:
    """A uniform random sample of labelled inputs of any kind (Vitter 1985, algorithm R)."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._seen = 0
        self._kept: list[tuple[Inputs, int]] = []

    def add(self, inputs: Any, labels: Tensor) -> None:
        """Add a batch of inputs, as the meter takes them, with classes [N]."""
        batch = Inputs.of(inputs)
        size = sum(tensor.nbytes for tensor in batch.tensors) // batch.samples
        capacity = max(1, min(PILOT, _BYTES // max(1, size)))
        for row, label in enumerate(labels.tolist()):
            self._seen += 1
            index = len(self._kept) if len(self._kept) < capacity else int(self._random.integers(self._seen))
            if index < capacity:
                kept = batch.rows([row]).map(lambda tensor: tensor.cpu()), label
                self._kept[index : index + 1] = [kept]

    def __len__(self) -> int:
        """The number of inputs in the sample."""
        return len(self._kept)

    def batches(self) -> Iterator[tuple[Inputs, Tensor]]:
        """Iterate over batches of inputs of equal shapes and their classes; a copy of an input counts once."""
        groups: dict[Any, list[tuple[Inputs, int]]] = {}
        distinct: dict[int, tuple[Inputs, int]] = {}
        for inputs, label in self._kept:
            distinct.setdefault(int(content_hashes(inputs)[0]), (inputs, label))
        for inputs, label in distinct.values():
            groups.setdefault((inputs.shapes, inputs.options), []).append((inputs, label))
        for group in groups.values():
            for start in range(0, len(group), PILOT_BATCH):
                rows, labels = zip(*group[start : start + PILOT_BATCH], strict=True)
                yield _joined(rows), torch.tensor(labels, device="cpu")


def choose_reads(
    meter: GradientMeter, batches: Iterable[tuple[Any, Tensor]], counts: tuple[int, int] | None = None
) -> ReadsChoice:
    """Compare a judge that reads the forward pass with one that reads gradients, too, and choose.

    Gradients are chosen if they separate wrong predictions, or these together with synthetic unknowns, better: if the
    interval of the difference lies above 0 for one of both, and below 0 for none.

    Args:
        meter: a meter of the network.
        batches: a sample of the known inputs, as a meter takes them, and their classes.
        counts: numbers of right and wrong predictions of all known inputs, if they are known; nothing is read if they
            are too few.
    """
    if counts is not None and (undecided := _undecided(*counts)) is not None:
        return undecided
    with_gradients, forward = meter.for_trust_model(), meter.for_trust_model(gradients=False, second_look=inf)
    device = next(meter.model.parameters()).device
    parts: list[Readings] = []
    labels: list[Tensor] = []
    first, seconds = None, [0.0, 0.0]
    with stage("comparing what to read") as advance:
        for inputs, classes in batches:
            batch = Inputs.of(inputs).map(lambda tensor: tensor.to(device))
            first = first or (batch, classes)
            try:
                if not parts:
                    # The plan that a meter makes of a network is not part of the time.
                    for one in (forward, with_gradients):
                        one(batch.rows(slice(0, _WARM_UP)))
                for index, one in enumerate((forward, with_gradients)):
                    started = time.perf_counter()
                    readings = one(batch)
                    seconds[index] += time.perf_counter() - started
            except NotFinite:  # such samples are reported elsewhere
                continue
            # PyTorch's own: an operation has no backward pass, or there is too little memory for it.
            except (GradmeterError, RuntimeError) as error:
                return ReadsChoice(FORWARD, f"gradients cannot be read: {one_line(error)}")
            require_classes(classes, readings)
            parts.append(readings)
            labels.append(classes)
            advance(len(classes))
            if sum(seconds) > _SECONDS:
                break
        if first is None or not parts:
            return ReadsChoice(FORWARD, "there are no inputs to read gradients of")
        known, truth = Readings.concatenate(parts), torch.cat(labels)
        are_enough = _undecided(*right_and_wrong(known, truth)) is None
        synthetic = _synthetic(with_gradients, *first) if are_enough else {}
        choice = choose_by_readings(known, truth, synthetic)
    # The second look, a further forward pass, is the same with and without gradients.
    per_input = (seconds[0] / len(known), max(seconds[1] - seconds[0], seconds[0]) / len(known))
    cost = f"reading an input takes {1e3 * per_input[1]:.3g} ms with gradients, {1e3 * per_input[0]:.3g} ms without"
    if sum(seconds) > _SECONDS:
        cost += f"; the comparison read {len(known):,} in {_SECONDS:.0f} seconds"
    return replace(choice, reason=f"{choice.reason}; {cost}", seconds=per_input)


def choose_by_readings(known: Readings, labels: Tensor, synthetic: dict[str, Readings]) -> ReadsChoice:
    """Choose as `choose_reads` does, by earlier readings; at most `PILOT` of the known inputs are compared.

    Args:
        known: readings, with gradients, of known inputs.
        labels: [N] their classes.
        synthetic: readings of synthetic unknowns, by kind.
    """
    rows = np.sort(np.random.default_rng(0).permutation(len(known))[:PILOT])
    known, labels = known.rows(rows), labels[torch.from_numpy(rows)]
    if (undecided := _undecided(*right_and_wrong(known, labels))) is not None:
        return undecided
    gains = compare_readings(known, labels, synthetic)
    deciding = {gain.group: gain.difference for gain in gains if gain.group in (WRONG, ALL)}
    pays = any(gain.low > 0 for gain in deciding.values()) and not any(gain.high < 0 for gain in deciding.values())
    changes = (
        f"{100 * gain.value:+.2f} [{100 * gain.low:+.2f}, {100 * gain.high:+.2f}] points for {group}"
        for group, gain in deciding.items()
    )
    reason = f"on held-out halves gradients change the AUROC by {', '.join(changes)}"
    return ReadsChoice(GRADIENTS if pays else FORWARD, reason, len(known), gains)


def right_and_wrong(known: Readings, labels: Tensor) -> tuple[int, int]:
    """Count right and wrong predictions."""
    right = int((known.predictions.cpu() == labels.cpu()).sum())
    return right, len(known) - right


def _undecided(right: int, wrong: int) -> ReadsChoice | None:
    """Choose the forward pass if so few right or wrong predictions cannot show what gradients add."""
    if right >= _LEAST_RIGHT and wrong >= _LEAST_WRONG:
        return None
    few, count = ("right", right) if right < _LEAST_RIGHT else ("wrong", wrong)
    reason = f"{count:,} of {right + wrong:,} predictions are {few}, too few to show whether gradients help"
    return ReadsChoice(FORWARD, reason)


def compare_readings(known: Readings, labels: Tensor, synthetic: dict[str, Readings]) -> tuple[Gain, ...]:
    """Return what gradients add to the forward pass, by held-out P(correct) of judges with and without them.

    Args:
        known: readings, with gradients, of known inputs.
        labels: [N] their classes.
        synthetic: readings of synthetic unknowns, by kind.
    """
    readings = Readings.concatenate([known, *synthetic.values()])
    block = LogFeatures.everything(readings).block(readings)
    correct = (known.predictions.cpu() == labels.cpu()).numpy()
    kinds = np.repeat(np.arange(len(synthetic)), [len(kind) for kind in synthetic.values()])
    target = np.concatenate([correct.astype(np.int64), UNKNOWN + kinds])
    forward = block.columns(block.axes.where(lambda feature: feature.source != GRADIENT_FEATURES))
    scores = {name: -_held_out(part, target) for name, part in ((GRADIENTS, block), (FORWARD, forward))}
    concept = np.concatenate([np.zeros(len(known), np.int64), 1 + kinds])
    judged = Judged(target == CORRECT, concept, tuple(synthetic), scores, {})
    comparison = compare(judged, repetitions=_REPETITIONS)
    return tuple(
        Gain(
            group,
            comparison.estimates["auroc", group, FORWARD].value,
            comparison.estimates["auroc", group, GRADIENTS].value,
            comparison.differences["auroc", group, FORWARD],
        )
        for group in judged.columns()
    )


def _held_out(block: FeatureBlock, target: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return P(correct) [n]: that of each half by a judge that was fitted to the other half."""
    p_correct = np.empty(len(target))
    halves = StratifiedKFold(2, shuffle=True, random_state=0)
    with one_thread():
        for train, test in halves.split(target, target):
            heads = TwoHeads().fit(block.rows(train), target[train])
            p_correct[test] = heads.judge(block.rows(test)).p_correct
    return p_correct


def _synthetic(meter: GradientMeter, inputs: Inputs, labels: Tensor) -> dict[str, Readings]:
    """Return readings of synthetic unknowns by kind; none if the inputs are no images."""
    tensors = inputs.tensors
    if len(tensors) != 1 or tensors[0].dim() != 4 or not tensors[0].is_floating_point() or len(labels) < 2:
        return {}
    images, kinds = tensors[0][:_PER_KIND], {}
    for kind, unknowns in synthetic_unknowns(images.cpu(), labels[:_PER_KIND]).items():
        try:
            kinds[kind] = meter(inputs.replaced(unknowns.to(tensors[0].device)))
        except Exception as error:  # the network, whose code may raise anything, has no finite answer for such images
            if is_out_of_memory(error):  # what is read must not depend on the free memory
                raise
            continue
    return kinds


def _joined(rows: Sequence[Inputs]) -> Inputs:
    """Stack inputs of equal shapes and options."""
    return rows[0].replaced(*map(torch.cat, zip(*(inputs.tensors for inputs in rows), strict=True)))
