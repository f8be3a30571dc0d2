import pytest
from torch import Tensor, nn

from gradmeter import UnsupportedModelError
from gradmeter.layers import measures, registry, require_rule, rule_for
from gradmeter.layers.convolution import convolution
from gradmeter.layers.dense import linear


class Renamed(nn.Linear):
    """Computes what its base computes."""


class Doubled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def test_rules_by_type() -> None:
    assert rule_for(nn.Linear(2, 2)) is linear
    for made in (nn.Conv1d(1, 1, 1), nn.Conv2d(1, 1, 1), nn.Conv3d(1, 1, 1)):
        assert rule_for(made) is convolution


def test_a_subclass_shares_the_rule_unless_it_computes_something_else() -> None:
    assert rule_for(Renamed(2, 2)) is linear
    assert rule_for(Doubled(2, 2)) is None


@pytest.mark.parametrize(
    "module", [nn.LSTM(2, 2), nn.Embedding(3, 2), nn.ConvTranspose2d(1, 1, 1), nn.PReLU(), nn.Bilinear(2, 2, 2)]
)
def test_what_is_not_covered_is_named(module: nn.Module) -> None:
    assert rule_for(module) is None
    with pytest.raises(
        UnsupportedModelError, match=r"gradients cannot be measured; expected one of .*Conv2d.*"
    ) as error:
        require_rule("encoder.0", module)
    assert f"layer 'encoder.0' ({type(module).__name__}) owns " in str(error.value)
    assert all(name in str(error.value) for name, _ in module.named_parameters())


def test_a_new_rule_is_one_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_RULES", dict(registry._RULES))
    assert measures(Doubled)(linear) is linear
    assert rule_for(Doubled(2, 2)) is linear
