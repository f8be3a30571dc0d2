"""What an interrupt (Ctrl-C) leaves behind at the beginning and at the end of a measurement."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from gradmeter import GradientMeter
from gradmeter.reading.hooks import Hooks

IMAGES = torch.rand(4, 3, 8, 8)


def network() -> nn.Module:
    layers = [layer for _ in range(4) for layer in (nn.Conv2d(3, 3, 3, padding=1), nn.ReLU())]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(192, 5)).eval()


def interrupting(function: Callable[..., Any], calls: int) -> Callable[..., Any]:
    """A function whose call of this number is interrupted after it was done."""
    done = 0

    def interrupted(*args: Any, **options: Any) -> Any:
        nonlocal done
        result, done = function(*args, **options), done + 1
        if done == calls:
            raise KeyboardInterrupt
        return result

    return interrupted


@pytest.mark.parametrize("owner", [nn.Module, RemovableHandle])
@pytest.mark.parametrize("calls", range(1, 16))
def test_an_interrupted_network_can_be_called(owner: type, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = network()
    name = "register_forward_pre_hook" if owner is nn.Module else "remove"
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, interrupting(getattr(owner, name), calls))
        with pytest.raises(KeyboardInterrupt):
            GradientMeter(model)(IMAGES)
    with torch.no_grad():
        logits = model(IMAGES)
    torch.testing.assert_close(GradientMeter(model)(IMAGES).logits, logits)


class Counting(nn.Sequential):
    """A network with a counter, whose buffer is replaced in each call."""

    def __init__(self) -> None:
        super().__init__(nn.Dropout(), *network(), nn.Dropout())
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.calls = self.calls + 1
        logits: torch.Tensor = super().forward(images)
        return logits


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("calls", range(1, 28))
def test_mode_and_buffers_are_put_back(gradients: bool, calls: int, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Counting().train()
    model[1].eval()
    before = [module.training for module in model.modules()]
    meter = GradientMeter(model, gradients=gradients)
    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, "__setattr__", interrupting(nn.Module.__setattr__, calls))
        with pytest.raises(KeyboardInterrupt):
            meter(IMAGES)
    assert [module.training for module in model.modules()] == before
    assert model.calls == 0
    assert all(weight.requires_grad for weight in model.parameters())


def test_hooks_do_nothing_after_their_block() -> None:
    seen = []
    layer = nn.Linear(2, 2)
    with pytest.MonkeyPatch.context() as patch, Hooks() as hooks:
        hooks.before(layer, lambda *call: seen.append("before"))
        hooks.after(layer, lambda *call: seen.append("after"))
        layer(torch.ones(1, 2))
        patch.setattr(RemovableHandle, "remove", lambda handle: None)
        hooks.__exit__()
    layer(torch.ones(1, 2))
    assert seen == ["before", "after"]
