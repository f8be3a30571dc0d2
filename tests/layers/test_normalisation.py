import pytest
import torch
import torch.nn.functional as F
from torch import nn

from layers.measured import DIGITS, Use, built, check
from oracles.networks import randomise, samples

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
def test_modules(module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    module = randomise(module.eval().to(dtype))
    forms = check(module, (2 * samples(3, *shape) + 0.5).to(dtype), **DIGITS[dtype])
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
    """Instance norm is a batch norm in train mode over samples in the channels, which no rule of ours reads."""
    use: Use = (lambda m, x: F.instance_norm(x[:, 0], weight=m.w, bias=m.b), FRAMES, NORM)
    assert set(check(*built(use))) == {"w", "b"}


def test_samples_in_space_are_left_to_autograd() -> None:
    use: Use = (
        lambda m, x: F.batch_norm(x[:, 0].permute(2, 1, 0), MEAN, VARIANCE, m.w, m.b).permute(2, 1, 0),
        FRAMES,
        NORM,
    )
    assert check(*built(use)) == {"w": ["Masked"], "b": ["Masked"]}
