"""GradientMeter: one forward, one backward, the statistics of every layer's gradient for every sample."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.capture import Call, capturing, require_every_use_captured, require_finite
from gradmeter.errors import InputError, UnsupportedModelError
from gradmeter.kernels import power_sums
from gradmeter.kernels.portable import PerSampleGradient
from gradmeter.layers import require_rule
from gradmeter.layers.normalisation import require_independent_samples
from gradmeter.pseudo_labels import PseudoLabel, start_vector
from gradmeter.readings import Readings
from gradmeter.statistics import PowerSums, statistics

# Inputs and output gradients of a tile's layers stay below this: with all that lies between them they fit the cache
# and the allocator reuses their memory instead of asking the system for fresh pages.
_TILE_BYTES = 6 * 2**20
# Samples in the first tile for inputs of a shape that was not seen before; it tells how large the next may be.
_FIRST_TILE = 16


class GradientMeter:
    """Reads the per-sample gradient of a trained classifier's own answer, layer by layer.

    The loss is -log p of the pseudo-label (Oberdiek, Rottmann, Gottschalk 2018, Eq. 5, for "predicted"), for one
    sample at a time, in eval mode, without any regularisation term. A parameter's layer is the module that owns it
    directly. The network comes back as it was found: mode, hooks, `requires_grad`, `.grad`, buffers.

    Args:
        model: any nn.Module that maps a batch to logits [N, C] (or to an object with `.logits`) and whose parameters
            belong to convolutions, dense or normalisation layers.
        pseudo_label: "predicted", "uniform" or "all-ones"; a class index; or a loss mapping logits [N, C] to [N].
        biases: False leaves parameters named "bias" out of every statistic.
        tile: samples that go through the network at once; by default what keeps activations in cache.

    Raises:
        UnsupportedModelError: for parameters whose gradients cannot be measured.
        InputError: for an unknown pseudo-label or a tile that is not a whole number above 0.

    Example:
        >>> readings = GradientMeter(model)(images)
        >>> readings["conv1", "l2"]
    """

    def __init__(
        self,
        model: nn.Module,
        pseudo_label: PseudoLabel = "predicted",
        *,
        biases: bool = True,
        tile: int | None = None,
    ) -> None:
        if not isinstance(model, nn.Module):
            raise InputError(f"model is a {type(model).__name__}; expected a torch.nn.Module")
        if tile is not None and (not isinstance(tile, int) or isinstance(tile, bool) or tile < 1):
            raise InputError(f"tile={tile!r}; expected a whole number of samples, at least 1")
        self.model = model
        self._start = start_vector(pseudo_label)
        self._biases = biases
        self._tile = tile
        self._tiles: dict[tuple[int, ...], int] = {}
        self._layers = _owners(model, biases)

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers that own parameters, in the network's order, then "all"."""
        return (*self._layers, "all")

    def __call__(self, inputs: Tensor | tuple[Any, ...] | Mapping[str, Any]) -> Readings:
        """Measure a batch.

        Args:
            inputs: a tensor [N, ...]; a tuple or mapping is passed on as *args or **kwargs, and its tensors share
                the first axis.

        Returns:
            The readings of the N samples, in order; they do not depend on how the batch was cut.

        Raises:
            InputError: for an empty batch, tensors of different length, logits that are not [N, C] or not finite,
                or a network in train mode whose BatchNorm would mix the samples.
            UnsupportedModelError: if the network uses a parameter in a way that cannot be measured.
        """
        with torch.inference_mode(False):
            args, kwargs = _arguments(inputs)
        samples = _batch_size(args, kwargs)
        for name, module in self.model.named_modules():
            require_independent_samples(name or "root", module)
        shape = tuple(size for tensor in _tensors(args, kwargs) for size in tensor.shape[1:])
        parts, start = [], 0
        with _eval_mode(self.model), torch.inference_mode(False), torch.enable_grad():
            while start < samples:
                size = self._tile or self._tiles.get(shape, _FIRST_TILE)
                rows = slice(start, min(start + size, samples))
                readings, activation_bytes = self._measure(_cut(args, rows), _cut(kwargs, rows), check=start == 0)
                parts.append(readings)
                per_sample = max(1, activation_bytes // (rows.stop - rows.start))
                self._tiles.setdefault(shape, max(1, _TILE_BYTES // per_sample))
                start = rows.stop
        return Readings.concatenate(parts)

    def _measure(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, check: bool) -> tuple[Readings, int]:
        """Readings of one tile, and the bytes its activations took."""
        samples = _batch_size(args, kwargs)
        with capturing(self._layers) as capture:
            logits = _logits(self.model(*args, **kwargs), samples)
            if check:
                require_every_use_captured(self.model, logits, capture)
            start = self._start(logits.detach().double())
            capture.backward(logits, start.direction.to(logits.dtype))
        sums = self._sums(capture.calls, samples, logits.device)
        values = torch.stack([statistics(group) for group in sums], dim=1)
        size = sum(
            _bytes(call.activation) + (0 if call.delta is None else _bytes(call.delta)) for call in capture.calls
        )
        return Readings.scaled(logits.detach(), start.log_scale, self.layers, values), size

    def _sums(self, calls: list[Call], samples: int, device: torch.device) -> list[PowerSums]:
        """Power sums of each layer and, last, of all of them."""
        contributions: dict[int, list[PerSampleGradient]] = defaultdict(list)
        for call in calls:
            if call.delta is None:
                continue
            if len(call.activation) != samples or len(call.delta) != samples:
                raise UnsupportedModelError(
                    f"layer {call.layer!r} is called on {len(call.activation)} rows for {samples} samples; "
                    "expected the batch as the first axis everywhere"
                )
            gradients = require_rule(call.layer, call.module)(call.module, call.activation, call.delta.detach())
            for name, parameter in call.module.named_parameters(recurse=False):
                contributions[id(parameter)].append(gradients[name])
        layers, counted = [], set()
        for module in self._layers.values():
            groups = []
            for name, parameter in module.named_parameters(recurse=False):
                if id(parameter) in counted or (name == "bias" and not self._biases):
                    continue
                counted.add(id(parameter))
                found = contributions.get(id(parameter))
                groups.append(power_sums(found) if found else PowerSums.zeros(samples, parameter.numel(), device))
            layers.append(PowerSums.merge(groups))
        return [*layers, PowerSums.merge(layers)]


def _owners(model: nn.Module, biases: bool) -> dict[str, nn.Module]:
    """The modules that own parameters to measure, by name; a shared parameter belongs to its first owner."""
    owners, seen = {}, set[int]()
    for name, module in model.named_modules():
        own = dict(module.named_parameters(recurse=False))
        if not own:
            continue
        fresh = {id(parameter) for kind, parameter in own.items() if biases or kind != "bias"} - seen
        name = name or "root"
        require_rule(name, module)
        if unknown := own.keys() - {"weight", "bias"}:
            raise UnsupportedModelError(
                f"layer {name!r} ({type(module).__name__}) owns {', '.join(sorted(unknown))}; "
                "expected no parameters beside weight and bias"
            )
        if not fresh:
            raise UnsupportedModelError(
                f"layer {name!r} shares all the parameters to measure with an earlier layer; "
                "expected at least one of its own"
            )
        seen |= fresh
        owners[name] = module
    if not owners:
        raise UnsupportedModelError("the network has no parameters; expected a trained classifier")
    return owners


@contextmanager
def _eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode inside the block; every module's own mode after it."""
    training = [module for module in model.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


def _logits(output: Any, samples: int) -> Tensor:
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor) or logits.dim() != 2 or logits.shape[0] != samples or logits.shape[1] < 2:
        given = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"the network returned {given}; expected logits of shape ({samples}, classes >= 2)")
    require_finite(logits.detach())
    return logits


def _arguments(inputs: Tensor | tuple[Any, ...] | Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(inputs, Tensor):
        return (_prepared(inputs),), {}
    if isinstance(inputs, Mapping):
        return (), {name: _prepared(value) for name, value in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_prepared(value) for value in inputs), {}
    raise InputError(f"inputs are a {type(inputs).__name__}; expected a tensor, a tuple or a dict of tensors")


def _prepared(value: Any) -> Any:
    """A tensor without its history; images with channels last, the faster memory order."""
    if not isinstance(value, Tensor):
        return value
    value = value.detach()
    if value.is_inference():
        value = value.clone()
    if value.dim() == 4 and value.is_floating_point():
        value = value.contiguous(memory_format=torch.channels_last)
        if value.shape[1] == 1:
            # With one channel both orders are the same memory; only the strides tell convolutions which is meant.
            height, width = value.shape[2:]
            value = value.as_strided(value.shape, (height * width, 1, width, 1))
    return value


def _tensors(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    return [value for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]


def _batch_size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    shapes = [tuple(tensor.shape) for tensor in _tensors(args, kwargs)]
    if len({shape[:1] for shape in shapes} - {()}) != 1 or () in shapes:
        given = ", ".join(map(str, shapes)) or "no tensor"
        raise InputError(f"inputs hold {given}; expected tensors of shape (N, ...) with the same N for all")
    samples: int = shapes[0][0]
    if samples == 0:
        raise InputError("the batch holds zero samples; expected at least one")
    return samples


def _cut(values: Any, rows: slice) -> Any:
    if isinstance(values, dict):
        return {name: value[rows] if isinstance(value, Tensor) else value for name, value in values.items()}
    return tuple(value[rows] if isinstance(value, Tensor) else value for value in values)


def _bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
