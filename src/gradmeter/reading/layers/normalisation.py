"""Normalisation layers: the gradients of their scale and shift are sums over positions."""

from __future__ import annotations

import torch
from torch import Tensor

from gradmeter.reading.capture import Operation
from gradmeter.reading.kernels import channel_sums
from gradmeter.reading.layers.broadcasting import summed_to_input
from gradmeter.reading.layers.convolution import images
from gradmeter.reading.layers.gradients import Direct, PerSampleGradient
from gradmeter.reading.layers.registry import register_rule


def _per_channel(operation: Operation, scale: Tensor, shift: Tensor) -> dict[int, PerSampleGradient]:
    return {number: Direct(values) for number, values in ((1, scale), (2, shift)) if number in operation.inputs}


def _batch_norm(operation: Operation, epsilon: float) -> dict[int, PerSampleGradient]:
    """Batch norm in eval mode, which treats samples independently."""
    if operation.axis.dim != 0:
        return {}
    mean, variance = operation.saved("running_mean"), operation.saved("running_var")
    products, sums = channel_sums(images(operation, operation.delta), images(operation, operation.saved("input")), mean)
    return _per_channel(operation, products * torch.rsqrt(variance.to(products.dtype) + epsilon), sums)


@register_rule("NativeBatchNormBackward0", "NativeBatchNormLegitBackward0")
def batch_norm(operation: Operation) -> dict[int, PerSampleGradient]:
    """Batch norm by PyTorch."""
    return {} if operation.saved("training") else _batch_norm(operation, operation.saved("eps"))


@register_rule("NativeBatchNormLegitNoTrainingBackward0", "BatchNormNoUpdateBackward0")
def batch_norm_in_eval_mode(operation: Operation) -> dict[int, PerSampleGradient]:
    """Batch norm by PyTorch in an exported program, which fixes the mode."""
    return _batch_norm(operation, operation.saved("eps"))


@register_rule("CudnnBatchNormBackward0", "MiopenBatchNormBackward0")
def batch_norm_of_a_library(operation: Operation) -> dict[int, PerSampleGradient]:
    """Batch norm by cuDNN or MIOpen on a GPU."""
    return {} if operation.saved("training") else _batch_norm(operation, operation.saved("epsilon"))


@register_rule("NativeGroupNormBackward0")
def group_norm(operation: Operation) -> dict[int, PerSampleGradient]:
    """Group norm: normalises each image and group of channels."""
    if operation.axis.dim != 0:
        return {}
    activation, groups = operation.saved("input"), operation.saved("group")
    grouped = activation.unflatten(1, (groups, -1)).flatten(2)
    mean, scale = (operation.saved(name).reshape(-1, groups, 1) for name in ("result1", "result2"))
    normalised = ((grouped - mean) * scale).reshape(activation.shape)
    delta = operation.delta
    product, delta = images(operation, normalised * delta), images(operation, delta)
    if delta.dim() > 2:
        product, delta = product.flatten(2).sum(2), delta.flatten(2).sum(2)
    return _per_channel(operation, product, delta)


@register_rule("NativeLayerNormBackward0")
def layer_norm(operation: Operation) -> dict[int, PerSampleGradient]:
    """Layer norm: normalises over the last dimensions."""
    gradients: dict[int, PerSampleGradient] = {}
    if 1 in operation.inputs:
        normalised = (operation.saved("input") - operation.saved("result1")) * operation.saved("result2")
        gradients.update(summed_to_input(operation, 1, normalised * operation.delta))
    if 2 in operation.inputs:
        gradients.update(summed_to_input(operation, 2))
    return gradients


@register_rule("FusedRmsNormBackward0")
def rms_norm(operation: Operation) -> dict[int, PerSampleGradient]:
    """RMS norm: scales over the last dimensions, in one operation."""
    if 1 not in operation.inputs:
        return {}
    normalised = operation.saved("input") * operation.saved("result1")
    return {**summed_to_input(operation, 1, normalised * operation.delta)}
