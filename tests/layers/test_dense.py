import numpy as np
import pytest
import torch
from torch import nn

from gradmeter.kernels import power_sums
from gradmeter.layers.dense import linear
from gradmeter.statistics import statistics
from oracles.gradients import per_sample
from oracles.moments import assert_agree, eight
from oracles.networks import randomise, samples

DIGITS = {torch.float64: (1e-12, 1e-9), torch.float32: (1e-6, 1e-5)}


@pytest.mark.parametrize("dtype", DIGITS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("positions", [(), (1,), (5,), (2, 3), (300,)])
def test_against_torch_func(positions: tuple[int, ...], bias: bool, dtype: torch.dtype) -> None:
    norms, shapes = DIGITS[dtype]
    module = randomise(nn.Linear(6, 4, bias=bias).to(dtype))
    x, delta = samples(3, *positions, 6).to(dtype), samples(3, *positions, 4, seed=3).to(dtype)
    expected = per_sample(module, x, delta)
    gradients = linear(module, x, delta)
    assert gradients.keys() == expected.keys()
    for name, gradient in gradients.items():
        found = gradient.materialise(slice(0, 3))
        np.testing.assert_allclose(found.numpy(), expected[name], rtol=0, atol=norms * np.abs(expected[name]).max())
        assert_agree(statistics(power_sums([gradient])), eight(expected[name]), norms=norms, shapes=shapes)


def test_one_position_has_a_closed_form() -> None:
    module = nn.Linear(6, 4)
    assert linear(module, samples(3, 6), samples(3, 4))["weight"].closed_form() is not None
    assert linear(module, samples(3, 2, 6), samples(3, 2, 4))["weight"].closed_form() is None
