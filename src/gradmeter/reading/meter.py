"""GradientMeter: statistics of each layer's gradient for every sample, from one forward and one backward pass."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointError

from gradmeter.errors import InputError, UnsupportedModelError, warn
from gradmeter.reading.activations import Activations
from gradmeter.reading.allocator import keep_freed_memory
from gradmeter.reading.capture import (
    SAMPLES_PER_PASS,
    TRANSPOSED,
    Call,
    Graph,
    Plan,
    Smaller,
    Unplanned,
    make_plan,
    output_shapes,
    propagate,
    recorded_calls,
    replay,
)
from gradmeter.reading.costs import Costs, layer_costs, least_seconds, plain_pass
from gradmeter.reading.inputs import PROBE_SAMPLES, Inputs
from gradmeter.reading.layers import (
    Contributions,
    Inseparable,
    LayerOutputs,
    OutputReader,
    TimedContributions,
    Unkept,
    Use,
    ruled_modules,
)
from gradmeter.reading.memory_format import in_memory_format
from gradmeter.reading.meter_warnings import MeterWarnings, warn_of_probabilities
from gradmeter.reading.network import (
    NotFinite,
    answer,
    autocast_of_caller,
    logits_of,
    measuring,
    named_layers,
    not_finite_gradients,
    not_finite_logits,
    owned_parameters,
    ownership,
    owning_modules,
    require_independent_samples,
    require_registered_parameters,
    require_same_logits,
    unwrapped,
)
from gradmeter.reading.probes import Mirror, Probe, join_scores, named_probe, scores_of
from gradmeter.reading.pseudo_labels import (
    LABELS,
    PseudoLabel,
    StartVector,
    given_classes,
    pseudo_label_name,
    start_vector,
)
from gradmeter.reading.readings import Readings
from gradmeter.reading.statistics import STATISTICS, Layers, PowerSums, statistics_of
from gradmeter.reading.untraced import untraced

# Average size of the outputs of a tile's operations. For smaller outputs the overhead of calling an operation
# dominates; larger ones leave the cache before the next operation reads them.
_OUTPUT_BYTES = 2.5 * 2**20
# Weights are read once per tile, so a tile has at least this many output entries per weight ...
_TILE_WEIGHTS = 1.5
# ... and at least this many samples, because matrix products of fewer rows are slow.
_SMALLEST_TILE = 8
# Samples in a tile if the size of the outputs is unknown, because only the logits are read.
_UNOBSERVED_TILE = 64
# A recurrent network needs one plan per number of steps, a network with branches one per branch.
_MAX_PLANS = 1024


@dataclass(frozen=True)
class _ForwardPass:
    """One forward pass, and the derivatives of each sample's losses with respect to its logits."""

    logits: Tensor
    starts: list[StartVector]
    graph: Graph
    calls: list[Call]
    outputs: LayerOutputs

    def direction(self, number: int = 0) -> Tensor:
        """Start vectors [N, C] of one pseudo-label, in the dtype of the logits."""
        return self.starts[number].direction.to(self.logits.dtype)


@dataclass(frozen=True)
class _TileReadings:
    """Readings of one tile: for each pseudo-label, power sums of every parameter that received a gradient."""

    logits: Tensor
    log_scales: list[Tensor]
    sums: list[dict[str, PowerSums]]
    activations: Tensor | None
    embedding: tuple[str, Tensor] | None
    scores: dict[str, Tensor]


class GradientMeter:
    """Measure per-sample gradients of a trained classifier, layer by layer.

    The loss of a sample is -log p of its pseudo-label (for "predicted": Oberdiek, Rottmann, Gottschalk 2018, Eq. 5),
    in eval mode and without regularisation. A parameter's layer is the module that owns it directly; a shared parameter
    belongs to its first owner. Measuring restores the network's mode, hooks, `requires_grad`, `.grad` and buffers, and
    the state of the random generators. Backward hooks of its modules do not run meanwhile.

    Args:
        model: any nn.Module that maps a batch to logits [N, C] (or to a dict with "logits" or an object with `.logits`)
            and treats samples independently. A compiled or DataParallel-wrapped model is measured without its wrapper.
        pseudo_label: "predicted", "uniform", "all-ones", "counterfactual" or "expected"; a class index; or a loss
            mapping logits [N, C] to [N]. Several pseudo-labels share one forward pass: `Readings.values` belong to the
            first, `Readings.for_pseudo_label` returns each.
        gradients: False reads only what one forward pass shows: logits, scales of the pseudo-labels, activations,
            embedding and scores; `Readings.layers` are then empty, and `values` are [N, 0, metrics].
        activations: also measure statistics of the layers' outputs, `Readings.activations`.
        embedding: also keep the input of the last layer, `Readings.embedding`.
        probes: scores that need further passes, `Readings.scores`: "odin", "mc_dropout", "mirror", or functions as in
            `gradmeter.reading.probes`.
        biases: False excludes biases ("bias", "in_proj_bias", "bias_ih_l0", ...) from every statistic.
        tile: number of samples per forward pass; by default as many as keep the activations in cache.

    Raises:
        UnsupportedModelError: if a parameter has no gradient.
        InputError: if a pseudo-label or probe is unknown or a pseudo-label is given twice, or if tile is not a
            positive integer.

    Example:
        >>> readings = GradientMeter(model)(images)
        >>> readings["conv1", "l2"]
    """

    def __init__(
        self,
        model: nn.Module,
        pseudo_label: PseudoLabel | Sequence[PseudoLabel] = "predicted",
        *,
        gradients: bool = True,
        activations: bool = False,
        embedding: bool = False,
        probes: Sequence[str | Probe] = (),
        biases: bool = True,
        tile: int | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
        if tile is not None and (not isinstance(tile, int) or isinstance(tile, bool) or tile < 1):
            raise InputError(f"tile={tile!r}; expected a number of samples, an integer of at least 1")
        switches = {"biases": biases, "gradients": gradients, "activations": activations, "embedding": embedding}
        for name, value in switches.items():
            if not isinstance(value, bool):
                raise InputError(f"{name}={value!r}; expected True or False")
        self.model = model
        self._network = unwrapped(model)
        self.pseudo_label = pseudo_label
        self.gradients = gradients
        self.activations, self.embedding, self.probes = activations, embedding, probes
        self.biases = biases
        labels = self.given_pseudo_labels
        if not labels:
            raise InputError(f"pseudo_label={pseudo_label!r} is empty; expected at least one pseudo-label")
        self._starts = {pseudo_label_name(label): start_vector(label) for label in labels}
        if len(self._starts) < len(labels):
            raise InputError(f"pseudo_label={pseudo_label!r} contains a pseudo-label twice; expected different names")
        if isinstance(probes, str) or not isinstance(probes, Sequence):
            raise InputError(f"probes={probes!r}; expected a sequence, as in probes=['odin']")
        self._probes = [named_probe(probe) for probe in probes]
        self.tile = tile
        self._output_layers: tuple[str, ...] = ()
        self._look_up_parameters()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the arguments only: a copy, for example in another process, makes its own plans."""
        return partial(GradientMeter, **self.options), (self.model, self.pseudo_label), self._output_layers

    def __setstate__(self, output_layers: tuple[str, ...]) -> None:
        self.read_outputs_of(output_layers)

    def _look_up_parameters(self) -> None:
        self._modules = named_layers(self._network)
        self._owners = owning_modules(self._network)
        self._owned = owned_parameters(self._network, biases=self.biases)
        self._parameters = {
            f"{layer}/{name}": parameter
            for layer, parameters in self._owned.items()
            for name, parameter in parameters.items()
        }
        self._layers = Layers(
            [[parameter.numel() for parameter in parameters.values()] for parameters in self._owned.values()]
        )
        self._ownership = ownership(self._network)
        self._plans: dict[str, Plan] = {}
        self._tiles: dict[tuple[tuple[int, ...], ...], int] = {}
        # (layer, operation) pairs that are measured for one sample at a time.
        self._slow: set[tuple[str, str]] = set()
        self._warnings = MeterWarnings()
        self._contributions: type[Contributions] = Contributions
        self._uses: list[Use] = []
        # Shapes of inputs, such as packed batches, for which a probe's graph differs from the tile's: no second probe.
        self._unprobed: set[tuple[tuple[int, ...], ...]] = set()
        # Without gradients: kinds of inputs for which the network was found to treat samples independently.
        self._independent: set[tuple[Any, ...]] = set()
        self._outputs = self._output_reader()

    def _output_reader(self) -> OutputReader:
        return OutputReader(
            self._owners, activations=self.activations, embedding=self.embedding, layers=self._output_layers
        )

    @property
    def output_layers(self) -> tuple[str, ...]:
        """Names of the layers whose outputs are read; empty before a first batch has shown them, or if none are."""
        return self._outputs.layers

    def read_outputs_of(self, layers: tuple[str, ...]) -> None:
        """Read the outputs of these layers, as an earlier meter of the network did, instead of those in a first batch.

        A layer that is not called for some inputs has zeros there.
        """
        self._output_layers = layers
        self._outputs = self._output_reader()

    def for_trust_model(self, gradients: bool = True, second_look: float | None = -inf) -> GradientMeter:
        """A meter of the same network that measures all features of gradmeter's meta classifier.

        It measures activations and the embedding. Returns this meter if it already does so.

        Args:
            gradients: with gradients its pseudo-labels are "predicted" and "uniform", followed by this meter's other
                ones; without, "predicted" alone.
            second_look: log odds of being wrong above which the mirror image of an image is predicted, too
                (`gradmeter.reading.probes.Mirror`); None for never.
        """
        pseudo_labels: list[PseudoLabel] = ["predicted"]
        if gradients:
            pseudo_labels += ["uniform"]
            pseudo_labels += [label for label in self.given_pseudo_labels if label not in pseudo_labels]
        probes = [*self.other_probes]
        probes += [] if second_look is None else [Mirror(second_look)]
        reads_all = self.activations and self.embedding and self.gradients == gradients
        if reads_all and self.given_pseudo_labels == pseudo_labels and list(self.probes) == probes:
            return self
        options = {"gradients": gradients, "activations": True, "embedding": True, "probes": probes}
        return GradientMeter(self.model, pseudo_labels, **(self.options | options))

    @property
    def options(self) -> dict[str, Any]:
        """The keyword arguments of a meter like this one; the network and the pseudo-labels are not among them."""
        return {
            "gradients": self.gradients,
            "activations": self.activations,
            "embedding": self.embedding,
            "probes": self.probes,
            "biases": self.biases,
            "tile": self.tile,
        }

    @property
    def second_look(self) -> float | None:
        """Log odds of being wrong above which the mirror image is predicted, too; None for never."""
        return next((probe.above for probe in self._probes if isinstance(probe, Mirror)), None)

    @property
    def other_probes(self) -> tuple[str | Probe, ...]:
        """The probes without the second look."""
        return tuple(probe for probe in self.probes if not isinstance(named_probe(probe), Mirror))

    def extended(self) -> GradientMeter:
        """Deprecated; use `for_trust_model`."""
        warn(
            "GradientMeter.extended is deprecated and will be removed in version 0.3; use for_trust_model",
            DeprecationWarning,
        )
        return self.for_trust_model()

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that own parameters, in the network's order, then "all"; empty without gradients."""
        return (*self._owned, "all") if self.gradients else ()

    @property
    def given_pseudo_labels(self) -> list[PseudoLabel]:
        """The list of pseudo-labels, as given to the constructor."""
        if isinstance(self.pseudo_label, Sequence) and not isinstance(self.pseudo_label, str):
            return list(self.pseudo_label)
        return [self.pseudo_label]

    @property
    def pseudo_labels(self) -> tuple[str, ...]:
        """Names of the pseudo-labels, as in `Readings.pseudo_labels`."""
        return tuple(self._starts)

    @untraced
    def __call__(
        self, inputs: Tensor | tuple[Any, ...] | Mapping[str, Any] | Inputs, labels: Tensor | None = None
    ) -> Readings:
        """Measure a batch.

        Args:
            inputs: a tensor [N, ...]; a tuple is passed to the network as `*args`, a mapping as `**kwargs`, Inputs as
                both. All tensors have the samples along their first axis.
            labels: [N] classes, one per sample, that replace the first pseudo-label; the readings' pseudo-label is then
                "labels".

        Returns:
            The readings of the N samples, in order; they do not depend on the tile size.

        Raises:
            InputError: if the batch is empty, tensors differ in length, a label is not a class, logits are not
                [N, C], or a BatchNorm in train mode would mix the samples.
            NotFinite: an InputError that names the samples whose logits are not finite, or whose non-finite gradients
                cannot be attributed to a sample.
            UnsupportedModelError: if the network mixes the samples of a batch, uses a parameter with gradients
                disabled, or creates new layers or parameters in every call.
        """
        batch = Inputs.of(inputs, labels).for_network(self._network)
        if self._has_other_layers():  # one was replaced since the last call
            self._look_up_parameters()
        keep_freed_memory()
        parts = self._tile_by_tile(batch)
        if self._has_other_layers():  # a lazy one was created in the forward pass
            self._look_up_parameters()
            parts = self._tile_by_tile(batch)
            if self._has_other_layers():
                raise UnsupportedModelError(
                    "the network creates new layers or parameters in every call; expected a trained network, which "
                    "keeps its own"
                )
        readings = self._readings(parts)
        if batch.labels is not None:
            readings = replace(readings, pseudo_label=LABELS)
        # The logits of a few samples may add up to 1 by chance.
        if batch.samples > _SMALLEST_TILE:
            warn_of_probabilities(readings.logits)
        self._warnings.padded_layers(self._outputs.padded)
        return readings

    def _has_other_layers(self) -> bool:
        return self._ownership != ownership(self._network)

    def _tile_by_tile(self, batch: Inputs) -> list[_TileReadings]:
        require_independent_samples(self._network)
        gradients = self.gradients or any(getattr(probe, "needs_gradients", True) for probe in self._probes)
        if gradients and not self._plans:
            require_registered_parameters(self._network)
        with measuring(self._network, gradients=gradients):
            return in_memory_format(self._network, batch, self._in_tiles)

    def _in_tiles(self, batch: Inputs) -> list[_TileReadings]:
        self._warnings.padded_logits(self._network, batch)
        if self.activations:
            self._warnings.mask(batch)
        with torch.set_grad_enabled(self.gradients):  # as in `_measure`: PyTorch may call other layers without
            self._outputs.learn_lengths(partial(answer, self._network), batch)
            # From all parts of the batch: the samples of a tile may be of equal length.
            if batch.samples > (tile := self.tile or _SMALLEST_TILE):
                self._outputs.learn(partial(answer, self._network), batch.spread(tile))
        parts: list[_TileReadings] = []
        start = 0
        while start < batch.samples:
            learned = self.tile or self._tiles.get(batch.shapes)
            size = learned or _SMALLEST_TILE
            # Tiles of equal size, because a small last tile would be slow.
            remaining = batch.samples - start
            size = math.ceil(remaining / math.ceil(remaining / size))
            rows = range(batch.samples)[start : start + size]
            try:
                parts += self._measure_separately(batch.rows(rows))
            except NotFinite as error:
                # The error counts samples of a tile or a probe; count those of the batch. Logits near the largest
                # number may be finite in small batches, and not in the tile.
                raise not_finite_logits(self._network, batch) or NotFinite.of(rows, batch.samples) from error
            except UnsupportedModelError as error:
                if not self.gradients:
                    raise
                # NaN times zero is NaN, so a non-finite gradient looks as if samples were mixed.
                raise not_finite_gradients(self._network, batch, rows, self._parameters.values()) or error from error
            start += size
            if learned is None and start < batch.samples and self._tiles.get(batch.shapes, 0) > _SMALLEST_TILE:
                # Rounding may depend on the size of a tile: read again as in later calls, whose numbers are the same.
                parts, start = [], 0
            if batch.samples > _SMALLEST_TILE:
                self._warnings.slow_layers(self._slow)
        return parts

    def _measure_separately(self, tile: Inputs) -> list[_TileReadings]:
        """Measure one tile, or each of its samples alone if rows of a layer's output do not show their samples."""
        try:
            return [self._measure(tile)]
        except Inseparable as inseparable:
            self._warnings.inseparable(str(inseparable))
            return [self._measure(tile.rows([row])) for row in range(tile.samples)]

    def costs(self, inputs: Tensor | tuple[Any, ...] | Mapping[str, Any] | Inputs) -> Costs:
        """Report how each layer is measured and how long that takes on this batch; a few samples are enough.

        Args:
            inputs: as for `__call__`, which this calls several times.

        Raises:
            InputError, UnsupportedModelError: as `__call__` does.
        """
        batch = Inputs.of(inputs)
        plain = plain_pass(self._network, batch)
        # Warm up: planning, which happens once per network, is not part of the costs.
        self(batch)
        plain()
        best: tuple[float, list[Use]] = float("inf"), []

        def measure() -> None:
            nonlocal best
            self._uses = []
            (seconds,) = least_seconds(partial(self, batch), rounds=1)
            best = min(best, (seconds, self._uses), key=lambda pair: pair[0])

        self._contributions = TimedContributions
        try:
            _, plain_seconds = least_seconds(measure, plain)
        finally:
            self._contributions = Contributions
        seconds, uses = best
        return Costs(batch.samples, layer_costs(uses, self._owned), seconds, plain_seconds)

    def _readings(self, parts: list[_TileReadings]) -> Readings:
        """Compute the statistics for all tiles at once, because they take many small operations."""
        logits = torch.cat([part.logits for part in parts])
        first, *further = (
            self._gradient_readings(parts, number, name, logits) for number, name in enumerate(self._starts)
        )
        activations = [part.activations for part in parts if part.activations is not None]
        embeddings = [part.embedding for part in parts if part.embedding is not None]
        # A network with early exits may return the logits of another layer, or of several, for some tiles.
        has_embedding = len(embeddings) == len(parts) and len({layer for layer, _ in embeddings}) == 1
        return replace(
            first,
            further={readings.pseudo_label: readings for readings in further},
            activations=Activations(self._outputs.layers, torch.cat(activations)) if activations else None,
            embedding=torch.cat([embedding for _, embedding in embeddings]) if has_embedding else None,
            scores=join_scores([part.scores for part in parts]),
        )

    def _gradient_readings(
        self, parts: list[_TileReadings], number: int, pseudo_label: str, logits: Tensor
    ) -> Readings:
        """Readings for one pseudo-label."""
        log_scale = torch.cat([part.log_scales[number] for part in parts])
        names = tuple(STATISTICS)
        if not self.gradients:
            values = logits.new_zeros(len(logits), 0, len(names), dtype=torch.float64)
            return Readings(logits, log_scale, (), values, pseudo_label, metrics=names)

        def numbers_of(part: _TileReadings) -> Tensor:
            zeros = PowerSums.zeros(len(part.logits), 0, part.logits.device)
            return torch.stack([part.sums[number].get(name, zeros).numbers for name in self._parameters])

        numbers = torch.cat([numbers_of(part) for part in parts], dim=1)
        values = statistics_of(self._layers.moments(numbers), names)
        readings = Readings.scaled(logits, log_scale, self.layers, values, names)
        return replace(readings, pseudo_label=pseudo_label, biases=self.biases)

    def _measure(self, tile: Inputs) -> _TileReadings:
        """Measure one tile, and replan where the plan fails."""
        if not self.gradients:
            return self._measure_outputs(tile)
        learn = partial(self._outputs.learn, partial(answer, self._network), tile)
        learn()
        forward = self._forward(tile)
        if forward.outputs.unknown and learn(unknown=True):
            forward = self._forward(tile)
        if forward.outputs.unfit:
            self._require_independent_outputs(tile)
            raise Inseparable(forward.outputs.unfit)
        plan = self._known_plan(forward) or self._probed_plan(forward, tile) or self._plan(forward)
        # A sample alone does not show how a tile is measured.
        if tile.samples > 1:
            size = self._tiles.get(tile.shapes) or self._tile_size(forward)
            # One planning pass can tell this many samples apart.
            self._tiles[tile.shapes] = size if plan.reusable else min(size, SAMPLES_PER_PASS)
        sums: list[dict[str, PowerSums]] = []
        while len(sums) < len(self._starts):
            # Keep the graph for further pseudo-labels, and for gradients that planning has already computed.
            last = len(sums) == len(self._starts) - 1
            kept = replace(plan, keep=plan.keep or not last or plan.gradients is not None)
            contributions = self._contributions(forward.graph, kept, forward.calls, tile.samples)
            try:
                if plan.gradients is None:
                    propagate(forward.graph, kept, forward.logits, forward.direction(len(sums)), contributions.receive)
                else:
                    replay(forward.graph, kept, tile.samples, contributions.receive)
                sums.append(contributions.finish())
                self._record(contributions, tile)
                if not last and not plan.reusable:
                    # The gradient of another loss may reach operations that this one did not reach.
                    plan = self._plan(forward, number=len(sums))
                continue
            except Unplanned:
                if not sums:
                    # The gradients of the samples that it was made with, blank ones say, did not reach all operations.
                    self._plans.pop(forward.graph.signature(), None)
                forward = self._forward(tile)
                plan = self._plan(forward, number=len(sums))
                continue
            except Unkept:
                plan = replace(plan, keep=True)
            except CheckpointError:
                if plan.deferred:
                    raise
                plan = replace(plan, deferred=True, gradients=None)
            if plan.reusable:
                self._remember(forward.graph.signature(), plan)
            forward = self._forward(tile)
        return self._tile_readings(tile, forward.logits.detach(), forward.starts, sums, forward.outputs)

    def _measure_outputs(self, tile: Inputs) -> _TileReadings:
        """Read one tile without gradients."""
        with torch.no_grad():
            learn = partial(self._outputs.learn, partial(answer, self._network), tile)
            learn()
            logits, outputs = self._outputs_of(tile)
            if outputs.unknown and learn(unknown=True):
                logits, outputs = self._outputs_of(tile)
            self._require_independent_outputs(tile)
            if outputs.unfit:
                raise Inseparable(outputs.unfit)
        if tile.shapes not in self._tiles:
            samples = outputs.samples_in(_OUTPUT_BYTES)
            self._tiles[tile.shapes] = _UNOBSERVED_TILE if samples is None else max(_SMALLEST_TILE, samples)
        return self._tile_readings(tile, logits, self._start_vectors(tile, logits), [], outputs)

    def _outputs_of(self, tile: Inputs) -> tuple[Tensor, LayerOutputs]:
        with self._outputs.reading(tile) as outputs:
            return logits_of(self._network, tile, {}), outputs

    def _require_independent_outputs(self, tile: Inputs) -> None:
        """Compare a sample's logits alone and in a batch, once for inputs with the same options and dimensions."""
        kind = (tile.options, tuple(map(len, tile.shapes)))
        if kind in self._independent or tile.samples == 1:
            return
        probe = tile.probe()
        alone = logits_of(self._network, probe.rows([PROBE_SAMPLES - 1]), {}).detach()
        require_same_logits(alone[0], logits_of(self._network, probe, {}).detach()[-1])
        # Equal samples may hide that the network mixes them.
        if not probe.are_equal(-1, -2):
            self._independent.add(kind)

    def _tile_readings(
        self,
        tile: Inputs,
        logits: Tensor,
        starts: list[StartVector],
        sums: list[dict[str, PowerSums]],
        outputs: LayerOutputs,
    ) -> _TileReadings:
        with autocast_of_caller():  # a user's probe calls the network itself
            scores = scores_of(self._probes, self._network, tile, logits)
        return _TileReadings(
            logits,
            [start.log_scale for start in starts],
            sums,
            outputs.statistics(self._outputs.layers, logits.device) if self.activations else None,
            outputs.embedding(logits) if self.embedding else None,
            scores,
        )

    def _start_vectors(self, inputs: Inputs, logits: Tensor) -> list[StartVector]:
        exact = logits.detach().double()
        starts = [start(exact) for start in self._starts.values()]
        if inputs.labels is not None:
            starts[0] = given_classes(exact, inputs.labels)
        return starts

    def _record(self, contributions: Contributions, tile: Inputs) -> None:
        """Record what is measured one sample at a time, and use small tiles: it costs a backward pass per sample."""
        if contributions.one_by_one and tile.samples > 1:
            self._slow |= {(name.rpartition("/")[0], operation) for name, operation in contributions.one_by_one}
            self._tiles[tile.shapes] = _SMALLEST_TILE
        if isinstance(contributions, TimedContributions):
            self._uses += contributions.uses()

    def _forward(self, inputs: Inputs, *, check_gradients: bool = False) -> _ForwardPass:
        with (
            recorded_calls(ruled_modules(self._modules)) as calls,
            self._outputs.reading(inputs) as outputs,
        ):
            # The check takes time, so only graphs that have no plan yet are checked.
            logits = logits_of(self._network, inputs, self._owners if check_gradients or not self._plans else {})
        starts = self._start_vectors(inputs, logits)
        return _ForwardPass(logits, starts, Graph.of(logits, self._parameters), calls, outputs)

    def _plan(self, forward: _ForwardPass, smaller: Smaller | None = None, number: int = 0) -> Plan:
        return make_plan(forward.graph, forward.logits, forward.direction(number), forward.calls, smaller)

    def _known_plan(self, forward: _ForwardPass) -> Plan | None:
        plan = self._plans.get(forward.graph.signature())
        return None if plan is None else plan.adapted(forward.graph, len(forward.logits))

    def _remember(self, signature: str, plan: Plan) -> None:
        if len(self._plans) >= _MAX_PLANS:
            del self._plans[next(iter(self._plans))]
        self._plans[signature] = plan

    def _probed_plan(self, forward: _ForwardPass, tile: Inputs) -> Plan | None:
        """Plan with three samples of a tile, for all tiles like it; None if the tile's graph differs from theirs."""
        if tile.shapes in self._unprobed:
            return None
        probe = tile.probe()
        probed = self._forward(probe, check_gradients=True)
        probed.graph.require_dense()
        probed.graph.require_gradients(self._parameters)
        # The last sample: if the network carries state from one sample to the next, it shows there.
        alone = self._forward(probe.rows(slice(PROBE_SAMPLES - 1, PROBE_SAMPLES)))
        require_same_logits(alone.logits[0].detach(), probed.logits[-1].detach())
        signature = probed.graph.signature()
        smaller = None
        for fewer in (1, 2):
            part = alone if fewer == 1 else self._forward(probe.rows(slice(PROBE_SAMPLES - fewer, PROBE_SAMPLES)))
            if part.graph.signature() == signature:
                smaller = Smaller(fewer, [output_shapes(node) for node in part.graph.nodes])
                break
        plan = self._plan(probed, smaller)
        if plan.reusable:
            self._remember(signature, plan)
        known = self._known_plan(forward)
        if known is None and (plan.reusable or plan.unordered):
            self._unprobed.add(tile.shapes)
        return known

    def _tile_size(self, forward: _ForwardPass) -> int:
        """Number of samples in a tile."""
        # Transposed tensors are mostly weights.
        operations = [node for node in forward.graph.nodes if node.name() != TRANSPOSED]
        sizes = [math.prod(shape) for node in operations for shape in output_shapes(node)]
        per_sample = max(1, sum(sizes) // len(forward.logits))
        weights = sum(parameter.numel() for parameter in self._parameters.values())
        cached = len(sizes) * _OUTPUT_BYTES / forward.logits.element_size()
        return max(_SMALLEST_TILE, int(max(cached, _TILE_WEIGHTS * weights)) // per_sample)
