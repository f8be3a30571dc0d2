"""Normalisation layers: scale and shift of a normalised input, whose gradients are sums over positions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from gradmeter.errors import InputError, UnsupportedModelError
from gradmeter.kernels.portable import PerSampleGradient
from gradmeter.layers.gradients import Direct
from gradmeter.layers.registry import measures


def _per_channel(normalised: Tensor, delta: Tensor) -> dict[str, PerSampleGradient]:
    """Scale and shift per channel: sums over all positions of [N, C, ...]."""
    product = normalised * delta
    if delta.dim() > 2:
        product, delta = product.flatten(2).sum(2), delta.flatten(2).sum(2)
    return {"weight": Direct(product), "bias": Direct(delta)}


@measures(nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
def batch_norm(module: _BatchNorm, activation: Tensor, delta: Tensor) -> dict[str, PerSampleGradient]:
    """In eval mode the running statistics make it a fixed map of each sample."""
    return _per_channel(F.batch_norm(activation, module.running_mean, module.running_var, eps=module.eps), delta)


@measures(nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
def instance_norm(module: _InstanceNorm, activation: Tensor, delta: Tensor) -> dict[str, PerSampleGradient]:
    """Normalised per sample and channel, or by running statistics where the layer keeps them."""
    if module.running_mean is not None and module.running_var is not None:
        normalised = F.batch_norm(activation, module.running_mean, module.running_var, eps=module.eps)
    else:
        normalised = F.instance_norm(activation, eps=module.eps)
    return _per_channel(normalised, delta)


@measures(nn.GroupNorm)
def group_norm(module: nn.GroupNorm, activation: Tensor, delta: Tensor) -> dict[str, PerSampleGradient]:
    """Normalised per sample and group of channels."""
    return _per_channel(F.group_norm(activation, module.num_groups, eps=module.eps), delta)


def _elementwise(normalised: Tensor, delta: Tensor, dims: int) -> dict[str, PerSampleGradient]:
    """Scale and shift per entry of the last dims dimensions: sums over the positions before them."""
    product = normalised * delta
    positions = tuple(range(1, delta.dim() - dims))
    if positions:
        product, delta = product.sum(positions), delta.sum(positions)
    return {"weight": Direct(product), "bias": Direct(delta)}


@measures(nn.LayerNorm)
def layer_norm(module: nn.LayerNorm, activation: Tensor, delta: Tensor) -> dict[str, PerSampleGradient]:
    """Normalised over the last dimensions."""
    shape = list(module.normalized_shape)
    return _elementwise(F.layer_norm(activation, shape, eps=module.eps), delta, len(shape))


@measures(nn.RMSNorm)
def rms_norm(module: nn.RMSNorm, activation: Tensor, delta: Tensor) -> dict[str, PerSampleGradient]:
    """Divided by the root mean square over the last dimensions; it has no shift."""
    shape = list(module.normalized_shape)
    return _elementwise(F.rms_norm(activation, shape, eps=module.eps), delta, len(shape))


def require_independent_samples(name: str, module: nn.Module) -> None:
    """Check that the module, as it stands, does not normalise over the batch.

    Raises:
        InputError: for BatchNorm in train mode.
        UnsupportedModelError: for BatchNorm without running statistics, which mixes the samples in every mode.
    """
    if not isinstance(module, _BatchNorm):
        return
    if module.running_mean is None or module.running_var is None:
        raise UnsupportedModelError(
            f"layer {name!r} ({type(module).__name__}) has no running statistics and normalises over the batch, so a "
            "sample has no gradient of its own; expected track_running_stats=True"
        )
    if module.training:
        raise InputError(
            f"layer {name!r} ({type(module).__name__}) is in train mode and mixes the samples of a batch; "
            "expected a trained network in eval mode: call model.eval() first"
        )


__all__ = ["batch_norm", "group_norm", "instance_norm", "layer_norm", "require_independent_samples", "rms_norm"]
