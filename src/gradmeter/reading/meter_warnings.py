"""What a meter warns about."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, nn

from gradmeter.errors import PaddingWarning, ProbabilitiesWarning, SlowLayerWarning, warn
from gradmeter.reading.inputs import MASK, Inputs
from gradmeter.reading.network import are_probabilities, are_sigmoids, logits_difference, logits_of


class MeterWarnings:
    """Warnings that a meter gives once for its network."""

    def __init__(self) -> None:
        self._slow: set[tuple[str, str]] = set()
        self._inseparable = self._padded_layers = self._other_mask = False
        # Options of inputs for which logits with and without padding were compared.
        self._trimmed: set[tuple[Any, ...]] = set()

    def slow_layers(self, slow: set[tuple[str, str]]) -> None:
        """Warn of the (layer, operation) pairs that are measured for one sample at a time."""
        for layer, operation in sorted(slow - self._slow):
            warn(
                f"layer {layer!r} is measured one sample at a time, which is correct but slow: {operation} has no rule "
                "for how it is used here; register one for the layer's module with "
                "gradmeter.reading.layers.register_rule",
                SlowLayerWarning,
            )
        self._slow |= slow

    def inseparable(self, layer: str) -> None:
        """Warn that samples are measured alone because of the outputs of a layer."""
        if self._inseparable:
            return
        self._inseparable = True
        warn(
            f"samples are measured one at a time, which is correct but slow: the rows that layer {layer!r} returns "
            "for a batch do not show which sample they are of, as where a network packs or routes samples",
            SlowLayerWarning,
        )

    def padded_logits(self, network: nn.Module, batch: Inputs) -> None:
        """Compare the logits of a sample with and without its padding, and warn if they differ.

        It is the most padded one that the network takes without: for many, a text of one word is too short.
        """
        if batch.options in self._trimmed or batch.mask is None:
            return
        for padded, trimmed in batch.with_and_without_padding():
            self._trimmed.add(batch.options)
            try:
                with torch.no_grad():
                    shorter, whole = (logits_of(network, inputs, {})[0] for inputs in (trimmed, padded))
            except Exception:  # not every network takes texts of every length
                continue
            if difference := logits_difference(shorter, whole):
                warn(
                    f"the network's logits for a sample with and without its padding differ by {difference:.2g}: what "
                    "is read of a sample, and its verdict, depend on the length of its batch; pad all samples to the "
                    "same length or on the other side (padding_side of a tokenizer)",
                    PaddingWarning,
                )
            return

    def mask(self, batch: Inputs) -> None:
        """Warn of a mask that does not say which positions of a sample are padding."""
        mask = batch.mask_argument
        if not isinstance(mask, Tensor) or mask.dim() == 2 or self._other_mask or bool((mask != 0).all()):
            return
        self._other_mask = True
        warn(
            f"the {MASK} has shape {tuple(mask.shape)}; expected (N, T), one number for each position of a text: the "
            "outputs of layers are read with their padding, and what is read of a sample, and its verdict, depend on "
            "the length of its batch; pad all samples to the same length",
            PaddingWarning,
        )

    def padded_layers(self, layers: Collection[str]) -> None:
        """Warn of layers whose outputs were read at padded positions, too."""
        if not layers or self._padded_layers:
            return
        self._padded_layers = True
        further = f" and {len(layers) - 1:,} more" if len(layers) > 1 else ""
        warn(
            f"the outputs of layer {min(layers)!r}{further} are read with their padding, because their length is not "
            f"that of the {MASK}: what is read of a sample, and its verdict, depend on the length of its batch; pad "
            "all samples to the same length",
            PaddingWarning,
        )


def warn_of_probabilities(outputs: Tensor) -> None:
    """Warn if outputs [N, C] look like probabilities."""
    if are_probabilities(outputs):
        sign, last = " and add up to 1 for each sample", "softmax, or return the logarithm"
    elif are_sigmoids(outputs):
        sign, last = "", "sigmoid"
    else:
        return
    warn(
        f"the network's outputs look like probabilities: they lie between 0 and 1{sign}; expected logits, since the "
        f"softmax is applied to them: remove the last {last}",
        ProbabilitiesWarning,
    )
