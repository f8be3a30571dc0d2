"""The cost of a verdict, P(correct) of a TrustModel, and of its steps, compared with a forward pass."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.reading.meter import GradientMeter
from gradmeter.reading.probes.mirror import MIRROR
from gradmeter.research.speed_benchmark.methods import METHODS, Method, Prepared, Run, predicted_loss
from gradmeter.research.speed_benchmark.models import MODELS, Model
from gradmeter.research.speed_benchmark.options import BenchOptions
from gradmeter.research.speed_benchmark.results import SpeedResults
from gradmeter.research.speed_benchmark.timing import take_turns
from gradmeter.trust.model import TrustModel
from gradmeter.trust.reads import FORWARD, GRADIENTS

BATCHES = {"resnet56": (1, 64), "paper-cnn": (1, 64), "resnet18": (1, 8), "vit-tiny": (1, 8)}
"""Batch sizes that verdicts are timed with, by the name of a network, where `--models` includes it."""

KNOWN_INPUTS = 400
"""Number of random inputs that the TrustModel is fitted to."""

REFERENCE = "forward"
"""The step that times are divided by."""

TWO_BACKWARDS = "two-backwards"
"""The step that the target of verdicts with gradients refers to: they read two pseudo-labels."""

FORWARD_TARGETS = {1: 3.0}
"""Largest ratio of a verdict by the forward pass to that pass, by batch size, where it is not `FORWARD_TARGET`."""

FORWARD_TARGET = 1.5

GRADIENTS_TARGET = 1.2
"""Largest ratio of a verdict with gradients to a forward and two backward passes."""

THREADS = 1

_VERDICT = "verdict"
_FORWARD_VERDICT = "forward-verdict"
_PART = "verdicts"  # key in results.json
_FIT_SEED = 1
_SETTLING = 64  # random inputs that the running statistics of BatchNorm are computed from
# Every tenth label differs from the prediction, so that the meta classifier has wrong predictions to learn from.
_WRONG_EVERY = 10
# Steps that take less time are called repeatedly and averaged, since the time of a single short call is noisy.
_MEASURED_SECONDS = 0.02
_MOST_CALLS = 100


class JudgedNetwork:
    """A network with random weights, and a TrustModel fitted to it.

    Args:
        model: the network to build.

    Attributes:
        model: as given.
        network: in eval mode; its predictions are spread over all classes.
        known: random inputs and their labels, for `fit`.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        self.network, _ = replace(model, batch=_SETTLING).build()
        inputs = model.inputs(KNOWN_INPUTS, seed=_FIT_SEED)
        with torch.no_grad():
            logits = self.network(inputs)
            _last_bias(self.network).sub_(logits.mean(0))
            labels = (logits - logits.mean(0)).argmax(1)
        labels[::_WRONG_EVERY] = (labels[::_WRONG_EVERY] + 1) % logits.shape[1]
        self.known = inputs, labels

    @cached_property
    def trust(self) -> TrustModel:
        """The default TrustModel, fitted to the known inputs and to synthetic unknowns made from them."""
        return TrustModel(GradientMeter(self.network), reads=GRADIENTS).fit(self.known)

    @cached_property
    def forward_trust(self) -> TrustModel:
        """A TrustModel that reads only the forward pass, fitted to the same inputs."""
        return TrustModel(GradientMeter(self.network), reads=FORWARD).fit(self.known)


def _last_bias(network: nn.Module) -> Tensor:
    *_, last = (module for module in network.modules() if isinstance(module, nn.Linear))
    return last.bias


@dataclass(frozen=True)
class VerdictStep:
    """A step of a verdict, or a pass to compare it with.

    Attributes:
        title: name on the page.
        prepare: maps a network and the inputs to the function that is timed.
    """

    title: str
    prepare: Callable[[JudgedNetwork, Tensor], Run]


def _method(name: str) -> Callable[[JudgedNetwork, Tensor], Run]:
    return lambda judged, inputs: METHODS[name].prepare(judged.network, inputs).run


def _two_backwards(judged: JudgedNetwork, inputs: Tensor) -> Run:
    def run(batch: Tensor) -> None:
        judged.network.zero_grad()
        logits = judged.network(batch)
        predicted_loss(logits).backward(retain_graph=True)
        (-logits.log_softmax(1).mean(1)).sum().backward()

    return run


def _trust_meter(judged: JudgedNetwork, inputs: Tensor) -> Run:
    meter = GradientMeter(judged.network).for_trust_model(second_look=math.inf)
    return lambda batch: meter(batch)["all", "l2"]


def _heads(judged: JudgedNetwork, inputs: Tensor) -> Run:
    trust = judged.trust
    readings = trust.meter(inputs)
    return lambda batch: trust.predict_proba(readings)


def _verdict(judged: JudgedNetwork, inputs: Tensor) -> Run:
    return judged.trust.predict_proba


def _forward_meter(judged: JudgedNetwork, inputs: Tensor) -> Run:
    meter = GradientMeter(judged.network).for_trust_model(gradients=False, second_look=math.inf)
    return lambda batch: meter(batch).log_scale


def _second_look(judged: JudgedNetwork, inputs: Tensor) -> Run:
    """Read the forward pass, and the mirror images of 30 % of these inputs."""
    once = GradientMeter(judged.network).for_trust_model(gradients=False, second_look=math.inf)
    doubts = once(inputs).scores[MIRROR]
    above = float(doubts.sort().values[-1 - 3 * len(doubts) // 10]) if len(doubts) >= 4 else -math.inf
    meter = once.for_trust_model(gradients=False, second_look=above)
    return lambda batch: meter(batch).log_scale


def _forward_verdict(judged: JudgedNetwork, inputs: Tensor) -> Run:
    return judged.forward_trust.predict_proba


STEPS: dict[str, VerdictStep] = {
    "forward": VerdictStep("forward pass", _method("forward")),
    "forward-backward": VerdictStep("forward + backward pass (T0)", _method("plain")),
    TWO_BACKWARDS: VerdictStep("forward + two backward passes", _two_backwards),
    "meter": VerdictStep("GradientMeter (predicted)", _method("gradmeter")),
    "trust-meter": VerdictStep("GradientMeter of a TrustModel", _trust_meter),
    "heads": VerdictStep("features and heads (readings to P(correct))", _heads),
    _VERDICT: VerdictStep("TrustModel.predict_proba (the whole verdict)", _verdict),
    "forward-meter": VerdictStep('meter of `TrustModel(reads="forward")`', _forward_meter),
    "second-look": VerdictStep("the same, with a second look at 30 % of the inputs (at a single one)", _second_look),
    _FORWARD_VERDICT: VerdictStep('`TrustModel(reads="forward")`, the whole verdict', _forward_verdict),
}
"""Steps by their name in results.json, in the order of the page."""


def timed_networks(options: BenchOptions) -> tuple[str, ...]:
    """Names of the networks of a benchmark on which verdicts are timed; none unless gradmeter is measured."""
    return tuple(name for name in BATCHES if name in options.models) if "gradmeter" in options.methods else ()


def are_missing(results: SpeedResults) -> bool:
    """Return whether verdicts are still to be timed on some network with some batch size."""
    return any(_missing_batches(results, name) for name in timed_networks(results.options))


def were_measured(results: SpeedResults) -> bool:
    """Return whether verdicts are part of the benchmark and all of them were timed."""
    return bool(timed_networks(results.options)) and not are_missing(results)


def measure_verdicts(results: SpeedResults, on_step: Callable[[str], None], advance: Callable[[], None]) -> None:
    """Time verdicts on every network with every batch size, except where the results hold the times already.

    Args:
        results: what was measured so far; written after each batch size.
        on_step: called with a note before each step.
        advance: called after each batch size.
    """
    for name in timed_networks(results.options):
        missing = _missing_batches(results, name)
        judged = JudgedNetwork(MODELS[name]) if missing else None
        for batch in BATCHES[name]:
            if judged is not None and batch in missing:
                times = _time_steps(judged, batch, results.options.repeats, on_step)
                _timings(results).setdefault(name, {})[str(batch)] = times
                results.write()
            advance()


@dataclass(frozen=True)
class VerdictRow:
    """Times of one step with one batch size, for the page.

    Attributes:
        milliseconds: median time; None if the step failed.
        ratio: median ratio to the forward pass of the same round; None if one of them failed.
        error: the error in one line; None if the step did not fail.
    """

    milliseconds: float | None
    ratio: float | None
    error: str | None


@dataclass(frozen=True)
class Target:
    """A target for the cost of a verdict.

    Attributes:
        name: the network.
        batch: the batch size.
        step: the step that it is about.
        reference: the step whose time the step's is divided by.
        largest: the largest ratio that meets the target.
        ratio: the median ratio; None if one of the steps failed.
    """

    name: str
    batch: int
    step: str
    reference: str
    largest: float
    ratio: float | None


def targets(results: SpeedResults) -> list[Target]:
    """The targets of all networks and batch sizes, with what was reached."""
    return [
        Target(name, batch, step, reference, largest, _ratio(timings[step], timings[reference]))
        for name in timed_networks(results.options)
        for batch in BATCHES[name]
        for timings in [_timings(results)[name][str(batch)]]
        for step, reference, largest in (
            (_FORWARD_VERDICT, REFERENCE, FORWARD_TARGETS.get(batch, FORWARD_TARGET)),
            (_VERDICT, TWO_BACKWARDS, GRADIENTS_TARGET),
        )
    ]


def verdict_rows(results: SpeedResults, name: str, batch: int) -> dict[str, VerdictRow]:
    """The times of all steps on one network with one batch size, by the name of the step."""
    timings = _timings(results)[name][str(batch)]
    return {step: _row(timings[step], timings[REFERENCE]) for step in STEPS}


def _row(timing: dict[str, Any], reference: dict[str, Any]) -> VerdictRow:
    if timing["error"] is not None:
        return VerdictRow(None, None, timing["error"])
    return VerdictRow(1e3 * median(timing["seconds"]), _ratio(timing, reference), None)


def _ratio(timing: dict[str, Any], reference: dict[str, Any]) -> float | None:
    """The median of the ratios of the same round; None if one of the two steps failed."""
    if timing["error"] is not None or reference["error"] is not None:
        return None
    ratio: float = median(s / r for s, r in zip(timing["seconds"], reference["seconds"], strict=True))
    return ratio


def _missing_batches(results: SpeedResults, name: str) -> list[int]:
    timings = _timings(results).get(name, {})
    return [batch for batch in BATCHES[name] if not STEPS.keys() <= timings.get(str(batch), {}).keys()]


def _timings(results: SpeedResults) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
    """The `Timing` of every step as a dict, by network and batch size, as results.json holds it."""
    timings: dict[str, dict[str, dict[str, dict[str, Any]]]] = results.content.setdefault(_PART, {})
    return timings


def _time_steps(
    judged: JudgedNetwork, batch: int, repeats: int, on_step: Callable[[str], None]
) -> dict[str, dict[str, Any]]:
    """Time all steps with one batch size; they take turns."""
    methods = {name: Method(step.title, "verdict", partial(_prepare, step, judged), "") for name, step in STEPS.items()}
    title = f"{judged.model.title}, verdicts, batch of {batch}"
    times = take_turns(
        replace(judged.model, batch=batch),
        methods,
        dict.fromkeys(methods, repeats),
        THREADS,
        lambda method: on_step(f"{title}: {method}"),
    )
    return {name: asdict(timing) for name, timing in times.items()}


def _prepare(step: VerdictStep, judged: JudgedNetwork, network: nn.Module, inputs: Tensor) -> Prepared:
    """Prepare a step on the judged network, which all steps share; `network`, the copy of `take_turns`, is not used."""
    run = step.prepare(judged, inputs)
    run(inputs)
    start = time.perf_counter()
    run(inputs)
    seconds = max(time.perf_counter() - start, 1e-9)
    return Prepared(run, calls=min(_MOST_CALLS, math.ceil(_MEASURED_SECONDS / seconds)))
