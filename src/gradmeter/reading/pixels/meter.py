"""PixelMeter: statistics of the gradient of every pixel's prediction in the last layers of a segmentation network."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.errors import InputError, SlowLayerWarning, UnsupportedModelError, warn
from gradmeter.reading.allocator import keep_freed_memory
from gradmeter.reading.inputs import Inputs
from gradmeter.reading.memory_format import in_memory_format
from gradmeter.reading.network import (
    NotFinite,
    measuring,
    ownership,
    owning_modules,
    require_independent_samples,
    require_registered_parameters,
    runs_forward_of,
    unwrapped,
)
from gradmeter.reading.pixels.calls import CutLayer, Kept, cutting, keeping
from gradmeter.reading.pixels.closed_form import LastLayer, last_layer
from gradmeter.reading.pixels.confirming import differing_layers
from gradmeter.reading.pixels.local import LocalLayer, local_layer
from gradmeter.reading.pixels.outputs import Size, pixel_logits, warn_of_probabilities
from gradmeter.reading.pixels.paths import LinearPaths, Path
from gradmeter.reading.pixels.pixelwise import SlowLayer, in_default_format
from gradmeter.reading.pixels.readings import PixelReadings, write_statistics
from gradmeter.reading.pixels.starts import PixelStarts
from gradmeter.reading.pixels.structure import Structure, checked_pixels, find_structure, measurable_layers
from gradmeter.reading.pixels.taps import has_taps
from gradmeter.reading.pseudo_labels import PseudoLabel, pseudo_label_name, start_vector
from gradmeter.reading.statistics import STATISTICS
from gradmeter.reading.untraced import untraced

# Pixels that are measured at a time: their logits and sums stay in a core's cache.
_PIXELS = 8192
# Images of every size have a structure of their own.
_MAX_STRUCTURES = 256
# Largest difference of logits, relative to the largest.
_TOLERANCE = {torch.float64: 1e-6, torch.float32: 1e-2}
_TOLERANCE_HALF = 0.1


class _NotElementwise(Exception):
    """Layers before the last are followed by operations that are not elementwise."""

    def __init__(self, layers: Collection[str]) -> None:
        super().__init__(*layers)
        self.layers = layers


class _OtherPaths(Exception):
    """Layers whose outputs may reach the logits by other paths than when the structure was found."""

    def __init__(self, layers: Collection[str]) -> None:
        super().__init__(*layers)
        self.layers = layers


@dataclass
class _Found:
    """A structure, and what was seen in the first forward pass that it was used for.

    Attributes:
        structure: the structure.
        fingerprint: that of the pass; 0 before.
        dtype: the least precise dtype of the last layers' outputs.
    """

    structure: Structure
    fingerprint: int = 0
    dtype: torch.dtype = torch.float64


class PixelMeter:
    """Measure, for every pixel, the gradient of the pixel's own loss by the weights of the last layers.

    The loss of a pixel is -log p of its pseudo-label, in eval mode. The gradients of a last layer, dense or
    convolutional, with an upsampling or another linear operation behind it, are products whose statistics follow from
    power sums of the factors. For the layer before, with norms and activations between, a pixel costs one product of
    its derivatives and inputs. Other layers near the logits cost a backward pass for each pixel, and deeper ones are
    refused. Measuring leaves the network as it was.

    Args:
        model: any nn.Module that maps images to logits [N, C, H, W], to a mapping with "out" or "logits", or to an
            object with `.logits`. With C = 1, the logit is that of the second of two classes.
        layers: names of the layers to measure; by default the last ones, of which there may be several.
        pseudo_label: as for `GradientMeter`; several share one forward pass.
        biases: False excludes biases.
        size: (height, width) to which logits are upsampled bilinearly before they are measured, or "input" for the size
            of the images; by default the logits stay as the network returns them.

    Raises:
        UnsupportedModelError: if no layer of the network can be measured.
        InputError: if a layer or pseudo-label is unknown, or an argument has an invalid value.

    Example:
        >>> readings = PixelMeter(model)(images)
        >>> readings["classifier.4", "l2"]
    """

    def __init__(
        self,
        model: nn.Module,
        layers: str | Sequence[str] | None = None,
        pseudo_label: PseudoLabel | Sequence[PseudoLabel] = "predicted",
        *,
        biases: bool = True,
        size: Size = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
        if not isinstance(biases, bool):
            raise InputError(f"biases={biases!r}; expected True or False")
        self.model = model
        self.biases = biases
        self.size = _checked_size(size)
        self._network = unwrapped(model)
        several = isinstance(pseudo_label, Sequence) and not isinstance(pseudo_label, str)
        labels: list[PseudoLabel] = [*pseudo_label] if several else [pseudo_label]  # type: ignore[misc, list-item]
        self._starts = {pseudo_label_name(label): start_vector(label) for label in labels}
        if not labels or len(self._starts) < len(labels):
            raise InputError(f"pseudo_label={pseudo_label!r}; expected at least one, and none twice")
        self._given = _checked_layers(layers)
        self._look_up_layers()
        self._warned: set[str] = set()
        for layer in self._given or ():
            self._require_measurable(layer)

    def _look_up_layers(self) -> None:
        self._modules = owning_modules(self._network)
        self._parameters = measurable_layers(self._network, biases=self.biases)
        self._ownership = ownership(self._network)
        self._found: dict[Any, _Found] = {}
        # Fingerprints of forward passes in which a few pixels were compared with a backward pass.
        self._confirmed: set[int] = set()
        # Layers before the last with operations between that are not elementwise.
        self._mixing: set[str] = set()

    def _require_measurable(self, layer: str) -> None:
        if layer in self._parameters:
            return
        if layer in self._modules:
            raise UnsupportedModelError(
                f"layer {layer!r} shares a parameter, computes its weight from others or contains further layers; "
                "expected a layer with a weight of its own"
            )
        names = [*self._parameters]
        shown = ", ".join(["...", *names[-5:]] if len(names) > 5 else names)
        raise InputError(f"unknown layer {layer!r}; expected one of {shown}")

    @property
    def pseudo_labels(self) -> tuple[str, ...]:
        """Names of the pseudo-labels, as in `PixelReadings.pseudo_labels`."""
        return tuple(self._starts)

    @untraced
    def __call__(self, inputs: Tensor | tuple[Any, ...] | Mapping[str, Any] | Inputs) -> PixelReadings:
        """Measure a batch.

        Args:
            inputs: images [N, 3, H, W]; a tuple is passed to the network as `*args`, a mapping as `**kwargs`.

        Returns:
            The readings of all pixels of the N images, in order.

        Raises:
            InputError: if the batch is empty, if the network does not return logits [N, C, H, W], or if a BatchNorm in
                train mode would mix the images.
            NotFinite: an InputError that names the images whose logits are not finite.
            UnsupportedModelError: if a layer is too far from the logits, or if the network mixes the images of a batch.
        """
        batch = Inputs.of(inputs)
        keep_freed_memory()
        require_independent_samples(self._network)
        require_registered_parameters(self._network)
        return in_memory_format(self._network, batch, self._measured_in_format)

    def _measured_in_format(self, batch: Inputs) -> PixelReadings:
        key = (batch.shapes, batch.options, tuple(tensor.dtype for tensor in batch.tensors))
        if self._ownership != ownership(self._network):  # a layer was replaced since the last call
            self._look_up_layers()
        is_new = key not in self._found
        if is_new:
            self._remember(key, self._find(batch))
        while True:
            found = self._found[key]
            try:
                return self._measured(batch, found, self._given or tuple(found.structure.last))
            except _NotElementwise as error:
                self._mixing.update(error.layers)
                found.fingerprint = 0  # other hooks will run
            except _OtherPaths as error:
                # Attributes of the network may have changed. If not, the paths depend on the input.
                self._remember(key, found.structure.without(error.layers) if is_new else self._find(batch))
                is_new = True

    def _measured(self, batch: Inputs, found: _Found, layers: tuple[str, ...]) -> PixelReadings:
        structure = found.structure
        if outside := [layer for layer in layers if layer in structure.outside]:
            raise UnsupportedModelError(
                f"a parameter of layer {outside[0]!r} is also used outside of the layer's own calls, which would be "
                "left out; expected a layer that alone uses its parameters"
            )
        further = [layer for layer in layers if structure.last.get(layer) is None]
        for layer in further:
            self._require_near(layer, structure)
        slow = [layer for layer in further if not self._is_local(layer, structure)]
        for layer in slow:
            if layer not in self._warned:
                self._warned.add(layer)
                warn(
                    f"layer {layer!r} is measured by a backward pass for each pixel, which is correct but slow: it is "
                    "neither a last dense or convolutional layer with linear operations behind it nor the layer before "
                    "such a layer with elementwise operations between",
                    SlowLayerWarning,
                )
        measure = self._one_by_one if slow else self._measure
        readings = measure(batch, found, layers, slow)
        fast = [layer for layer in layers if layer not in slow]
        if fast and found.fingerprint not in self._confirmed:
            self._confirm(batch, found, readings, fast)
            self._confirmed.add(found.fingerprint)
        return readings

    def _one_by_one(
        self, batch: Inputs, found: _Found, layers: tuple[str, ...], slow: Collection[str]
    ) -> PixelReadings:
        """Measure one image at a time, because a backward pass for a pixel would otherwise run through all images."""
        parts = []
        for sample in range(batch.samples):
            try:
                parts.append(self._measure(batch.rows([sample]), found, layers, slow))
            except NotFinite as error:
                raise NotFinite.of([sample], batch.samples) from error
        return PixelReadings.concatenate(parts)

    def _remember(self, key: Any, structure: Structure) -> None:
        if key not in self._found and len(self._found) >= _MAX_STRUCTURES:
            del self._found[next(iter(self._found))]
        self._found[key] = _Found(structure)

    def _find(self, batch: Inputs) -> Structure:
        # First all images, so that an error names those without finite logits.
        with measuring(self._network, gradients=False):
            in_batch = pixel_logits(self._network, batch, self.size)
        sample, last = batch.rows([0]), batch.rows([batch.samples - 1])
        with measuring(self._network):
            structure, alone = find_structure(
                self._network,
                [*self._parameters],
                partial(pixel_logits, self._network, sample, self.size),
                partial(pixel_logits, self._network, last.map(_varied), self.size),
            )
        warn_of_probabilities(alone)
        _require_same(alone.detach(), in_batch[:1])
        return structure

    def _is_local(self, layer: str, structure: Structure) -> bool:
        """Whether a layer is measured in the windows that each pixel reads."""
        module = self._modules[layer]
        measured = has_taps(module) or runs_forward_of(module, nn.BatchNorm2d)
        return layer in structure.through and layer not in self._mixing and measured

    def _require_near(self, layer: str, structure: Structure) -> None:
        if layer not in structure.last and layer not in structure.before:
            near = ", ".join([*structure.before, *structure.last])
            raise UnsupportedModelError(
                f"layer {layer!r} is too far from the logits: the gradient of each pixel would need a backward pass of "
                f"its own through several layers with weights; expected one of {near}"
            )

    def _measure(self, batch: Inputs, found: _Found, layers: tuple[str, ...], slow: Collection[str]) -> PixelReadings:
        modules, parameters, structure = self._modules, self._parameters, found.structure
        fast = {layer: modules[layer] for layer in structure.last if structure.last[layer] is not None}
        cut = {
            layer: CutLayer(modules[layer], parameters[layer])
            for layer in layers
            if layer not in fast and layer not in slow
        }
        passes = {layer: SlowLayer(modules[layer], [*parameters[layer].values()]) for layer in slow}
        measured = [parameter for layer in passes.values() for parameter in layer.parameters]
        with measuring(self._network, gradients=bool(cut or slow), of=measured):
            followed = LinearPaths()
            with ExitStack() as stack:
                # First the copies of outputs, then the hooks that cut them off.
                kept = stack.enter_context(keeping(fast, followed))
                stack.enter_context(cutting(cut.values()))
                stack.enter_context(in_default_format(passes.values()))
                logits = pixel_logits(self._network, batch, self.size)
                paths = _same_paths(structure, kept, followed.to(logits))
            found.fingerprint = found.fingerprint or followed.trace.fingerprint
            if fast and followed.trace.fingerprint != found.fingerprint:
                raise _OtherPaths(fast)
            outputs = (call.output.dtype for calls in kept.values() for call in calls)
            found.dtype = min(outputs, key=lambda dtype: -torch.finfo(dtype).eps, default=found.dtype)
            are_all = structure.complete and all(path.alone for calls in paths.values() for path in calls)
            _check(logits.detach(), kept, paths if are_all else {})
            last: dict[str, LastLayer | LocalLayer] = {
                layer: last_layer(modules[layer], parameters[layer], calls, paths[layer])
                for layer, calls in kept.items()
                if layer in layers
            }
            for layer, of_layer in cut.items():
                (behind,) = kept[structure.through[layer]]
                (path,) = paths[behind.layer]
                local = local_layer(of_layer, behind, modules[behind.layer], path)
                if local is None:
                    raise _NotElementwise([layer])
                last[layer] = local
            return self._readings(logits, layers, last, passes)

    def _confirm(self, batch: Inputs, found: _Found, readings: PixelReadings, layers: Sequence[str]) -> None:
        """Compare a few pixels of the first image with a backward pass for each.

        Raises:
            _OtherPaths, _NotElementwise: for layers whose statistics differ.
        """
        passes = {layer: SlowLayer(self._modules[layer], [*self._parameters[layer].values()]) for layer in layers}
        measured = [parameter for layer in passes.values() for parameter in layer.parameters]
        with measuring(self._network, of=measured), in_default_format(passes.values()):
            logits = pixel_logits(self._network, batch.rows([0]), self.size)
            differing = differing_layers(readings, passes, logits, next(iter(self._starts.values())), found.dtype)
        if last := [layer for layer in differing if layer in found.structure.last]:
            raise _OtherPaths(last)
        if differing:
            raise _NotElementwise(differing)

    def _readings(
        self,
        logits: Tensor,
        layers: tuple[str, ...],
        last: Mapping[str, LastLayer | LocalLayer],
        slow: Mapping[str, SlowLayer],
    ) -> PixelReadings:
        samples, _, height, width = logits.shape
        metrics = tuple(STATISTICS)
        empty = partial(torch.empty, dtype=torch.float64, device=logits.device)
        log_scales = [empty((samples, height, width)) for _ in self._starts]
        shape = (samples, len(layers), len(metrics), height, width)
        values = [empty(shape) for _ in self._starts]
        step = max(1, _PIXELS // width)
        plain = logits.detach()
        for image in range(samples):
            for top in range(0, height, step):
                rows = slice(top, min(top + step, height))
                starts = [PixelStarts(start, plain[image, :, rows].flatten(1)) for start in self._starts.values()]
                for start, log_scale in zip(starts, log_scales, strict=True):
                    log_scale[image, rows] = start.log_scale.reshape(-1, width)
                factors = [start.log_scale.exp() for start in starts]
                for place, layer in enumerate(layers):
                    if layer in last:
                        sums = last[layer].sums(image, rows, starts)
                    else:
                        of_pixels = logits[image, :, rows].flatten(1).T
                        sums = [slow[layer].sums(of_pixels, start.direction) for start in starts]
                    for factor, group, of_loss in zip(factors, sums, values, strict=True):
                        write_statistics(group, factor, metrics, of_loss[image, place, :, rows].flatten(1))
        readings = [
            PixelReadings(plain, log_scale, layers, of_loss, name, metrics=metrics, biases=self.biases)
            for name, log_scale, of_loss in zip(self._starts, log_scales, values, strict=True)
        ]
        return replace(readings[0], further={further.pseudo_label: further for further in readings[1:]})


def _same_paths(
    structure: Structure, kept: Mapping[str, list[Kept]], followed: Mapping[tuple[str, int], Path]
) -> dict[str, list[Path]]:
    """The paths in this forward pass, with its factors.

    Raises:
        _OtherPaths: if they differ from those of the structure in more than factors.
    """
    paths: dict[str, list[Path]] = {}
    for layer, calls in kept.items():
        before = structure.last[layer] or []
        now = [path for number in range(len(calls)) if (path := followed.get((layer, number)))]
        if len(before) == len(calls) == len(now) and all(map(Path.is_like, now, before)):
            paths[layer] = now
    if other := kept.keys() - paths.keys():
        raise _OtherPaths(other)
    return paths


def _check(logits: Tensor, kept: Mapping[str, list[Kept]], paths: Mapping[str, list[Path]]) -> None:
    """Require that the network kept the layers' inputs, and that its logits are what the paths make of the outputs.

    Args:
        logits: [N, C, H, W].
        kept: the calls of the layers.
        paths: all paths to the logits; empty if something else is added to these.
    """
    outputs = [call for calls in kept.values() for call in calls]
    for call in outputs:
        call.require_input_kept()
    if paths and all(call.output_unchanged for call in outputs):
        pixels = checked_pixels(logits[0, 0].numel())
        y, x = pixels // logits.shape[3], pixels % logits.shape[3]
        mapped = [
            path.at(y, x, call.output)
            for layer, calls in kept.items()
            for call, path in zip(calls, paths[layer], strict=True)
        ]
        _require_same(sum(mapped[1:], mapped[0]), logits[:, :, y, x])


def _require_same(alone: Tensor, in_batch: Tensor) -> None:
    """Require that logits [N, ...] agree for each image."""
    differences, largest = (values.flatten(1).abs().amax(1) for values in (alone - in_batch, in_batch))
    if bool((differences > _TOLERANCE.get(in_batch.dtype, _TOLERANCE_HALF) * largest).any()):
        raise UnsupportedModelError(
            f"the network's logits for an image alone and in a batch differ by {differences.max():.2g}: it mixes the "
            "images, draws random numbers or takes another path; expected a network that treats images independently "
            "and alike"
        )


def _varied(tensor: Tensor) -> Tensor:
    """Return smaller values of the same signs, so that a network takes roots of them, too, and does not overflow."""
    if not tensor.is_floating_point():
        return tensor
    factors = torch.rand(tensor.shape, generator=torch.Generator().manual_seed(0), device="cpu") / 2 + 0.5
    return torch.where((tensor == 0).all(), 1.0, tensor) * factors.to(tensor.device, tensor.dtype)


def _checked_layers(layers: Any) -> tuple[str, ...] | None:
    if layers is None:
        return None
    names = (layers,) if isinstance(layers, str) else tuple(layers) if isinstance(layers, Iterable) else ()
    if not names or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        raise InputError(f"layers={layers!r}; expected different names of layers, or None for the last ones")
    return names


def _checked_size(size: Any) -> Size:
    if size is None:
        return None
    if isinstance(size, str) and size == "input":
        return "input"
    numbers = isinstance(size, tuple | list) and len(size) == 2
    if numbers and all(isinstance(length, int) and not isinstance(length, bool) and length > 0 for length in size):
        return size[0], size[1]
    raise InputError(f"size={size!r}; expected (height, width), 'input' or None")
