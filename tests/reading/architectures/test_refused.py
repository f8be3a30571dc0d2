"""Networks that cannot be measured: the error is one line, and the network is restored."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing._internal.two_tensor import TwoTensor

from gradmeter import GradientMeter, GradmeterError, InputError, UnsupportedModelError
from oracles.networks import samples
from reading.architectures.case import Network
from reading.architectures.sharing import Output
from reading.architectures.state import mark, snapshot

X = samples(3, 5).float()


def _rule(rule: Callable[..., Any]) -> Callable[[], nn.Module]:
    """A network of one dense layer 5 to 3, with this forward pass."""
    return lambda: Network(rule, dense=nn.Linear(5, 3)).eval()


def _without_gradients(m: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        out: Tensor = m.dense(x)
    return out


def _codes(dtype: torch.dtype) -> Callable[[], nn.Module]:
    """A network with weights stored as integers."""
    return lambda: Network(
        lambda m, x: m.dense(x) @ m.codes.float(),
        dense=nn.Linear(5, 3),
        codes=nn.Parameter(torch.ones(3, 3).to(dtype), requires_grad=False),
    ).eval()


MIXES = (UnsupportedModelError, "sample")

REFUSED: dict[str, tuple[Callable[[], nn.Module], type[GradmeterError], str]] = {
    "batch norm in train mode": (
        lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).train(),
        InputError,
        r"'1' \(BatchNorm1d\)",
    ),
    "batch norm without running statistics": (
        lambda: nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 3)).eval(),
        UnsupportedModelError,
        r"'1' \(BatchNorm1d\)",
    ),
    "centred over the batch": (_rule(lambda m, x: m.dense(x) - m.dense(x).mean(0)), *MIXES),
    "input centred over the batch": (_rule(lambda m, x: m.dense(x - x.mean(0))), *MIXES),
    "scaled by the batch": (_rule(lambda m, x: m.dense(x) / m.dense(x).norm()), *MIXES),
    "softmax over the batch": (_rule(lambda m, x: m.dense(x).softmax(0)), *MIXES),
    "attention over the batch": (_rule(lambda m, x: (m.dense(x) @ m.dense(x).T).softmax(1) @ m.dense(x)), *MIXES),
    "running sum over the batch": (_rule(lambda m, x: m.dense(x).cumsum(0)), *MIXES),
    "neighbours in the batch": (_rule(lambda m, x: m.dense(x) + m.dense(x).roll(1, 0)), *MIXES),
    "batch reversed": (_rule(lambda m, x: m.dense(x).flip(0)), *MIXES),
    "batch as the sequence of an LSTM": (
        lambda: Network(lambda m, x: m.head(m.layer(x)[0]), layer=nn.LSTM(5, 4), head=nn.Linear(4, 3)).eval(),
        *MIXES,
    ),
    "random numbers": (_rule(lambda m, x: m.dense(x) + torch.randn_like(x[:, :3])), UnsupportedModelError, "random"),
    "branch without gradients": (
        _rule(lambda m, x: m.dense(x) * _without_gradients(m, x)),
        UnsupportedModelError,
        "'dense'",
    ),
    "without gradients": (_rule(_without_gradients), UnsupportedModelError, "'dense'"),
    "detached": (_rule(lambda m, x: m.dense(x).detach()), UnsupportedModelError, "detach"),
    "int8 parameter": (_codes(torch.int8), UnsupportedModelError, "codes.*int8"),
    "boolean parameter": (_codes(torch.bool), UnsupportedModelError, "codes.*bool"),
    "lazy layer": (lambda: nn.Sequential(nn.LazyLinear(3)), GradmeterError, "0.weight.*initiali"),
    "no parameters": (nn.Flatten, UnsupportedModelError, "parameters"),
    "one logit": (_rule(lambda m, x: m.dense(x)[:, :1]), InputError, r"\(3, 1\)"),
    "logits without classes": (_rule(lambda m, x: m.dense(x)[:, 0]), InputError, r"\(3,\)"),
    "logits of pixels": (_rule(lambda m, x: m.dense(x)[..., None, None]), InputError, r"\(3, 3, 1, 1\)"),
    "logits of fewer samples": (_rule(lambda m, x: m.dense(x)[:2]), InputError, r"\(2, 3\)"),
    "a list": (_rule(lambda m, x: [m.dense(x)]), InputError, " list;"),
    "output with wrong logits": (_rule(lambda m, x: Output(m.dense(x)[0])), InputError, r"\(3,\)"),
}


def assert_refused(name: str, meter_of: Callable[[nn.Module], GradientMeter]) -> None:
    """Check that a network is refused in one line and left as it is."""
    make, error, message = REFUSED[name]
    model = make()
    if name != "lazy layer":  # its parameters are not initialised
        mark(model)
        before = snapshot(model)
    with pytest.raises(error, match=message) as raised:
        meter_of(model)(X)
    assert "\n" not in str(raised.value)
    if name != "lazy layer":
        assert snapshot(model) == before


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_a_line(name: str) -> None:
    assert_refused(name, GradientMeter)


def _quantised() -> nn.Module:
    """A network with a weight that gets no gradient because a subclass of Tensor holds its numbers, as in torchao."""
    codes = nn.Parameter(TwoTensor(torch.eye(3), torch.eye(3)))
    return Network(lambda m, x: m.dense(x) @ m.codes.a, dense=nn.Linear(5, 3), codes=codes).eval()


def test_a_weight_that_wraps_its_numbers_and_gets_no_gradient() -> None:
    """Its gradient was read as zero; the forward pass can be read."""
    with pytest.raises(UnsupportedModelError, match=r"'root' .*TwoTensor.*forward") as raised:
        GradientMeter(_quantised())(X)
    assert "\n" not in str(raised.value)
    assert len(GradientMeter(_quantised(), gradients=False, activations=True)(X)) == len(X)


def test_training_forward_is_never_seen() -> None:
    """An auxiliary output that appears only in training."""
    model = Network(lambda m, x: (m.dense(x), m.dense(x)) if m.training else m.dense(x), dense=nn.Linear(5, 3)).train()
    assert GradientMeter(model)(X).layers == ("dense", "all")
    assert model.training
