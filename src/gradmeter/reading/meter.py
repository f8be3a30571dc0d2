"""GradientMeter: one forward, one backward, the statistics of every layer's gradient for every sample."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from gradmeter.errors import InputError, ProbabilitiesWarning, SlowLayerWarning, UnsupportedModelError
from gradmeter.reading.activations import Activations
from gradmeter.reading.allocator import keep_freed_memory
from gradmeter.reading.capture import (
    TOLD_APART,
    TRANSPOSED,
    Call,
    Graph,
    Plan,
    Smaller,
    Unplanned,
    hand_over_arrived,
    make_plan,
    output_shapes,
    propagate,
    recorded_calls,
)
from gradmeter.reading.costs import Costs, layer_costs, least_seconds, plain_pass
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.layers import (
    Contributions,
    LayerOutputs,
    OutputReader,
    TimedContributions,
    Unkept,
    Use,
    ruled_modules,
)
from gradmeter.reading.network import (
    NotFinite,
    answer,
    logits_of,
    measuring,
    not_finite,
    owned_parameters,
    owning_modules,
    require_independent_samples,
    unwrapped,
)
from gradmeter.reading.probes import Probe, named_probe
from gradmeter.reading.pseudo_labels import (
    LABELS,
    PseudoLabel,
    StartVector,
    given_classes,
    pseudo_label_name,
    start_vector,
)
from gradmeter.reading.readings import Readings
from gradmeter.reading.statistics import STATISTICS, PowerSums, statistics_of_each

# The outputs of a tile's operations have this size on average: smaller ones take less time than calling the operation,
# larger ones are no longer in the cache when the next operation reads them ...
_OUTPUT_BYTES = 2.5 * 2**20
# ... but weights are read once for each tile, so the more there are the more samples should share them ...
_TILE_WEIGHTS = 1.5
# ... and with fewer samples than this matrix products are slow.
_SMALLEST_TILE = 8
# A recurrent network has a plan for each number of steps, and one that chooses its layers for each choice.
_MOST_PLANS = 1024
# Samples of a probe: two could hide a folded batch, more cost more.
_PROBED = 3
# How far the answer to a sample alone may be from its answer in a batch, relative to the largest logit.
_SAME_ANSWER = {torch.float64: 1e-6, torch.float32: 1e-2}
_SAME_ANSWER_HALF = 0.1
# By how much rounding, to 16 bits at most, lets probabilities miss 1.
_ROUNDED_SUM = 5e-3


@dataclass(frozen=True)
class _Pass:
    """One forward pass, and the derivatives of each sample's losses by its logits."""

    logits: Tensor
    starts: list[StartVector]
    graph: Graph
    calls: list[Call]
    outputs: LayerOutputs

    def direction(self, number: int = 0) -> Tensor:
        """[N, C] in the network's own type."""
        return self.starts[number].direction.to(self.logits.dtype)


@dataclass(frozen=True)
class _Measured:
    """What was read of one tile: for each pseudo-label, power sums of every parameter that a gradient reached."""

    logits: Tensor
    log_scales: list[Tensor]
    sums: list[dict[str, PowerSums]]
    activations: Tensor | None
    embedding: Tensor | None
    scores: dict[str, Tensor]


class GradientMeter:
    """Reads the per-sample gradient of a trained classifier's own answer, layer by layer.

    The loss is -log p of the pseudo-label (Oberdiek, Rottmann, Gottschalk 2018, Eq. 5, for "predicted"), for one
    sample at a time, in eval mode, without any regularisation term. A parameter's layer is the module that owns it
    directly, the first one where several share it. The network comes back as it was found: mode, hooks,
    `requires_grad`, `.grad`, buffers, the state of the random generators.

    Args:
        model: any nn.Module that maps a batch to logits [N, C] (or to an object with `.logits`) and treats each
            sample alone. A compiled or DataParallel-wrapped model is measured without its wrapper.
        pseudo_label: "predicted", "uniform", "all-ones", "counterfactual" or "expected"; a class index; or a loss
            mapping logits [N, C] to [N]. Or several of these, which share one forward pass: `Readings.values` are the
            first one's, `Readings.under` gives each.
        activations: also read statistics of what the layers put out, `Readings.activations`.
        embedding: also keep what the last layer is given, `Readings.embedding`.
        probes: scores that take passes of their own, `Readings.scores`: "odin", "mc_dropout", or functions as in
            `gradmeter.reading.probes`.
        biases: False leaves biases ("bias", "in_proj_bias", "bias_ih_l0", ...) out of every statistic.
        tile: samples that go through the network at once; by default what keeps activations in cache.

    Raises:
        UnsupportedModelError: for parameters that have no gradient.
        InputError: for an unknown pseudo-label or probe, one that is named twice, or a tile that is not a whole
            number above 0.

    Example:
        >>> readings = GradientMeter(model)(images)
        >>> readings["conv1", "l2"]
    """

    def __init__(
        self,
        model: nn.Module,
        pseudo_label: PseudoLabel | Sequence[PseudoLabel] = "predicted",
        *,
        activations: bool = False,
        embedding: bool = False,
        probes: Sequence[str | Probe] = (),
        biases: bool = True,
        tile: int | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
        if tile is not None and (not isinstance(tile, int) or isinstance(tile, bool) or tile < 1):
            raise InputError(f"tile={tile!r}; expected a whole number of samples, at least 1")
        for name, value in (("biases", biases), ("activations", activations), ("embedding", embedding)):
            if not isinstance(value, bool):
                raise InputError(f"{name}={value!r}; expected True or False")
        self.model = model
        self._network = unwrapped(model)
        self.pseudo_label = pseudo_label
        self.activations, self.embedding, self.probes = activations, embedding, probes
        self.biases = biases
        asked = self.asked
        if not asked:
            raise InputError("pseudo_label names none; expected at least one")
        self._starts = {pseudo_label_name(one): start_vector(one) for one in asked}
        if len(self._starts) < len(asked):
            raise InputError(f"pseudo_label={pseudo_label!r} names one twice; expected different ones")
        if isinstance(probes, str):
            raise InputError(f"probes={probes!r}; expected several, as in probes=[{probes!r}]")
        self._probes = [named_probe(probe) for probe in probes]
        self._tile = tile
        self._look_up_parameters()

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy, in another process say, learns anew what course the network takes."""
        options: dict[str, Any] = {
            "activations": self.activations,
            "embedding": self.embedding,
            "probes": self.probes,
            "biases": self.biases,
            "tile": self._tile,
        }
        return partial(GradientMeter, **options), (self.model, self.pseudo_label)

    def _look_up_parameters(self) -> None:
        self._owners = owning_modules(self._network)
        self._owned = owned_parameters(self._network, biases=self.biases)
        self._parameters = {
            f"{layer}/{name}": parameter for layer, own in self._owned.items() for name, parameter in own.items()
        }
        self._seen = [id(parameter) for parameter in self._network.parameters()]
        self._plans: dict[str, Plan] = {}
        self._tiles: dict[tuple[tuple[int, ...], ...], int] = {}
        # Layers and operations that are measured for one sample at a time, and those of them that a warning named.
        self._slow: set[tuple[str, str]] = set()
        self._named: set[tuple[str, str]] = set()
        self._contributions: type[Contributions] = Contributions
        self._uses: list[Use] = []
        # Inputs of which few samples take another course than many, as in packed batches: no need to try again.
        self._unlike: set[tuple[tuple[int, ...], ...]] = set()
        self._outputs = OutputReader(self._owners, activations=self.activations, embedding=self.embedding)

    def for_trust_model(self) -> GradientMeter:
        """A meter of the same network that also reads all that gradmeter's own meta classifier learns from.

        Its pseudo-labels are "predicted" and "uniform", then this meter's others; it reads activations and the
        embedding. A meter that does comes back itself.
        """
        pseudo_labels = ["predicted", "uniform", *(one for one in self.asked if one not in ("predicted", "uniform"))]
        if self.asked == pseudo_labels and self.activations and self.embedding:
            return self
        return GradientMeter(
            self.model,
            pseudo_labels,
            activations=True,
            embedding=True,
            probes=self.probes,
            biases=self.biases,
            tile=self._tile,
        )

    def extended(self) -> GradientMeter:
        """Deprecated; `for_trust_model`."""
        warnings.warn(
            "GradientMeter.extended is deprecated and goes with version 0.3; use for_trust_model",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.for_trust_model()

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that own parameters, in the network's order, then "all"."""
        return (*self._owned, "all")

    @property
    def asked(self) -> list[PseudoLabel]:
        """The pseudo-labels as they were given, one or several."""
        if isinstance(self.pseudo_label, Sequence) and not isinstance(self.pseudo_label, str):
            return list(self.pseudo_label)
        return [self.pseudo_label]

    @property
    def pseudo_labels(self) -> tuple[str, ...]:
        """Names of the pseudo-labels, as readings call them."""
        return tuple(self._starts)

    def __call__(
        self, inputs: Tensor | tuple[Any, ...] | Mapping[str, Any] | Inputs, labels: Tensor | None = None
    ) -> Readings:
        """Measure a batch.

        Args:
            inputs: a tensor [N, ...]; a tuple or mapping is passed on as `*args` or `**kwargs`, Inputs as both, and
                their tensors share the first axis.
            labels: [N] classes to pretend to be true, one per sample, in place of the first pseudo-label; readings call
                them "labels".

        Returns:
            The readings of the N samples, in order; they do not depend on how the batch was cut.

        Raises:
            InputError: for an empty batch, tensors of different length, labels that are no classes, logits that are
                not [N, C], or a network in train mode whose BatchNorm would mix the samples.
            NotFinite: an InputError that names the samples whose logits are not finite, or whose gradients keep it from
                seeing which sample is which.
            UnsupportedModelError: if the network mixes the samples of a batch, uses a parameter where gradients are
                switched off, or makes new ones with every call.
        """
        batch = Inputs.of(inputs, labels)
        if self._parameters_changed():  # a layer was replaced
            self._look_up_parameters()
        keep_freed_memory()
        parts = self._tile_by_tile(batch)
        if self._parameters_changed():  # the first forward pass made a layer
            self._look_up_parameters()
            parts = self._tile_by_tile(batch)
            if self._parameters_changed():
                raise UnsupportedModelError(
                    "the network makes new parameters with every call; expected a trained network, which keeps them"
                )
        readings = self._readings(parts)
        if batch.labels is not None:
            readings = replace(readings, pseudo_label=LABELS)
        # A few samples may add up to 1 by chance.
        if batch.samples > _SMALLEST_TILE and _are_probabilities(readings.logits):
            warnings.warn(
                "the network's outputs are from 0 to 1 and add up to 1 for each sample, so they look like "
                "probabilities, of which the softmax is taken once more; expected logits: leave its last softmax away, "
                "or return the logarithm",
                ProbabilitiesWarning,
                stacklevel=2,
            )
        return readings

    def _parameters_changed(self) -> bool:
        return self._seen != [id(parameter) for parameter in self._network.parameters()]

    def _tile_by_tile(self, batch: Inputs) -> list[_Measured]:
        require_independent_samples(self._network)
        parts, start = [], 0
        with measuring(self._network):
            while start < batch.samples:
                size = self._tile or self._tiles.get(batch.shapes, _SMALLEST_TILE)
                # Tiles of one size: a small rest would be slow.
                left = batch.samples - start
                size = math.ceil(left / math.ceil(left / size))
                try:
                    parts.append(self._measure(batch.rows(slice(start, start + size))))
                except NotFinite as error:
                    # It counted the samples of a tile, or of a probe.
                    raise self._not_finite(batch) or error from error
                except UnsupportedModelError as error:
                    # What is no number is none after a product with zero: it seems to come from every sample.
                    raise self._no_gradient(batch, range(start, min(start + size, batch.samples))) or error from error
                start += size
                if batch.samples > _SMALLEST_TILE:
                    self._warn()
        return parts

    def _not_finite(self, batch: Inputs) -> NotFinite | None:
        """The error that names all samples of a batch whose logits are not finite; None where they now are."""
        rows: list[int] = []
        with torch.no_grad():
            for start in range(0, batch.samples, _SMALLEST_TILE):
                logits = answer(self._network, batch.rows(slice(start, start + _SMALLEST_TILE)))
                rows += [start + row for row in not_finite(logits)]
        return NotFinite.of(rows, batch.samples) if rows else None

    def _no_gradient(self, batch: Inputs, rows: Sequence[int]) -> NotFinite | None:
        """The error that names those of some samples whose own gradients are not finite; None where all are."""
        without = []
        for row in rows:
            try:
                logits = answer(self._network, batch.rows([row]))
                loss = (logits.logsumexp(dim=1) - logits.amax(dim=1)).sum()
                gradients = torch.autograd.grad(loss, list(self._parameters.values()), allow_unused=True)
            except Exception:  # it may take no sample alone
                return None
            if not all(gradient is None or bool(torch.isfinite(gradient).all()) for gradient in gradients):
                without.append(row)
        return NotFinite.of(without, batch.samples, has_logits=True) if without else None

    def costs(self, inputs: Tensor | tuple[Any, ...] | Mapping[str, Any] | Inputs) -> Costs:
        """By which way each layer is measured, and what that costs on this batch: a few samples tell.

        Args:
            inputs: as for a measurement, of which this takes several.

        Raises:
            InputError, UnsupportedModelError: as a measurement does.
        """
        batch = Inputs.of(inputs)
        plain = plain_pass(self._network, batch)
        # What is learned of a network when it is seen for the first time is no part of the price.
        self(batch)
        plain()
        best: tuple[float, list[Use]] = float("inf"), []

        def timed() -> None:
            nonlocal best
            self._uses = []
            (seconds,) = least_seconds(partial(self, batch), rounds=1)
            best = min(best, (seconds, self._uses), key=lambda pair: pair[0])

        self._contributions = TimedContributions
        try:
            _, plain_seconds = least_seconds(timed, plain)
        finally:
            self._contributions = Contributions
        seconds, uses = best
        return Costs(batch.samples, layer_costs(uses, self._owned), seconds, plain_seconds)

    def _readings(self, parts: list[_Measured]) -> Readings:
        """Statistics once for all tiles: they are many small operations."""
        logits = torch.cat([part.logits for part in parts])
        first, *further = (self._gradients(parts, number, name, logits) for number, name in enumerate(self._starts))
        activations = [part.activations for part in parts if part.activations is not None]
        embeddings = [part.embedding for part in parts if part.embedding is not None]
        return replace(
            first,
            further={readings.pseudo_label: readings for readings in further},
            activations=Activations(self._outputs.layers, torch.cat(activations)) if activations else None,
            embedding=torch.cat(embeddings) if embeddings else None,
            scores={name: torch.cat([part.scores[name] for part in parts]) for name in parts[0].scores},
        )

    def _gradients(self, parts: list[_Measured], number: int, name: str, logits: Tensor) -> Readings:
        """Readings for one pseudo-label."""

        def joined(name: str, parameter: nn.Parameter) -> PowerSums:
            found = [
                part.sums[number].get(name) or PowerSums.zeros(len(part.logits), parameter.numel(), part.logits.device)
                for part in parts
            ]
            return PowerSums.concatenate(found)

        layers = [
            PowerSums.merge([joined(f"{layer}/{name}", parameter) for name, parameter in own.items()])
            for layer, own in self._owned.items()
        ]
        names = tuple(STATISTICS)
        values = statistics_of_each([*layers, PowerSums.merge(layers)], names)
        log_scale = torch.cat([part.log_scales[number] for part in parts])
        return replace(Readings.scaled(logits, log_scale, self.layers, values, names), pseudo_label=name)

    def _measure(self, tile: Inputs) -> _Measured:
        """Read one tile; correct the plan where it fails."""
        learn = partial(self._outputs.learn, partial(answer, self._network), tile)
        learn()
        done = self._forward(tile)
        if done.outputs.unknown and learn(unknown=True):
            done = self._forward(tile)
        plan = self._known_plan(done) or self._probed_plan(done, tile) or self._plan(done)
        if tile.shapes not in self._tiles:
            self._tiles[tile.shapes] = self._affordable(done)
        if not plan.lasting:
            # Where the samples lie is told apart at one go for so many.
            self._tiles[tile.shapes] = min(self._tiles[tile.shapes], TOLD_APART)
        sums: list[dict[str, PowerSums]] = []
        while len(sums) < len(self._starts):
            # The graph lives until the last pseudo-label, and where planning left gradients.
            last = len(sums) == len(self._starts) - 1
            kept = replace(plan, keep=plan.keep or not last or plan.arrived is not None)
            contributions = self._contributions(done.graph, kept, done.calls, tile.samples)
            try:
                if plan.arrived is None:
                    propagate(done.graph, kept, done.logits, done.direction(len(sums)), contributions.receive)
                else:
                    hand_over_arrived(done.graph, kept, tile.samples, contributions.receive)
                sums.append(contributions.finish())
                self._note(contributions, tile)
                if not last and not plan.lasting:
                    # Another loss may reach what this one did not.
                    plan = self._plan(done, number=len(sums))
                continue
            except Unplanned:
                if not sums:
                    # It was made of samples that did not reach all that these do, blank ones say.
                    self._plans.pop(done.graph.signature(), None)
                done = self._forward(tile)
                plan = self._plan(done, number=len(sums))
                continue
            except Unkept:
                plan = replace(plan, keep=True)
            except CheckpointError:
                if plan.deferred:
                    raise
                plan = replace(plan, deferred=True, arrived=None)
            if plan.lasting:
                self._remember(done.graph.signature(), plan)
            done = self._forward(tile)
        logits = done.logits.detach()
        device = logits.device
        return _Measured(
            logits,
            [start.log_scale for start in done.starts],
            sums,
            done.outputs.statistics(self._outputs.layers, device) if self.activations else None,
            done.outputs.embedding(logits) if self.embedding else None,
            {name: score for probe in self._probes for name, score in probe(self._network, tile, logits).items()},
        )

    def _note(self, contributions: Contributions, tile: Inputs) -> None:
        """Remember what is measured for one sample at a time, and take small tiles: it costs a tile for each sample."""
        if contributions.one_by_one:
            self._slow |= {(name.rpartition("/")[0], operation) for name, operation in contributions.one_by_one}
            self._tiles[tile.shapes] = _SMALLEST_TILE
        if isinstance(contributions, TimedContributions):
            self._uses += contributions.uses()

    def _warn(self) -> None:
        """Name the slow layers that were not named before."""
        for layer, operation in sorted(self._slow - self._named):
            warnings.warn(
                f"layer {layer!r} is measured for one sample at a time, which is right and slow: {operation} has no "
                "rule for the way it is used here; register one for the layer's module with "
                "gradmeter.reading.layers.register_rule",
                SlowLayerWarning,
                stacklevel=4,
            )
        self._named |= self._slow

    def _forward(self, inputs: Inputs, *, watched: bool = False) -> _Pass:
        with (
            recorded_calls(ruled_modules(self._network)) as calls,
            self._outputs.reading(inputs) as outputs,
        ):
            # Only what takes a new course is watched: watching takes time.
            logits = logits_of(self._network, inputs, self._owners if watched or not self._plans else {})
        exact = logits.detach().double()
        starts = [start(exact) for start in self._starts.values()]
        if inputs.labels is not None:
            starts[0] = given_classes(exact, inputs.labels)
        return _Pass(logits, starts, Graph.of(logits, self._parameters), calls, outputs)

    def _plan(self, done: _Pass, smaller: Smaller | None = None, number: int = 0) -> Plan:
        return make_plan(done.graph, done.logits, done.direction(number), done.calls, smaller)

    def _known_plan(self, done: _Pass) -> Plan | None:
        plan = self._plans.get(done.graph.signature())
        return None if plan is None else plan.adapted(done.graph, len(done.logits))

    def _remember(self, signature: str, plan: Plan) -> None:
        if len(self._plans) >= _MOST_PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[signature] = plan

    def _probed_plan(self, done: _Pass, tile: Inputs) -> Plan | None:
        """Plan with three samples of a tile, for all tiles like it; None if they go another way than the tile."""
        if tile.shapes in self._unlike:
            return None
        probe = tile.rows([index % tile.samples for index in range(_PROBED)])
        probed = self._forward(probe, watched=True)
        # The last one: a network that passes something on from sample to sample would do it to this one.
        alone = self._forward(probe.rows(slice(_PROBED - 1, _PROBED)))
        _require_same_answer(alone.logits[0].detach(), probed.logits[-1].detach())
        signature = probed.graph.signature()
        smaller = None
        for fewer in (1, 2):
            less = alone if fewer == 1 else self._forward(probe.rows(slice(_PROBED - fewer, _PROBED)))
            if less.graph.signature() == signature:
                smaller = Smaller(fewer, [output_shapes(node) for node in less.graph.nodes])
                break
        plan = self._plan(probed, smaller)
        if plan.lasting:
            self._remember(signature, plan)
        known = self._known_plan(done)
        if known is None and (plan.lasting or plan.unordered):
            self._unlike.add(tile.shapes)
        return known

    def _affordable(self, done: _Pass) -> int:
        """Samples that make a tile."""
        operations = [node for node in done.graph.nodes if node.name() != TRANSPOSED]  # those are weights, mostly
        sizes = [math.prod(shape) for node in operations for shape in output_shapes(node)]
        per_sample = max(1, sum(sizes) // len(done.logits))
        weights = sum(parameter.numel() for parameter in self._parameters.values())
        cached = len(sizes) * _OUTPUT_BYTES / done.logits.element_size()
        return max(_SMALLEST_TILE, int(max(cached, _TILE_WEIGHTS * weights)) // per_sample)


def _are_probabilities(logits: Tensor) -> bool:
    return bool((logits >= 0).all()) and bool(((logits.double().sum(1) - 1).abs() < _ROUNDED_SUM).all())


def _require_same_answer(alone: Tensor, among_others: Tensor) -> None:
    difference = (alone - among_others).abs().max()
    tolerance = _SAME_ANSWER.get(alone.dtype, _SAME_ANSWER_HALF)
    if difference > tolerance * among_others.abs().max():
        raise UnsupportedModelError(
            f"the network answers a sample otherwise alone than in a batch (logits differ by {difference:.2g}): it "
            "mixes the samples, or draws random numbers; expected a network that treats each sample alone"
        )
