"""Probes of users."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, InputError, Readings
from gradmeter.reading.inputs import Inputs
from oracles.networks import randomise, samples

IMAGES = samples(7, 4)


def network() -> nn.Module:
    return randomise(nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3)).double()).eval()


def test_a_probe_that_calls_the_network() -> None:
    """It is called with gradients enabled, so its scores have a graph."""

    def noisy(model: nn.Module, inputs: Inputs, logits: Tensor) -> dict[str, Tensor]:
        return {"noisy": model(inputs.tensors[0] + 0.1).amax(1)}

    model = network()
    readings = GradientMeter(model, probes=[noisy], tile=4)(IMAGES)
    expected = model(IMAGES + 0.1).amax(1)
    assert not readings.scores["noisy"].requires_grad
    torch.testing.assert_close(readings.scores["noisy"], expected.detach(), rtol=1e-12, atol=0)
    assert torch.equal(Readings.from_arrow(readings.to_arrow()).scores["noisy"], readings.scores["noisy"])


def first(_: nn.Module, __: Inputs, logits: Tensor) -> dict[str, Tensor]:
    return {"a": logits[:, 0]}


def of_size(_: nn.Module, __: Inputs, logits: Tensor) -> dict[str, Tensor]:
    return {f"of {len(logits)}": logits[:, 0]}


@pytest.mark.parametrize(
    ("probes", "message"),
    [
        ([first, first], "two probes return the score 'a'"),
        ([lambda _, __, logits: {"a": logits[:1, 0]}], r"'a' as torch.float64 \(1,\); .* shape \(4,\)"),
        ([lambda _, __, logits: {"a": logits}], r"'a' as torch.float64 \(4, 3\)"),
        ([lambda _, __, logits: {"a": logits[:, 0].tolist()}], "'a' as list"),
        ([lambda _, __, logits: {"a": logits[:, 0].to(torch.complex64)}], r"'a' as torch.complex64 \(4,\)"),
        ([lambda _, __, logits: logits[:, 0]], "a probe returned a Tensor; expected a dict"),
        ([lambda _, __, logits: {1: logits[:, 0]}], "a probe returned the name 1, a int; expected a dict"),
        ([of_size], "scores of 4 of some inputs and of 3 of others"),
    ],
)
def test_bad_scores(probes: list[Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GradientMeter(network(), probes=probes, tile=4)(IMAGES)
