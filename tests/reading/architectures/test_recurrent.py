"""Recurrent layers in float32, where PyTorch runs all steps of an LSTM in one operation."""

from collections.abc import Iterator

import pytest
import torch
from torch import nn

from gradmeter import GradientMeter, UnsupportedModelError
from gradmeter.reading.capture import Operation
from gradmeter.reading.layers import Way
from oracles.gradients import predicted_error
from oracles.loop import chosen, expected_readings
from oracles.networks import Recipe, randomise, samples
from reading.architectures.recurrent import CASES
from reading.architectures.test_table import assert_readings

FUSED = torch.backends.mkldnn.is_available()


@pytest.fixture
def no_general_way(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make the general way through autograd fail, so that only rules are used."""

    def refuse(operation: Operation, sample: int | None = None) -> None:
        raise AssertionError(f"{operation.node.name()} went the general way")

    monkeypatch.setattr(Operation, "input_gradients", refuse)
    return


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.usefixtures("no_general_way")
@pytest.mark.parametrize("name", CASES)
def test_against_one_sample_at_a_time(name: str) -> None:
    model, inputs = CASES[name].build(torch.float32)
    meter = GradientMeter(model)
    for rows in ([0, 1], [1, 0, 1, 1, 0]):
        batch = chosen(inputs, rows)
        readings = meter(batch)
        start = predicted_error(readings.logits)
        assert_readings(readings, expected_readings(model, batch, lambda _: start), norms=2e-5, shapes=2e-4)  # noqa: B023


@pytest.mark.skipif(not FUSED, reason="oneDNN is not built in")
def test_all_steps_are_one_operation() -> None:
    """The operation that the tests above cover is used."""
    model = Recipe(
        lambda m, x: m.head(m.layer(x)[0][:, -1]), layer=nn.LSTM(3, 4, batch_first=True), head=nn.Linear(4, 2)
    )
    costs = GradientMeter(randomise(model)).costs(samples(3, 5, 3).float())
    assert [(cost.operation, cost.way) for cost in costs.layers] == [
        ("MkldnnRnnLayerBackward0", Way.RULE),
        ("AddmmBackward0", Way.RULE),
    ]


@pytest.mark.parametrize("read", ["output", "last state", "last cell", "last state and cell"])
@pytest.mark.parametrize("reverse", [False, True])
def test_whatever_output_is_read(read: str, reverse: bool) -> None:
    def recipe(m: Recipe, x: torch.Tensor) -> torch.Tensor:
        output, (state, cell) = m.layer(x)
        given = {"output": output[:, 2], "last state": state[-1], "last cell": cell[-1]}.get(read, state[-1] + cell[-1])
        out: torch.Tensor = m.head(given[:, -4:])
        return out

    layer = nn.LSTM(3, 4, batch_first=True, bidirectional=reverse)
    model = randomise(Recipe(recipe, layer=layer, head=nn.Linear(4, 3)))
    x = samples(5, 6, 3).float()
    readings = GradientMeter(model)(x)
    start = predicted_error(readings.logits)
    assert_readings(readings, expected_readings(model, x, lambda _: start), norms=2e-5, shapes=2e-4)


def test_states_that_are_learned() -> None:
    """The first state is a parameter, expanded to all samples."""

    def recipe(m: Recipe, x: torch.Tensor) -> torch.Tensor:
        first = tuple(part.expand(1, len(x), 4).contiguous() for part in (m.state, m.cell))
        out: torch.Tensor = m.head(m.layer(x, first)[0].mean(1))
        return out

    layer = nn.LSTM(3, 4, batch_first=True)
    model = randomise(Recipe(recipe, layer=layer, head=nn.Linear(4, 3), state=(1, 1, 4), cell=(1, 1, 4)))
    x = samples(5, 6, 3).float()
    readings = GradientMeter(model)(x)
    start = predicted_error(readings.logits)
    assert_readings(readings, expected_readings(model, x, lambda _: start), norms=2e-5, shapes=2e-4)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
def test_samples_taken_for_steps_are_refused(cell: type[nn.RNNBase]) -> None:
    """Without a batch dimension the rows are the steps of one sequence."""
    model = Recipe(lambda m, x: m.head(m.layer(x)[0]), layer=cell(3, 4), head=nn.Linear(4, 2))
    with pytest.raises(UnsupportedModelError):
        GradientMeter(randomise(model))(samples(5, 3).float())


class Seen(nn.LSTM):
    """Records whether cuDNN is enabled."""

    def forward(self, *args: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        self.enabled = torch.backends.cudnn.enabled
        if len(args[0]) > 3:
            raise RuntimeError("too long")
        out: torch.Tensor = super().forward(*args)[0]
        return out


@pytest.mark.parametrize(("steps", "device"), [(2, "meta"), (4, "meta"), (2, "cpu")])
def test_cudnn_is_kept_out_of_recurrent_layers_on_a_gpu(steps: int, device: str) -> None:
    """cuDNN has no backward pass in eval mode. The meta device stands for a GPU."""
    from gradmeter.reading.network import measuring

    layer = Seen(3, 4, device=device)
    before = torch.backends.cudnn.enabled
    hooks = len(layer._forward_hooks)
    with measuring(layer):
        try:
            layer(torch.zeros(steps, 2, 3, device=device))
        except RuntimeError:
            assert steps == 4
        assert torch.backends.cudnn.enabled == before
    assert layer.enabled == (before and device == "cpu")
    assert len(layer._forward_hooks) == hooks
