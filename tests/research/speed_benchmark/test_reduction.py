import torch
from torch import nn

from gradmeter.research.speed_benchmark import reduction
from gradmeter.research.speed_benchmark.reduction import eight_statistics, own_parameters, whole_norm
from oracles.moments import assert_agree, eight
from research.speed_benchmark.tiny import Scaled


def test_against_scipy(monkeypatch: object) -> None:
    torch.manual_seed(0)
    gradients = {
        "a.weight": torch.randn(3, 4, 700, dtype=torch.float64),
        "a.bias": torch.randn(3, 4, dtype=torch.float64),
        "token": torch.randn(3, 1, dtype=torch.float64).expand(3, 5) + torch.arange(5),
    }
    flat = {name: gradient.flatten(1).numpy() for name, gradient in gradients.items()}
    layer = torch.cat([gradients["a.weight"].flatten(1), gradients["a.bias"]], dim=1).numpy()
    whole = torch.cat([gradient.flatten(1) for gradient in gradients.values()], dim=1).numpy()
    for block in (7, 2**18):
        monkeypatch.setattr(reduction, "_BLOCK", block)  # type: ignore[attr-defined]
        values = eight_statistics(gradients)
        assert values.shape == (3, 3, 8)
        for index, expected in enumerate((layer, flat["token"], whole)):
            assert_agree(values[:, index], eight(expected), norms=1e-10, shapes=1e-8)
        torch.testing.assert_close(whole_norm(values), torch.from_numpy(whole).norm(dim=1))


def test_layers_are_the_modules_that_own_parameters() -> None:
    network = nn.Sequential(Scaled(), nn.ReLU())
    layers = own_parameters(network)
    assert {name: [p.numel() for p in parameters] for name, parameters in layers.items()} == {
        "0": [6],
        "0.dense": [24, 4],
    }
