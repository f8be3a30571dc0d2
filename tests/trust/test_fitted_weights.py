"""A network whose weights changed after `fit` is noticed, and weights that stay cost no hash."""

import copy
import math
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, Trust, TrustModel
from gradmeter.errors import DataError, GradmeterWarning
from gradmeter.reading.network import adapters_in_use
from gradmeter.trust import fitted_weights
from gradmeter.trust.fitted_weights import FittedWeights
from trust.trained import digits, loader, train, trained

CHANGED = "weights changed after fit"


def network() -> nn.Module:
    """A trained network whose last layer has buffers: statistics of a batch norm."""
    return nn.Sequential(*trained().children(), nn.BatchNorm1d(10)).eval()


@pytest.fixture(scope="module")
def fitted(quick_fits: None) -> TrustModel:
    trust = TrustModel(GradientMeter(network()), reads="forward").fit(loader(300, 900))
    trust.set_risk(0.5, loader(900, 1400))
    return trust


@pytest.fixture
def trust(fitted: TrustModel) -> TrustModel:
    return copy.deepcopy(fitted)


def images() -> Tensor:
    return digits()[0][1400:1420]


ASK: dict[str, Callable[[TrustModel], object]] = {
    "predict_proba": lambda trust: trust.predict_proba(images()),
    "accept": lambda trust: trust.accept(images()),
    "verdicts": lambda trust: trust.verdicts(images()),
    "Trust": lambda trust: Trust(trust)(images()),
    "layer_values": lambda trust: trust.layer_values(images()),
    "set_risk": lambda trust: trust.set_risk(0.5, loader(900, 1400)),
}


@pytest.mark.parametrize("method", ASK)
def test_a_weight_is_written_to(trust: TrustModel, method: str) -> None:
    with torch.no_grad():
        trust.meter.model[6].bias.add_(1e-3)  # type: ignore[index]
    for _ in range(2):
        with pytest.warns(GradmeterWarning, match=CHANGED) as caught:
            ASK[method](trust)
        assert caught[0].filename == __file__


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_weights_of_a_network_without_buffers_get_another_type(dtype: torch.dtype) -> None:
    """Module.to writes to the `data` of parameters, which is not counted as a change."""
    model = nn.Linear(24, 10)
    weights = FittedWeights(model)
    model.to(dtype)
    assert weights.have_changed(model)


def test_a_part_is_compiled(trust: TrustModel, tmp_path: Path) -> None:
    expected = trust.predict_proba(images())
    trust.save(tmp_path)
    model = trust.meter.model
    setattr(model, "0", torch.compile(model.get_submodule("0"), backend="eager"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert trust.predict_proba(images()).equal(expected)
    assert TrustModel.load(tmp_path, model).predict_proba(images()).equal(expected)


def test_a_forward_pass_in_train_mode_changes_buffers(trust: TrustModel) -> None:
    model = trust.meter.model.train()
    model(images())
    model.eval()
    with pytest.warns(GradmeterWarning, match=CHANGED):
        trust.predict_proba(images())


def fused_step(model: nn.Module) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), 1e-5, fused=True)
    model(images()).logsumexp(1).sum().backward()
    optimizer.step()


def flat_vector(model: nn.Module) -> None:
    vector = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(1.001 * vector, model.parameters())


@pytest.mark.parametrize("change", [fused_step, flat_vector, lambda model: model[0].weight.data.mul_(1.001)])
def test_changes_that_pytorch_does_not_count(trust: TrustModel, change: Callable[[nn.Module], object]) -> None:
    trust.predict_proba(images())
    change(trust.meter.model)
    with pytest.warns(GradmeterWarning, match=CHANGED):
        trust.predict_proba(images())


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_tensors_of_any_kind() -> None:
    freed = torch.zeros(3)
    freed.untyped_storage().resize_(0)
    tensors = [
        torch.zeros(3, dtype=torch.float8_e4m3fn),
        torch.eye(3).to_sparse(),
        torch.zeros(0),
        torch.zeros(2, dtype=torch.complex64),
        torch.zeros(1).expand(4),
        torch.zeros(4, device="meta"),
        torch.tensor(math.nan),
        freed,
        torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
        torch.arange(6.0, dtype=torch.bfloat16)[2:],
    ]
    before = fitted_weights._samples(tensors)
    assert before == fitted_weights._samples(tensors)
    tensors[-1].data[0] = 7
    assert before != fitted_weights._samples(tensors)


def test_a_layer_is_replaced(trust: TrustModel) -> None:
    trust.meter.model[6] = nn.Linear(24, 10)  # type: ignore[index]
    with pytest.warns(GradmeterWarning, match=CHANGED):
        trust.predict_proba(images())


def test_a_weight_is_replaced_by_one_that_takes_its_place_in_memory() -> None:
    model = nn.Linear(24, 10, bias=False)
    model.weight = nn.Parameter(torch.ones(10, 24))
    weights, first = FittedWeights(model), id(model.weight)
    for _ in range(10):
        model.weight = nn.Parameter(torch.zeros(10, 24))
        if id(model.weight) == first:
            break
    assert weights.have_changed(model)


def test_the_weights_of_fit_are_loaded_again(trust: TrustModel) -> None:
    expected, state = trust.predict_proba(images()), copy.deepcopy(trust.meter.model.state_dict())
    train(trust.meter.model)
    trust.meter.model.load_state_dict(state)
    torch.testing.assert_close(trust.predict_proba(images()), expected)


class Stateless(nn.Sequential):
    """A network whose state_dict() fails, so that nothing is known of its weights in `fit`."""

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("no state")


def test_a_network_whose_weights_have_no_hash_is_judged(quick_fits: None) -> None:
    model = Stateless(*trained().children()).eval()
    trust = TrustModel(GradientMeter(model), reads="forward").fit(loader(300, 900))
    train(model)
    assert len(trust.predict_proba(images())) == len(images())


def test_readings_are_of_the_network_that_was_measured(trust: TrustModel) -> None:
    readings = trust.meter(images())
    train(trust.meter.model)
    trust.predict_proba(readings)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda trust: pickle.loads(pickle.dumps(trust))])
def test_a_copy(trust: TrustModel, copied: Callable[[TrustModel], TrustModel]) -> None:
    another = copied(trust)
    another.predict_proba(images())
    train(another.meter.model)
    with pytest.warns(GradmeterWarning, match=CHANGED):
        another.predict_proba(images())
    trust.predict_proba(images())


def test_weights_that_stay_are_not_hashed(trust: TrustModel, monkeypatch: pytest.MonkeyPatch) -> None:
    trust.predict_proba(images())  # of the copy

    def refuse(network: nn.Module) -> str:
        raise AssertionError("hashed")

    monkeypatch.setattr(fitted_weights, "weights_hash", refuse)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trust.predict_proba(images())
        trust.meter.model.requires_grad_(False)
        trust.predict_proba(images())


class _Counting(nn.Module):
    """Counts its calls in a buffer, and changes the weights of its embedding, in every forward pass."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.tokens, self.head = nn.Embedding(50, 8, max_norm=0.1), nn.Linear(8, 3)
        self.register_buffer("calls", torch.tensor(0))

    def forward(self, tokens: Tensor) -> Tensor:
        self.calls += 1
        return self.head(self.tokens(tokens).mean(1))  # type: ignore[no-any-return]


def test_what_a_network_writes_itself_is_not_hashed(quick_fits: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A measurement restores it; each verdict took a hash of all weights."""
    tokens = torch.randint(0, 50, (200, 4), generator=torch.Generator().manual_seed(0))
    network = _Counting().eval()
    meter = GradientMeter(network, gradients=False)
    labels = meter(tokens).predictions.clone()
    labels[::5] = (labels[::5] + 1) % 3
    trust = TrustModel(meter, reads="forward").fit((tokens, labels))
    monkeypatch.setattr(fitted_weights, "weights_hash", None)
    for _ in range(2):
        trust.predict_proba(tokens[:2])
    assert network.calls == 0


class Adapted(nn.Linear):
    """A layer with two adapters, which says as those of peft do which of them it uses."""

    def __init__(self, trained: nn.Linear) -> None:
        super().__init__(*(size := (trained.in_features, trained.out_features)))
        self.load_state_dict(trained.state_dict())
        self.adapters = nn.ModuleDict({name: nn.Linear(*size) for name in ("one", "two")})
        self.active: str | list[str] = "one"
        self.disabled = False

    @property
    def active_adapter(self) -> str | list[str]:  # layers that peft saves whole have no `active_adapters` before 0.15
        return self.active

    @property
    def disable_adapters(self) -> bool:
        return self.disabled

    def forward(self, x: Tensor) -> Tensor:
        names = [self.active] if isinstance(self.active, str) else self.active
        return super().forward(x) + sum(self.adapters[name](x) for name in names if not self.disabled)


@pytest.mark.usefixtures("quick_fits")
def test_another_adapter_is_used(tmp_path: Path) -> None:
    torch.manual_seed(0)
    *others, last = trained().children()
    layer = Adapted(last)  # type: ignore[arg-type]
    model = nn.Sequential(*others, layer).eval()
    trust = TrustModel(GradientMeter(model), reads="forward").fit(loader(300, 900))
    trust.save(tmp_path / "trust")
    trust.predict_proba(images())
    for layer.active, layer.disabled in (("two", False), ("one", True)):
        with pytest.warns(GradmeterWarning, match=CHANGED):
            trust.predict_proba(images())
        with pytest.raises(DataError, match=r"other weights.*\(float32 here\)"):
            TrustModel.load(tmp_path / "trust", model)
    layer.active, layer.disabled = ["one"], False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trust.predict_proba(images())
    TrustModel.load(tmp_path / "trust", model)


@pytest.mark.parametrize(
    ("attributes", "used"),
    [({"active_adapters": ["one"]}, ("one",)), ({"active_adapter": None}, ()), ({}, ())],
)
def test_adapters_of_other_libraries(attributes: dict[str, object], used: tuple[str, ...]) -> None:
    """They resemble those of peft, but need not say which adapters they use."""
    layer = type("Other", (nn.Linear,), {"disable_adapters": property(lambda self: False), **attributes})(2, 2)
    assert adapters_in_use(nn.Sequential(layer)) == [("0", used)]
