"""TrustModels of networks whose layers' outputs cannot be read: traced ones, layers in torch.func, or no layers."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, TrustModel
from gradmeter.errors import GradmeterWarning, UnsupportedModelError

pytestmark = pytest.mark.usefixtures("quick_fits")

IMAGES = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(1))
LABELS = torch.arange(200) % 2


def test_that_unknown_inputs_are_recognised_worse_is_said() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 2)).eval()
    with pytest.warns(GradmeterWarning, match="outputs of the network's layers cannot be read"):
        TrustModel(GradientMeter(torch.jit.trace(network, IMAGES)), reads="forward").fit((IMAGES, LABELS))
    with warnings.catch_warnings():
        warnings.simplefilter("error", GradmeterWarning)
        TrustModel(GradientMeter(network), reads="forward").fit((IMAGES, LABELS))


@pytest.mark.filterwarnings("ignore::gradmeter.errors.GradmeterWarning", "ignore::DeprecationWarning:torch")
def test_a_frame_of_the_readings_of_a_traced_network() -> None:
    """Nothing in the columns of the statistics tells that outputs were wanted."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 2)).eval()
    trust = TrustModel(GradientMeter(torch.jit.trace(network, IMAGES)), reads="gradients").fit((IMAGES, LABELS))
    expected = trust.predict_proba(IMAGES)
    for readings in (trust.meter(IMAGES).to_pandas(), trust.meter(IMAGES).to_arrow().replace_schema_metadata()):
        torch.testing.assert_close(trust.predict_proba(readings), expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning:torch")
@pytest.mark.parametrize("reads", ["forward", "gradients"])
def test_the_traced_form_of_a_network_is_not_judged_as_the_network_itself(reads: str, tmp_path: Path) -> None:
    """It has the same weights and logits, but none of its layers would show anything: all inputs looked unfamiliar."""
    torch.manual_seed(0)
    network = Halved().eval()
    TrustModel(GradientMeter(network), reads=reads).fit((IMAGES, LABELS)).save(tmp_path / "trust")
    trust = TrustModel.load(tmp_path / "trust", torch.jit.trace(network, IMAGES))
    with pytest.raises(UnsupportedModelError, match=r"calls none of the layers .* \(inside\), .* traced"):
        trust.predict_proba(IMAGES)


class Halved(nn.Module):
    """No layer returns its logits, so no input of a layer is the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = nn.Linear(64, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.inside(images.flatten(1)) / 2
        return logits


@pytest.mark.filterwarnings("ignore::gradmeter.errors.GradmeterWarning")
@pytest.mark.parametrize("reads", ["forward", "gradients"])
def test_networks_that_map_over_their_samples(reads: str) -> None:
    """Outside vmap nobody can read the outputs of the layers inside."""
    torch.manual_seed(0)
    network = Mapped().eval()
    trust = TrustModel(GradientMeter(network), reads=reads).fit((IMAGES, LABELS))
    assert trust.meter.output_layers == ("before",)
    assert trust.predict_proba(IMAGES).isfinite().all()


class Mapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.inside = nn.Linear(64, 4), nn.Linear(4, 2)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = torch.func.vmap(self.inside)(self.before(images.flatten(1)))
        return logits


class Bare(nn.Module):
    """It owns its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(2, 64))

    def forward(self, rows: Tensor) -> Tensor:
        return nn.functional.linear(rows, self.weight)


@pytest.mark.parametrize("network", [nn.Linear(64, 2, bias=False), Bare()], ids=lambda network: type(network).__name__)
@pytest.mark.parametrize("reads", ["forward", "gradients", "auto"])
def test_a_network_without_layers_is_its_own_last_one(network: nn.Module, reads: str) -> None:
    """Such as a logistic regression on a table: its input is the embedding."""
    rows, generator = IMAGES.flatten(1) - 0.5, torch.Generator().manual_seed(2)
    with torch.no_grad():
        network.get_parameter("weight").copy_(torch.randn(2, 64, generator=generator))
    noise = torch.randn(200, 2, generator=generator)
    labels = (network(rows) + noise).argmax(1)
    with warnings.catch_warnings():
        warnings.simplefilter("error", GradmeterWarning)
        trust = TrustModel(GradientMeter(network.eval()), reads=reads).fit((rows, labels))
    verdicts = trust.verdicts(torch.cat([rows, 20 * rows])).to_pandas()
    assert verdicts["p_known"][:200].mean() > 0.9
    assert verdicts["p_known"][200:].mean() < 0.1
