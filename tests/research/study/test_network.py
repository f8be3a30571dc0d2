import pytest
import torch
from torch import nn

from gradmeter.research.study.network import Dropout, PaperCNN


@pytest.mark.parametrize(("padding", "weights"), [("valid", 6250), ("same", 12650)])
def test_number_of_weights(padding: str, weights: int) -> None:
    network = PaperCNN(padding=padding)
    assert sum(parameter.numel() for parameter in network.parameters()) == weights
    assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    assert PaperCNN(classes=4, padding=padding)(torch.zeros(1, 1, 28, 28)).shape == (1, 4)


def test_layers_stand_in_the_order_of_the_paper() -> None:
    torch.manual_seed(0)
    network = PaperCNN().eval()
    plain = nn.Sequential(
        network.conv1, nn.LeakyReLU(0.1), nn.MaxPool2d(2), network.conv2, nn.LeakyReLU(0.1), nn.MaxPool2d(2),
        network.conv3, nn.Flatten(), network.dense,
    )  # fmt: skip
    images = torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(network(images), plain(images))


def test_initial_weights_are_glorot_uniform() -> None:
    torch.manual_seed(0)
    network = PaperCNN()
    for layer, fans in ((network.conv2, 16 * 9 * 2), (network.dense, 144 + 10)):
        bound = (6 / fans) ** 0.5
        assert bound * 0.95 < layer.weight.abs().max() <= bound
        assert layer.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.05)
        assert (layer.bias == 0).all()


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_dropout_rate_and_mean(memory_format: torch.memory_format) -> None:
    torch.manual_seed(0)
    ones = torch.ones(100, 16, 26, 26).contiguous(memory_format=memory_format)
    out = Dropout().train()(ones)
    dropped = (out == 0).double()
    sigma = (2 / 9 / ones.numel()) ** 0.5
    assert abs(dropped.mean().item() - 1 / 3) < 4 * sigma + 2**-16
    assert out[out != 0].unique().item() == pytest.approx(1.5)
    assert out.double().mean().item() == pytest.approx(1, abs=1.5 * (4 * sigma + 2**-16))
    # Units are dropped independently: not by channel, by image or in pairs.
    assert dropped.mean((0, 2, 3)).std().item() < 3 * (2 / 9 / (ones.numel() / 16)) ** 0.5
    assert dropped.mean((1, 2, 3)).std().item() < 2 * (2 / 9 / (ones.numel() / 100)) ** 0.5
    both = (dropped[..., 1:] * dropped[..., :-1]).mean().item()
    assert both == pytest.approx(1 / 9, abs=6 * sigma)


def test_dropout_scales_values_and_gradients_alike() -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 5, requires_grad=True)  # 35 units: not a whole number of 64-bit words
    out = Dropout().train()(x)
    out.sum().backward()
    assert x.grad is not None
    torch.testing.assert_close(out, x * x.grad)
    assert set(x.grad.unique().tolist()) == {0.0, 1.5}


def test_dropout_follows_the_seed() -> None:
    dropout, ones = Dropout().train(), torch.ones(1000)
    torch.manual_seed(1)
    first, second = dropout(ones), dropout(ones)
    torch.manual_seed(1)
    assert torch.equal(dropout(ones), first)
    assert not torch.equal(first, second)


def test_dropout_is_the_identity_in_eval_mode() -> None:
    x = torch.randn(5, 3)
    state = torch.get_rng_state()
    assert Dropout().eval()(x) is x
    assert torch.equal(torch.get_rng_state(), state)


def test_a_filter_is_dead_where_its_kernel_has_decayed() -> None:
    network = PaperCNN()
    assert network.dead_filters() == (0, 0, 0)
    with torch.no_grad():
        network.conv1.weight[3] *= 0.01
        network.conv2.weight[5] *= 0.01
        network.dense.weight[:3] *= 0.01
    assert network.dead_filters() == (1, 1, 0)
    assert not network.damaged
    with torch.no_grad():
        network.conv3.weight[:2] *= 0.01
    assert network.dead_filters() == (1, 1, 2)
    assert network.damaged
