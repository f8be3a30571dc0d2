from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch
import torch.nn.functional as F

from gradmeter.research.speed_benchmark.models import MAIN_MODELS, MODELS
from research.speed_benchmark.tiny import IMAGES, SCALED


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_gradients_flow_to_every_parameter(name: str) -> None:
    model = MODELS[name]
    if model.distribution is not None and find_spec(model.distribution) is None:
        pytest.skip(f"{model.distribution} is not installed")
    state = torch.get_rng_state()
    batch = 2 if model.shape[-1] > 32 else 32  # small maps give BatchNorm few values for each sample
    network, inputs = replace(model, batch=batch).build()
    assert torch.equal(torch.get_rng_state(), state)
    assert inputs.shape == (batch, *model.shape)
    assert not any(module.training for module in network.modules())
    logits = network(inputs)
    F.cross_entropy(logits, logits.argmax(1), reduction="sum").backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert 1e-4 < parameter.grad.norm() < 1e4, parameter_name


def test_every_call_builds_the_same_network_and_inputs() -> None:
    (first, x), (second, y) = IMAGES.build(), IMAGES.build()
    assert torch.equal(x, y)
    torch.testing.assert_close(first.state_dict(), second.state_dict(), rtol=0, atol=0)
    assert not torch.equal(x, IMAGES.inputs(12, seed=1))


def test_batchnorm_has_the_statistics_of_the_batch() -> None:
    network, inputs = IMAGES.build()
    activation = network[1](network[0](inputs))
    torch.testing.assert_close(activation.mean((0, 2, 3)), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(activation.std((0, 2, 3)), torch.ones(4), atol=1e-2, rtol=0)
    assert network[1].momentum == 0.1


def test_scales_of_zero_are_set_to_one() -> None:
    network, _ = SCALED.build()
    assert network.layer_scale.tolist() == [1.0] * 6


def test_the_main_models_exist() -> None:
    assert set(MAIN_MODELS) <= set(MODELS)
