"""Statistics of the layers' outputs and the input of the last layer, collected during the forward pass."""

from __future__ import annotations

import math
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from gradmeter.errors import UnsupportedModelError
from gradmeter.names import listed
from gradmeter.reading.capture import SampleAxis, growing_dimension
from gradmeter.reading.hooks import Hook, Hooks
from gradmeter.reading.inputs import PROBE_SAMPLES, Inputs
from gradmeter.reading.kernels import OutputSums
from gradmeter.reading.statistics import Moments, merged, statistics_of

# Samples of other content, made from one.
_OTHERS = 5
# Samples that are also passed in the opposite order, to see whether the network sorts them.
_ORDERED = 8
# Largest difference between a sample's output alone and in a batch, relative to the largest entry: large enough for
# half precision, too small to confuse two samples.
_TOLERANCE = 0.02
# Layers in a message.
_NAMED = 5

_Options = tuple[tuple[int | str, Any], ...]
_Kind = tuple[_Options, tuple[tuple[int, ...], ...]]
Call = tuple[str, int]
"""A layer, and the number of its earlier calls in the same forward pass."""


class Inseparable(Exception):
    """The rows of a layer's output do not show which sample they are of; the argument is the layer."""


class LayerOutputs:
    """Outputs of the layers for a tile of N samples.

    Attributes:
        samples: N.
        unknown: whether the sample axis of some output is unknown.
        unfit: a layer whose output has other dimensions than its sample axis, None if there is none.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples
        self.unknown = False
        self.unfit: str | None = None
        self._sums = OutputSums(samples)
        # Size of all outputs.
        self._bytes = 0
        # Indices of each layer's outputs in the sums.
        self._indices: dict[str, list[int]] = {}
        # Layers, their inputs [N, D] and outputs [N, C]; one of them may be the last.
        self._candidates: list[tuple[str, Tensor, Tensor]] = []

    def samples_in(self, size: float) -> int | None:
        """Number of samples whose outputs take `size` bytes on average; None if there were no outputs."""
        return int(size * len(self._sums.counts) * self.samples / self._bytes) if self._bytes else None

    def add(self, layer: str, output: Tensor, kept: Tensor | None) -> None:
        """Add an output, [N, ...]; `kept` is false at padded positions, and broadcasts to it."""
        self._bytes += output.nbytes
        self._indices.setdefault(layer, []).append(self._sums.add(output, kept))

    def add_candidate(self, layer: str, activation: Any, output: Tensor) -> None:
        """Keep the input of a layer that may be the last one."""
        if isinstance(activation, Tensor) and activation.dim() == output.dim() == 2:
            self._candidates.append((layer, activation.detach(), output.detach()))

    def embedding(self, logits: Tensor) -> tuple[str, Tensor] | None:
        """The layer that returned the logits, and its input [N, D]; None if there is no such layer."""
        for layer, activation, output in reversed(self._candidates):
            if is_last(activation, output, logits):
                return layer, activation.clone()
        return None

    def statistics(self, layers: tuple[str, ...], device: torch.device) -> Tensor:
        """The statistics `ACTIVATION_METRICS`, [N, layers, 9] float64; zeros for a layer that was not called."""
        # All layers at once, because each takes many small operations.
        numbers, counts = self._of_layers(layers)
        numbers = numbers.to(device).transpose(0, 1)
        if self._sums.differ:
            columns = [torch.as_tensor(count, device=device).expand(self.samples) for count in counts]
            count = torch.stack(columns, dim=1).to(numbers.dtype)
        else:
            count = torch.tensor(counts, dtype=numbers.dtype, device=device)
        values = statistics_of(Moments(numbers[..., :-1], count))
        return torch.cat([values, (numbers[..., -1] / count).unsqueeze(2)], dim=2)

    def _of_layers(self, layers: tuple[str, ...]) -> tuple[Tensor, list[int | Tensor]]:
        """Sums [layers, N, 8] and numbers of entries, as in `OutputSums`, over all outputs of each layer."""
        sums, counts = self._sums.numbers, self._sums.counts
        if len(counts) == len(layers) == len(self._indices) and layers == tuple(self._indices):
            return sums, counts  # one output per layer, in order: the usual case
        # Zeros for layers without output.
        counts = [*counts, 1]
        sums = torch.cat([sums, sums.new_zeros(1, *sums.shape[1:])])
        indices = [self._indices.get(layer, [-1]) for layer in layers]
        numbers = sums[torch.tensor([calls[0] for calls in indices], dtype=torch.int64, device=sums.device)]
        for row, calls in enumerate(indices):
            if len(calls) > 1:
                parts = sums[calls]
                numbers[row, :, :-1] = merged(parts[..., :-1])
                numbers[row, :, -1] = parts[..., -1].sum(0)
        return numbers, [sum(counts[call] for call in calls) for calls in indices]


@dataclass(frozen=True)
class _Text:
    """A text with and without its padding.

    Attributes:
        padded: the text with it.
        trimmed: the text without it.
        whole: outputs for `padded`, without their values.
        shorter: those for `trimmed`.
    """

    padded: Inputs
    trimmed: Inputs
    whole: Mapping[Call, Tensor]
    shorter: Mapping[Call, Tensor]


class OutputReader:
    """Collects the outputs of a network's layers.

    Networks fold, transpose and window their batches. The sample axis of an output is found by comparing the outputs
    for three samples with those for the last of them alone, and the order of its rows by passing samples in the
    opposite order. Outputs that do not separate the samples, or have them in another order, are left out, and so are
    layers whose calls or shapes depend on the content, as where a network routes samples to different layers.

    Args:
        modules: the layers by name.
        activations: whether to compute statistics of their outputs.
        embedding: whether to keep the input of the last layer.
        layers: names of the layers to read, as an earlier reader found them; empty to find them.

    Attributes:
        layers: names of the layers whose outputs separate the samples, in the order of their first call; empty before
            the first call of `learn` if it finds them.
        padded: names of the layers whose outputs were read at padded positions too: no axis fits the mask, and
            their size varies with the padding.
    """

    def __init__(
        self, modules: Mapping[str, nn.Module], *, activations: bool, embedding: bool, layers: tuple[str, ...] = ()
    ) -> None:
        # The network's own output is the logits, so nothing else is read of it. Without layers, it is its own last one.
        self._modules = {name: module for name, module in modules.items() if name != "root"} or dict(modules)
        self._activations, self._embedding = activations, embedding
        # By the options of the inputs; None for outputs that do not separate the samples.
        self._axes: defaultdict[_Options, dict[Call, SampleAxis | None]] = defaultdict(dict)
        # By the same options: the outputs with their rows in another order than the samples'.
        self._unordered: defaultdict[_Options, set[Call]] = defaultdict(set)
        # By the same options: the axes of each output's rows that are shorter for a shorter text.
        self._positions: dict[_Options, dict[Call, Sequence[int]]] = {}
        # Until the sample axes are known.
        self._texts: dict[_Options, _Text] = {}
        # By the options for which no positions are known: the length of the longest text that the network did not take.
        self._too_short: dict[_Options, int] = {}
        # Shapes of outputs without known positions, such as those of an image beside a text; for each size of image.
        self._shapes: dict[tuple[_Kind, Call], torch.Size] = {}
        self._learned: set[_Kind] = set()
        self._guessed: set[_Kind] = set()
        self.layers = layers
        self.padded: set[str] = set()

    def learn(self, forward: Callable[[Inputs], Any], inputs: Inputs, *, unknown: bool = False) -> bool:
        """Find the sample axis of every output, and the positions, unless they are known for inputs like these.

        Args:
            forward: calls the network.
            inputs: inputs of some samples.
            unknown: whether the sample axis of some output was unknown for such inputs.

        Returns:
            Whether new sample axes were found.

        Raises:
            UnsupportedModelError: if the network calls none of the layers that an earlier reader found.
        """
        new = self._learn_axes(forward, inputs, unknown)
        if (text := self._texts.pop(inputs.options, None)) is not None:
            self._positions[inputs.options] = self._positions_of(text)
        return new

    def learn_lengths(self, forward: Callable[[Inputs], Any], batch: Inputs) -> None:
        """Compare the outputs for a text with and without its padding, unless the positions in them are known.

        Of a whole batch, so that no text is read before, as one would be that is too short to be compared.

        Args:
            forward: calls the network.
            batch: the inputs.
        """
        if not self._activations or batch.mask is None or batch.options in self._positions:
            return
        for padded, trimmed in batch.with_and_without_padding():
            length = trimmed.mask_argument.shape[1]
            if length <= self._too_short.get(batch.options, 0):
                continue
            try:
                shorter, whole = (self._outputs_of(forward, inputs, shapes=True) for inputs in (trimmed, padded))
            except Exception:  # not every network takes texts of every length
                self._too_short[batch.options] = length
                continue
            self._texts[batch.options] = _Text(padded, trimmed, whole, shorter)
            return

    def _learn_axes(self, forward: Callable[[Inputs], Any], inputs: Inputs, unknown: bool) -> bool:
        axes, kind = self._axes[inputs.options], (inputs.options, inputs.shapes)
        if not self._activations or kind in self._learned:
            return False
        if inputs.samples == 1 and kind in self._guessed:
            return False
        if self._learned and axes and not unknown and all(axis is None or axis.plain for axis in axes.values()):
            return False
        probe = inputs.probe()
        # Equal samples do not determine the axis, so it is not final.
        same = probe.are_equal(-1, -2)
        if same and kind in self._guessed:
            return False
        many, alone = self._outputs_of(forward, probe), self._outputs_of(forward, probe.rows([PROBE_SAMPLES - 1]))
        # Nor do outputs over which a NaN has spread.
        same = same or any(bool(output.isnan().any()) for output in many.values())
        learned = {call: _axis(many[call], alone[call]) for call in many if call in alone}
        if was_guessed := not same and self._is_guessed(inputs.options):
            axes.clear()
        for call, axis in learned.items():
            known = axes.get(call)
            fitting = None if known is None else known.adapted(many[call].shape, PROBE_SAMPLES)
            # Equal samples, and one position per sample, show less than what is known already.
            if call not in axes or (axis is not None and axis != fitting and not (same and fitting)):
                axes[call] = axis
        if inputs.samples > 1:
            self._unordered[inputs.options] |= self._out_of_order(forward, inputs.spread(_ORDERED), axes)
        axes.update(dict.fromkeys(self._unordered[inputs.options]))
        if not self.layers or was_guessed:
            routed = _routed(many, PROBE_SAMPLES, alone, axes)
            with suppress(Exception):  # not every network takes every content, and PyTorch cannot order every dtype
                others = _other_contents(probe.rows([PROBE_SAMPLES - 1]))
                routed |= _routed(self._outputs_of(forward, others, shapes=True), _OTHERS, alone, axes)
            axes.update({call: None for call in axes if call[0] in routed})
        if not self.layers:
            separate = dict.fromkeys(layer for layer, _ in learned if axes.get((layer, 0)) and layer != "root")
            self.layers = tuple(separate)
        elif not any(layer in self.layers for layer, _ in many):
            raise UnsupportedModelError(
                f"the network calls none of the layers whose outputs were read before ({listed(self.layers, _NAMED)}), "
                "as if it were traced or exported; expected the same network as before"
            )
        (self._guessed if same else self._learned).add(kind)
        return True

    def _is_guessed(self, options: _Options) -> bool:
        """Whether all that is known for inputs with these options was guessed from equal samples."""
        guessed, learned = ({options for options, _ in kinds} for kinds in (self._guessed, self._learned))
        return options in guessed - learned

    def _out_of_order(
        self, forward: Callable[[Inputs], Any], inputs: Inputs, axes: Mapping[Call, SampleAxis | None]
    ) -> set[Call]:
        """The outputs whose rows are not those of the samples in order, as where a network sorts these by length."""
        unfit: set[Call] = set()

        def summaries(inputs: Inputs) -> dict[Call, Tensor]:
            found: dict[Call, Tensor] = {}

            def keep(call: Call, activation: Any, output: Tensor) -> None:
                if (known := axes.get(call)) is None:
                    return
                if (axis := known.adapted(output.shape, inputs.samples)) is None:
                    unfit.add(call)
                elif output.numel():
                    rows = torch.nan_to_num(axis.rows(output.detach(), inputs.samples).flatten(1).float())
                    found[call] = torch.stack([rows.amin(1), rows.amax(1), rows.norm(dim=1)], dim=1)

            with self.observe(keep):
                forward(inputs)
            return found

        forth, back = summaries(inputs), summaries(inputs.rows([*reversed(range(inputs.samples))]))
        return unfit | {
            call
            for call, rows in forth.items()
            if call not in back or bool(((rows - back[call].flip(0)).abs() > _TOLERANCE * rows.abs().amax(0)).any())
        }

    def _positions_of(self, text: _Text) -> dict[Call, Sequence[int]]:
        """Which axes of each output are shorter for a sample without its padding; of an image's outputs none is."""
        padded, trimmed, whole, shorter = text.padded, text.trimmed, text.whole, text.shorter
        positions: dict[Call, Sequence[int]] = {}
        for call, axis in self.axes(padded).items():
            fitting = [axis.adapted(outputs[call].shape, 1) for outputs in (whole, shorter) if call in outputs]
            if len(fitting) == 2 and fitting[0] and fitting[1]:
                shapes = fitting[0].rows(whole[call], 1).shape, fitting[1].rows(shorter[call], 1).shape
                if len(shapes[0]) != len(shapes[1]):  # positions are folded into the batch, except a single one
                    continue
                dims = [dim for dim, (size, less) in enumerate(zip(*shapes, strict=True)) if size != less]
                positions[call] = dims
                # A network that pads its inputs itself, as Longformer does, leaves no mask of that.
                length = trimmed.mask_argument.shape[1]
                if any(shapes[1][dim] != length for dim in dims) and call[0] in self.layers:
                    self.padded.add(call[0])
        # Without an axis that is shorter, a network that got shorter inputs has padded them to one length itself.
        cut = sum(size != less for size, less in zip(padded.shapes, trimmed.shapes, strict=True))
        return positions if cut > 1 or any(positions.values()) else {}

    def _outputs_of(
        self, forward: Callable[[Inputs], Any], inputs: Inputs, *, shapes: bool = False
    ) -> dict[Call, Tensor]:
        """The outputs of the layers; with `shapes` without their values, which take memory."""
        outputs: dict[Call, Tensor] = {}

        def keep(call: Call, activation: Any, output: Tensor) -> None:
            outputs[call] = output.detach().to("meta") if shapes else output.detach().clone()

        with self.observe(keep):
            forward(inputs)
        return outputs

    @contextmanager
    def reading(self, inputs: Inputs) -> Iterator[LayerOutputs]:
        """Collect the outputs of the layers in a forward pass with these inputs inside the block.

        Outputs at padded positions are left out: they depend on the rest of the batch.
        """
        samples, axes = inputs.samples, self._axes[inputs.options]
        positions = self._positions.get(inputs.options, {})
        # A sample that is nothing but padding is read whole.
        mask = None if inputs.mask is None else inputs.mask | ~inputs.mask.any(1, keepdim=True)
        images = inputs.options, tuple(shape for shape in inputs.shapes if len(shape) > 2)
        outputs = LayerOutputs(samples)

        def add(call: Call, activation: Any, output: Tensor) -> None:
            if self._embedding:
                outputs.add_candidate(call[0], activation, output)
            known = axes.get(call)
            axis = None if known is None else known.adapted(output.shape, samples)
            if call[0] not in self.layers:
                return
            # A layer is read because its first outputs separated the samples.
            lost = axis is None and (known is not None or call[1] == 0)
            if lost and samples > 1:
                outputs.unfit = call[0]
            outputs.unknown |= call not in axes or outputs.unfit is not None
            if (axis is not None or (lost and samples == 1)) and output.numel():
                # Alone, a sample has the whole output.
                rows = output.unsqueeze(0) if axis is None else axis.rows(output, samples)
                kept = None
                # Pooled outputs [N, D] have no positions.
                if mask is not None and rows.dim() > 2:
                    length = mask.shape[1]
                    first = [rows.shape.index(length, 1)] if length in rows.shape[1:] else []
                    dims = positions.get(call, first)
                    if not dims and self._shapes.setdefault((images, call), rows.shape[1:]) != rows.shape[1:]:
                        self.padded.add(call[0])
                    for dim in dims:
                        if rows.shape[dim] != length:
                            self.padded.add(call[0])
                            continue
                        around = [1] * (dim - 1), [1] * (rows.dim() - dim - 1)
                        along = mask.to(rows.device).view(samples, *around[0], length, *around[1])
                        kept = along if kept is None else kept & along
                outputs.add(call[0], rows, kept)

        with self.observe(add):
            yield outputs

    def axes(self, inputs: Inputs) -> Mapping[Call, SampleAxis]:
        """The sample axis of each output that separates the samples, as `learn` found it for inputs like these."""
        return {call: axis for call, axis in self._axes[inputs.options].items() if axis is not None}

    @contextmanager
    def observe(self, receive: Callable[[Call, Any, Tensor], None]) -> Iterator[None]:
        """Pass the input and the output of every layer to `receive` at once: a later layer may overwrite them."""
        if not self._activations and not self._embedding:
            yield
            return
        calls: dict[str, int] = {}

        def after(layer: str, module: nn.Module, args: Any, output: Any) -> None:
            number = calls.get(layer, 0)
            calls[layer] = number + 1
            # Recurrent layers and attention also return their states or weights.
            first = output[0] if isinstance(output, tuple) and output else output
            if (
                isinstance(first, Tensor)
                and first.is_floating_point()
                and first.dim() > 0
                and not _is_transformed(first)
            ):
                receive((layer, number), args[0] if args else None, first)

        # As `register_forward_hook` does it, which for a single sample takes longer than the hooks themselves.
        key = RemovableHandle(OrderedDict()).id
        hook = Hook(after, hooks := Hooks())
        try:
            for name, module in self._modules.items():
                module._forward_hooks[key] = partial(hook, name)
            yield
        finally:
            hooks.thread = None
            for module in self._modules.values():
                module._forward_hooks.pop(key, None)


def _is_transformed(tensor: Tensor) -> bool:
    """Whether a tensor exists only inside a transform of torch.func, such as vmap."""
    return torch._C._functorch.is_functorch_wrapped_tensor(tensor)


def is_last(activation: Tensor, output: Tensor, logits: Tensor) -> bool:
    """Whether a layer is the last one: its input is an embedding, and its output [N, C] becomes the logits.

    As it is, or as log-probabilities. Token ids [N, T] are no embedding.
    """
    if not activation.is_floating_point() or output.shape != logits.shape or output.device != logits.device:
        return False
    # The same operation on the same numbers rounds in the same way.
    return output.data_ptr() == logits.data_ptr() or torch.equal(output.log_softmax(1, dtype=logits.dtype), logits)


def _other_contents(sample: Inputs) -> Inputs:
    """Several samples of the shape of one with other plausible values, such as its own in another order."""

    def change(tensor: Tensor) -> Tensor:
        if tensor is sample.mask_argument or tensor.dtype == torch.bool or tensor.is_complex() or not tensor.numel():
            return tensor.expand(_OTHERS, *tensor.shape[1:])
        least, most, values = tensor.amin(), tensor.amax(), tensor.flatten()
        shuffled = values[torch.randperm(len(values), generator=torch.Generator("cpu").manual_seed(0), device="cpu")]
        # Of numbers with signs the negative ones are plausible, too.
        opposite = -values if tensor.is_floating_point() and bool(least < 0) else least + most - values
        rows = (values.flip(0), shuffled, opposite, least.expand(len(values)), most.expand(len(values)))
        return torch.stack(rows).view(_OTHERS, *tensor.shape[1:])

    return replace(sample.map(change), labels=None)


def _routed(
    many: Mapping[Call, Tensor], samples: int, alone: Mapping[Call, Tensor], axes: Mapping[Call, SampleAxis | None]
) -> set[str]:
    """The layers that only some of several samples call, or with only some of their rows."""
    return {layer for layer, _ in many.keys() ^ alone.keys()} | {
        call[0]
        for call in many.keys() & alone.keys()
        if (axes.get(call) or many[call].shape != alone[call].shape)
        and growing_dimension(tuple(many[call].shape), samples, tuple(alone[call].shape), 1) is None
    }


def _axis(many: Tensor, alone: Tensor) -> SampleAxis | None:
    """The sample axis of an output, from the outputs for three samples and for the last of them alone."""
    dim = growing_dimension(tuple(many.shape), PROBE_SAMPLES, tuple(alone.shape), 1)
    if dim is None:
        return None
    folds = alone.shape[dim]
    finite = torch.nan_to_num(many, posinf=0, neginf=0)
    tolerance = _TOLERANCE * float(finite.abs().max()) if finite.numel() else 0.0
    # An infinite entry equals itself.
    many, alone = torch.nan_to_num(many), torch.nan_to_num(alone)
    best, least = None, math.inf
    for outer in (divisor for divisor in range(1, folds + 1) if folds % divisor == 0):
        axis = SampleAxis(dim, outer, folds // outer)
        differences = axis.rows(many, PROBE_SAMPLES)[-1] - axis.rows(alone, 1)[0]
        largest = float(differences.abs().max()) if differences.numel() else 0.0
        if largest < least:
            best, least = axis, largest
    return best if least <= tolerance else None
