import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from gradmeter import InputError, UnsupportedModelError
from gradmeter.capture import Capture, capturing, require_every_use_captured, require_finite
from oracles.networks import CASES, Auxiliary, CalledTwice, Residual, classifier, frozen, randomise, samples


def owners(model: nn.Module) -> dict[str, nn.Module]:
    return {name: module for name, module in model.named_modules() if list(module.parameters(recurse=False))}


def run(model: nn.Module, x: Tensor) -> tuple[Capture, Tensor, Tensor]:
    with capturing(owners(model)) as capture:
        logits = model(x)
        direction = samples(*logits.shape, seed=5)
        capture.backward(logits, direction)
    return capture, logits.detach(), direction


class Recipe(nn.Module):
    """A network whose forward pass is written beside its test."""

    def __init__(self, recipe: Callable[[Any, Tensor], Tensor], **layers: nn.Module) -> None:
        super().__init__()
        self.recipe = recipe
        for name, layer in layers.items():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.recipe(self, x)


def two_layers(recipe: Callable[[Any, Tensor], Tensor]) -> Recipe:
    return Recipe(recipe, first=nn.Linear(4, 4), second=nn.Linear(4, 4)).double()


@pytest.mark.parametrize("first_frozen", [0, 2, None])
def test_inputs_and_output_gradients_against_autograd(first_frozen: int | None) -> None:
    first, second = nn.Linear(4, 5).double(), nn.Linear(5, 3).double()
    model = frozen(nn.Sequential(first, nn.ReLU(inplace=True), second), first_frozen)
    x = samples(6, 4)
    capture, logits, direction = run(model, x)
    hidden = F.linear(x, first.weight, first.bias).detach()
    assert [call.layer for call in capture.calls] == ["0", "2"]
    torch.testing.assert_close(capture.calls[0].activation, x)
    torch.testing.assert_close(capture.calls[0].delta, (direction @ second.weight.detach()) * (hidden > 0))
    torch.testing.assert_close(capture.calls[1].activation, hidden.relu())
    torch.testing.assert_close(capture.calls[1].delta, direction)
    torch.testing.assert_close(logits, F.linear(hidden.relu(), second.weight, second.bias).detach())


def test_inputs_are_references_not_copies() -> None:
    x = samples(6, 4)
    capture, _, _ = run(nn.Linear(4, 3).double(), x)
    assert capture.calls[0].activation.data_ptr() == x.data_ptr()


def test_every_call_is_recorded_in_order() -> None:
    capture, _, _ = run(CalledTwice().double(), samples(2, 2, 8))
    assert [call.layer for call in capture.calls] == ["conv", "norm", "conv", "norm", "mix", "mix", "head"]
    assert all(call.delta is not None for call in capture.calls)


def test_what_does_not_reach_the_logits_gets_no_gradient() -> None:
    capture, _, _ = run(Auxiliary().double(), samples(2, 4))
    assert {call.layer: call.delta is not None for call in capture.calls} == {
        "stem": True,
        "inner": False,
        "outer": False,
        "head": True,
    }


def test_a_network_that_makes_its_own_input_differentiable() -> None:
    model = two_layers(lambda self, x: self.second(self.first(x.requires_grad_()).tanh()))
    capture, _, _ = run(model, samples(3, 4))
    assert all(call.delta is not None for call in capture.calls)


class Recorder(TorchDispatchMode):
    """Notes every operation with its arguments and results."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[str, tuple[Any, ...], Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.operations.append((func._schema.name, args, out))
        return out


def test_no_weight_gradient_and_no_gradient_of_the_first_input_is_computed() -> None:
    model = classifier((2, 8, 8), nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 4, 3), nn.Tanh()).double()
    fired: list[str] = []
    for name, parameter in model.named_parameters():
        parameter.register_hook(lambda gradient, name=name: fired.append(name))
        parameter.register_post_accumulate_grad_hook(lambda parameter, name=name: fired.append(name))
    with Recorder() as recorder:
        run(model, samples(5, 2, 8, 8))
    assert fired == []
    masks = [list(args[-1]) for name, args, _ in recorder.operations if name == "aten::convolution_backward"]
    assert masks == [[True, False, False]]
    products = [out.shape for name, _, out in recorder.operations if name == "aten::mm"]
    assert products == [(5, 64)]


@pytest.mark.parametrize("case", ["residual", "frozen", "frozen first layers", "in-place activation"])
def test_nothing_is_left_on_the_parameters(case: str) -> None:
    make, shape = CASES[case]
    model = randomise(make()).eval().double()
    state = [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    run(model, samples(2, *shape))
    assert [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()] == state
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_hooks_are_gone_after_an_exception(error: type[BaseException]) -> None:
    model = Residual()

    def interrupted() -> None:
        with capturing(owners(model)):
            assert model.stem._forward_hooks
            raise error

    with pytest.raises(error):
        interrupted()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def overwritten_at_once(self: Any, x: Tensor) -> Tensor:
    h = self.first(x) * 2
    y = self.second(h)
    h.mul_(2)
    return y + h


def overwritten_input(self: Any, x: Tensor) -> Tensor:
    y = self.first(x)
    x.mul_(2)
    return self.second(y + x)


@pytest.mark.parametrize("some_frozen", [0, 2, None])
@pytest.mark.parametrize(("recipe", "layer"), [(overwritten_at_once, "second"), (overwritten_input, "first")])
def test_input_overwritten_after_use(
    recipe: Callable[[Any, Tensor], Tensor], layer: str, some_frozen: int | None
) -> None:
    with pytest.raises(UnsupportedModelError, match=f"overwrites the input of layer '{layer}' in place"):
        run(frozen(two_layers(recipe), some_frozen), samples(3, 4))


def test_overwriting_what_no_layer_read_is_allowed() -> None:
    capture, _, _ = run(two_layers(lambda self, x: self.second(self.first(x).mul_(2).tanh_())), samples(3, 4))
    assert all(call.delta is not None for call in capture.calls)


def no_grad(self: Any, x: Tensor) -> Tensor:
    with torch.no_grad():
        h = self.first(x)
    return self.second(h)  # type: ignore[no-any-return]


def test_layer_under_no_grad() -> None:
    with pytest.raises(UnsupportedModelError, match=r"layer 'first' is called under torch\.no_grad"):
        run(two_layers(no_grad), samples(3, 4))


@pytest.mark.parametrize("cut", [lambda x: x.detach(), lambda x: x.round().long()])
def test_logits_cut_off(cut: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UnsupportedModelError, match="logits are cut off from its layers"):
        run(two_layers(lambda self, x: cut(self.second(self.first(x)))), samples(3, 4))


def test_a_layer_of_two_inputs() -> None:
    class Pair(nn.Linear):
        def forward(self, left: Tensor, right: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(left + right)

    model = Recipe(lambda self, x: self.pair(x, right=x), pair=Pair(4, 3)).double()
    with pytest.raises(UnsupportedModelError, match="layer 'pair' is called with 2 arguments; expected one tensor"):
        run(model, samples(3, 4))


def test_a_layer_called_by_keyword() -> None:
    model = Recipe(lambda self, x: self.only(input=x), only=nn.Linear(4, 3)).double()
    capture, _, direction = run(model, samples(3, 4))
    torch.testing.assert_close(capture.calls[0].delta, direction)


USES: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "functional": lambda self, x: F.linear(self.second(x), self.first.weight, self.first.bias),
    "functional and called": lambda self, x: F.linear(self.first(x), self.first.weight) + self.second(x),
    "functional, called aside": lambda self, x: (self.first(x), F.linear(x, self.first.weight), self.second(x))[1],
    "forward called past the hooks": lambda self, x: self.second(self.first.forward(x)),
    "weight in the loss of a gate": lambda self, x: self.second(self.first(x)) * self.first.weight.sum(),
}


@pytest.mark.parametrize("use", USES)
def test_a_use_past_the_layers_call(use: str) -> None:
    model = two_layers(USES[use])
    with capturing(owners(model)) as capture:
        logits = model(samples(3, 4))
    with pytest.raises(UnsupportedModelError, match=r"parameter 'first\.\w+' is used without calling the layer"):
        require_every_use_captured(model, logits, capture)


def test_a_frozen_parameter_whose_layer_is_never_called() -> None:
    model = frozen(two_layers(USES["functional"]), 2)
    with capturing(owners(model)) as capture:
        logits = model(samples(3, 4))
    with pytest.raises(UnsupportedModelError, match=r"parameter 'first\.weight' is used without"):
        require_every_use_captured(model, logits, capture)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.parametrize("case", CASES)
def test_ordinary_uses_pass(case: str) -> None:
    make, shape = CASES[case]
    model = randomise(make()).eval()
    with capturing(owners(model)) as capture:
        logits = model(samples(2, *shape).float())
    require_every_use_captured(model, logits, capture)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_of_a_pass_stays_alive(fails: bool) -> None:
    """A hook on an output that stayed there would close a circle that no garbage collector sees."""
    model = nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))
    with pytest.raises(RuntimeError, match="halt") if fails else nullcontext(), capturing(owners(model)) as capture:
        logits = model(samples(6, 4).float())
        calls = [weakref.ref(call) for call in capture.calls]
        assert len(calls) == 2
        if fails:
            raise RuntimeError("halt")
        capture.backward(logits, torch.ones(6, 3))
    del logits, capture
    gc.collect()
    assert [call() for call in calls] == [None, None]


def test_require_finite_names_the_samples() -> None:
    logits = torch.zeros(20, 3)
    require_finite(logits)
    logits[4, 1], logits[11, 0] = torch.nan, torch.inf
    with pytest.raises(InputError, match=r"not finite for 2 of 20 samples \(index 4, 11\)"):
        require_finite(logits)
    logits[:] = -torch.inf
    with pytest.raises(InputError, match=r"for 20 of 20 samples \(index 0, 1, 2, 3, 4, \.\.\.\)"):
        require_finite(logits)
