"""The oracle of this folder against the other oracles, for the networks that they support."""

import numpy as np
import pytest
import torch
from torch import nn

import oracles.gradients
from oracles.loop import eight_of_one, expected_readings
from oracles.moments import assert_agree, eight
from oracles.networks import CASES as SIMPLE
from oracles.networks import randomise, samples


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("name", SIMPLE)
def test_against_vmap(name: str) -> None:
    make, shape = SIMPLE[name]
    model, x = randomise(make().double()).eval(), samples(2, *shape)
    layers, expected = oracles.gradients.expected_readings(model, x)
    names, values = expected_readings(model, x)
    assert names == layers
    assert_agree(values, expected, norms=1e-11, shapes=1e-9)


@pytest.mark.parametrize("gradient", [[0.0, 0.0], [3.0], [2.0, 2.0, 2.0], [1e-200, -2e-200, 4e-200], [1e9, 1.0, -1.0]])
def test_moments_of_few_entries(gradient: list[float]) -> None:
    np.testing.assert_allclose(eight_of_one(np.array(gradient)), eight(np.array([gradient]))[0], rtol=1e-12)


def test_moments_of_many_entries() -> None:
    gradient = samples(10_001).exp().numpy()
    np.testing.assert_allclose(eight_of_one(gradient), eight(gradient[None])[0], rtol=1e-12)


def test_model_and_input_are_left_alone() -> None:
    model, x = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2)).requires_grad_(False), samples(2, 3)
    before = x.clone()
    expected_readings(model, x)
    assert torch.equal(x, before)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.training
