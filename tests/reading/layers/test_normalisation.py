from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gradmeter.reading.capture import Operation, SampleAxis
from gradmeter.reading.layers.normalisation import (
    batch_norm,
    batch_norm_in_eval_mode,
    batch_norm_of_a_library,
    rms_norm,
)
from oracles.networks import randomise, samples
from reading.layers.measured import DIGITS, Use, built, check
from reading.layers.stand_in import stand_in

MODULES: list[tuple[nn.Module, tuple[int, ...]]] = [
    (nn.BatchNorm1d(6), (6,)),
    (nn.BatchNorm1d(6), (6, 5)),
    (nn.BatchNorm2d(6, eps=0.3), (6, 5, 4)),
    (nn.BatchNorm3d(6), (6, 2, 3, 4)),
    (nn.SyncBatchNorm(6), (6, 5)),
    (nn.LayerNorm(6, eps=0.3), (6,)),
    (nn.LayerNorm(6), (2, 5, 6)),
    (nn.LayerNorm((5, 6)), (2, 5, 6)),
    (nn.LayerNorm((5, 6)), (5, 6)),
    (nn.LayerNorm(6, bias=False), (5, 6)),
    (nn.GroupNorm(3, 6, eps=0.3), (6, 5, 4)),
    (nn.GroupNorm(3, 6), (6,)),
    (nn.GroupNorm(6, 6), (6, 5)),
    (nn.GroupNorm(1, 6), (6, 2, 3, 4)),
    (nn.InstanceNorm1d(6, affine=True), (6, 5)),
    (nn.InstanceNorm2d(6, affine=True, eps=0.3), (6, 5, 4)),
    (nn.InstanceNorm3d(6, affine=True), (6, 2, 3, 4)),
    (nn.InstanceNorm2d(6, affine=True, eps=0.3, track_running_stats=True), (6, 5, 4)),
    (nn.RMSNorm(6, eps=0.3), (6,)),
    (nn.RMSNorm((5, 6)), (2, 5, 6)),
]
RULED = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)


@pytest.mark.parametrize("dtype", DIGITS, ids=str)
@pytest.mark.parametrize(("module", "shape"), MODULES, ids=repr)
def test_modules(module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> None:
    module = randomise(module.eval().to(dtype))
    forms = check(module, (2 * samples(3, *shape) + 0.5).to(dtype), device=device, **DIGITS[dtype])
    if isinstance(module, RULED):
        assert forms == {name: ["Direct"] for name, _ in module.named_parameters()}


FRAMES = 2 * samples(3, 4, 6, 5) + 0.5
MEAN, VARIANCE = samples(6, seed=7), samples(6, seed=8).square() + 0.5
NORM = {"w": (6,), "b": (6,)}

USES: dict[str, Use] = {
    "batch norm, frames": (
        lambda m, x: F.batch_norm(x.flatten(0, 1), MEAN, VARIANCE, m.w, m.b).unflatten(0, (-1, 4)), FRAMES, NORM
    ),
    "batch norm, time-major": (
        lambda m, x: F.batch_norm(x.transpose(0, 1).flatten(0, 1), MEAN, VARIANCE, m.w, m.b).unflatten(0, (4, -1))
        .transpose(0, 1), FRAMES, NORM
    ),
    "batch norm, tokens": (
        lambda m, x: F.batch_norm(x.transpose(2, 3).flatten(0, 2), MEAN, VARIANCE, m.w, m.b).unflatten(0, (-1, 20)),
        FRAMES, NORM
    ),
    "batch norm, scale alone": (lambda m, x: F.batch_norm(x[:, 0], MEAN, VARIANCE, m.w), FRAMES, {"w": (6,)}),
    "group norm, frames": (
        lambda m, x: F.group_norm(x.flatten(0, 1), 3, m.w, m.b).unflatten(0, (-1, 4)), FRAMES, NORM
    ),
    "group norm, time-major": (
        lambda m, x: F.group_norm(x.transpose(0, 1).flatten(0, 1), 2, m.w, m.b).unflatten(0, (4, -1))
        .transpose(0, 1), FRAMES, NORM
    ),
    "group norm, tokens": (
        lambda m, x: F.group_norm(x.transpose(2, 3).flatten(0, 2), 2, m.w, m.b).unflatten(0, (-1, 20)), FRAMES, NORM
    ),
    "group norm, shift alone": (lambda m, x: F.group_norm(x[:, 0], 3, VARIANCE, m.b), FRAMES, {"b": (6,)}),
    "layer norm, time-major": (
        lambda m, x: F.layer_norm(x.permute(1, 0, 3, 2), (6,), m.w, m.b).transpose(0, 1), FRAMES, NORM
    ),
    "layer norm, folded": (
        lambda m, x: F.layer_norm(x.transpose(2, 3).flatten(0, 2), (6,), m.w, m.b).unflatten(0, (-1, 20)), FRAMES, NORM
    ),
    "layer norm, shift alone": (lambda m, x: F.layer_norm(x, (5,), None, m.b), FRAMES, {"b": (5,)}),
    "layer norm, two dimensions": (
        lambda m, x: F.layer_norm(x.flatten(0, 1), (6, 5), m.w, m.b).unflatten(0, (-1, 4)), FRAMES,
        {"w": (6, 5), "b": (6, 5)}
    ),
}  # fmt: skip


@pytest.mark.parametrize("use", USES)
def test_uses_with_a_rule(use: str) -> None:
    forms = check(*built(USES[use]))
    assert forms == {name: ["Direct"] for name in USES[use][2]}


def test_statistics_of_the_sample_itself() -> None:
    """Instance norm is a batch norm in train mode with samples along the channels, which has no rule."""
    use: Use = (lambda m, x: F.instance_norm(x[:, 0], weight=m.w, bias=m.b), FRAMES, NORM)
    assert set(check(*built(use))) == {"w", "b"}


def test_samples_in_space_are_left_to_autograd() -> None:
    use: Use = (
        lambda m, x: F.batch_norm(x[:, 0].permute(2, 1, 0), MEAN, VARIANCE, m.w, m.b).permute(2, 1, 0),
        FRAMES,
        NORM,
    )
    assert check(*built(use)) == {"w": ["Masked"], "b": ["Masked"]}


# cuDNN and MIOpen normalise on GPUs only, so their rules are tested with simulated operations.
LIBRARIES = {
    "native": (batch_norm, "eps", {"training": False}),
    "exported": (batch_norm_in_eval_mode, "eps", {}),
    "GPU": (batch_norm_of_a_library, "epsilon", {"training": False}),
}


@pytest.mark.parametrize("library", LIBRARIES)
def test_batch_norm_of_any_library(library: str) -> None:
    rule, epsilon, mode = LIBRARIES[library]
    x, delta, mean, variance = samples(3, 6, 5), samples(3, 6, 5, seed=2), samples(6, seed=3), samples(6, seed=4).exp()
    parameters = {1: samples(6, seed=5), 2: samples(6, seed=6)}
    kept = {"input": x, "running_mean": mean, "running_var": variance, epsilon: 0.3, **mode}
    actual = rule(stand_in((delta,), (SampleAxis(0, 1, 1),), parameters, kept))
    for sample in range(3):
        leaves = [parameter.clone().requires_grad_() for parameter in parameters.values()]
        out = F.batch_norm(x[sample : sample + 1], mean, variance, *leaves, eps=0.3)
        for number, gradient in zip((1, 2), torch.autograd.grad(out, leaves, delta[sample : sample + 1]), strict=True):
            torch.testing.assert_close(actual[number].materialise(slice(sample, sample + 1))[0], gradient)


@pytest.mark.parametrize("rule", [batch_norm, batch_norm_of_a_library])
def test_batch_norm_over_the_batch_has_no_rule(rule: Callable[[Operation], Any]) -> None:
    x = samples(3, 6, 5)
    assert not rule(stand_in((x,), (SampleAxis(0, 1, 1),), {1: x[0, :, 0]}, {"training": True}))


def test_rms_norm_in_one_operation() -> None:
    """As recorded on GPUs."""
    x, delta, weight = samples(3, 4, 5), samples(3, 4, 5, seed=2), samples(5, seed=3)
    kept = {"input": x, "result1": (x.square().mean(-1, keepdim=True) + 0.3).rsqrt()}
    actual = rms_norm(stand_in((delta, None), (SampleAxis(0, 1, 1), None), {1: weight}, kept))
    for sample in range(3):
        leaf = weight.clone().requires_grad_()
        out = F.rms_norm(x[sample], (5,), leaf, eps=0.3)
        (gradient,) = torch.autograd.grad(out, leaf, delta[sample])
        torch.testing.assert_close(actual[1].materialise(slice(sample, sample + 1))[0], gradient)
