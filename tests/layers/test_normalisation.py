import numpy as np
import pytest
import torch
from torch import nn

from gradmeter import InputError, UnsupportedModelError
from gradmeter.kernels import power_sums
from gradmeter.layers import require_rule
from gradmeter.layers.normalisation import require_independent_samples
from gradmeter.statistics import statistics
from oracles.gradients import per_sample
from oracles.moments import assert_agree, eight
from oracles.networks import randomise, samples

CASES: list[tuple[nn.Module, tuple[int, ...]]] = [
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
    (nn.InstanceNorm1d(6, affine=True), (6, 5)),
    (nn.InstanceNorm2d(6, affine=True, eps=0.3), (6, 5, 4)),
    (nn.InstanceNorm3d(6, affine=True), (6, 2, 3, 4)),
    (nn.InstanceNorm2d(6, affine=True, eps=0.3, track_running_stats=True), (6, 5, 4)),
    (nn.RMSNorm(6, eps=0.3), (6,)),
    (nn.RMSNorm((5, 6)), (2, 5, 6)),
]
DIGITS = {torch.float64: (1e-11, 1e-9), torch.float32: (1e-6, 1e-5)}


@pytest.mark.parametrize("dtype", DIGITS, ids=str)
@pytest.mark.parametrize(("module", "shape"), CASES, ids=repr)
def test_against_torch_func(module: nn.Module, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    norms, shapes = DIGITS[dtype]
    module = randomise(module.eval().to(dtype))
    x = (2 * samples(3, *shape) + 0.5).to(dtype)
    delta = samples(3, *shape, seed=3).to(dtype)
    expected = per_sample(module, x, delta)
    gradients = require_rule("norm", module)(module, x, delta)
    for name, gradient in expected.items():
        found = gradients[name].materialise(slice(0, 3))
        assert found.shape == gradient.shape
        np.testing.assert_allclose(found.numpy(), gradient, rtol=0, atol=norms * np.abs(gradient).max())
        assert_agree(statistics(power_sums([gradients[name]])), eight(gradient), norms=norms, shapes=shapes)


@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_in_train_mode(affine: bool) -> None:
    module = nn.BatchNorm2d(3, affine=affine)
    with pytest.raises(InputError, match=r"layer 'stem' \(BatchNorm2d\) is in train mode .* call model.eval\(\) first"):
        require_independent_samples("stem", module)
    require_independent_samples("stem", module.eval())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
def test_batch_norm_without_running_statistics(affine: bool, training: bool) -> None:
    module = nn.BatchNorm1d(3, affine=affine, track_running_stats=False).train(training)
    with pytest.raises(UnsupportedModelError, match=r"layer 'stem' \(BatchNorm1d\) has no running statistics"):
        require_independent_samples("stem", module)


def test_others_are_independent_in_every_mode() -> None:
    for module in (nn.InstanceNorm1d(3, track_running_stats=True), nn.GroupNorm(1, 3), nn.LayerNorm(3), nn.Dropout()):
        require_independent_samples("norm", module.train())
