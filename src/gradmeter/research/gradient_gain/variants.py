"""What a judge reads: one forward pass, gradients, or noise in the place of gradients."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from gradmeter.trust.features import GRADIENTS as GRADIENT_SOURCE
from gradmeter.trust.features import OUTPUTS, FeatureBlock

FORWARD, GRADIENTS, NOISE, ALONE = "forward", "gradients", "noise", "gradients alone"
VARIANTS = (FORWARD, GRADIENTS, NOISE, ALONE)
"""What one forward pass shows; also gradients; also gradients of other inputs, drawn at random; gradients alone."""

View = Callable[[FeatureBlock], FeatureBlock]
"""Selects, or replaces, features of a block."""


def view_of(variant: str, donors: FeatureBlock, seed: int) -> View:
    """Return the view of a variant.

    Args:
        variant: one of `VARIANTS`.
        donors: features of known inputs. For `NOISE`, the gradients of a random donor replace those of each input: they
            have the shape of gradients and say nothing about the input.
        seed: of the random donors.
    """
    gradients = donors.axes.of(GRADIENT_SOURCE)
    if variant == ALONE:
        return lambda block: block.columns(gradients)
    if variant == FORWARD:
        others = donors.axes.where(lambda feature: feature.source != GRADIENT_SOURCE)
        return lambda block: block.columns(others)
    if variant == GRADIENTS:
        return lambda block: block
    random = np.random.default_rng(seed)

    def with_noise(block: FeatureBlock) -> FeatureBlock:
        values = block.values.copy()
        values[:, gradients] = donors.values[random.integers(len(donors), size=len(block))][:, gradients]
        return FeatureBlock(values, block.axes)

    return with_noise


def outputs_only(donors: FeatureBlock) -> View:
    """Return the view of the softmax: its entropy, log(1 - p) and the energy."""
    outputs = donors.axes.of(OUTPUTS)
    return lambda block: block.columns(outputs)
