from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gradmeter import GradientMeter, Trust, TrustModel
from gradmeter.errors import GradmeterError, GradmeterWarning, InputError, UnsupportedModelError
from trust.trained import digits, loader, noise, trained

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_fits")]

IMAGES, _ = digits()


def fitted(network: nn.Module, reads: str = "forward") -> TrustModel:
    return TrustModel(GradientMeter(network), reads=reads).fit(loader(300, 600), unknowns=[[noise(100)]])


@pytest.fixture(scope="module")
def trust() -> TrustModel:
    return fitted(trained(), "gradients")


@pytest.mark.parametrize("context", [nullcontext, torch.no_grad, torch.inference_mode])
def test_outputs_are_those_of_the_network_and_the_trust_model(
    context: Callable[[], AbstractContextManager[None]], trust: TrustModel
) -> None:
    with context():
        # Cloned inside the context, so that it is an inference tensor under inference_mode.
        output = Trust(trust)(IMAGES[600:650].clone())
    logits, p_correct = output
    assert output.logits is logits
    assert output.p_correct is p_correct
    torch.testing.assert_close(logits, trained()(IMAGES[600:650]).detach())
    torch.testing.assert_close(p_correct, trust.predict_proba(IMAGES[600:650]))
    assert p_correct.dtype == torch.float64
    assert p_correct.device == logits.device
    assert not logits.requires_grad
    assert not p_correct.requires_grad


@pytest.mark.parametrize("trace", [torch.jit.trace, lambda model, images: torch.export.export(model, (images,))])
@pytest.mark.filterwarnings("ignore:.torch.jit.trace.*is deprecated:DeprecationWarning")
def test_it_cannot_be_traced(trace: Any, trust: TrustModel) -> None:
    """It would return P(correct) of the images that it was traced with."""
    with pytest.raises(UnsupportedModelError, match="use gradmeter export"):
        trace(Trust(trust), IMAGES[600:605])


def test_it_can_be_compiled(trust: TrustModel) -> None:
    expected = Trust(trust)(IMAGES[600:650])
    actual = torch.compile(Trust(trust), backend="eager")(IMAGES[600:650])
    assert torch.equal(actual.logits, expected.logits)
    assert torch.equal(actual.p_correct, expected.p_correct)


def test_the_network_is_called_once(trust: TrustModel) -> None:
    model = Trust(trust)
    model(IMAGES[:50])  # the first batch makes the meter's plan
    calls = []
    with model.network.register_forward_hook(lambda *_: calls.append(1)):
        model(IMAGES[50:100])
    assert len(calls) == 1


def test_the_network_is_a_submodule() -> None:
    network = trained()
    model = Trust(fitted(network))
    expected = network.state_dict()
    assert model.state_dict().keys() == {f"network.{name}" for name in expected}
    assert [*map(id, model.parameters())] == [*map(id, network.parameters())]
    before = model(IMAGES[:20])
    with pytest.warns(GradmeterWarning, match="weights changed"):
        after = model.double()(IMAGES[:20].double())
    assert next(network.parameters()).dtype == after.logits.dtype == torch.float64
    torch.testing.assert_close(after.p_correct, before.p_correct, rtol=1e-3, atol=1e-5)


def test_train_mode_is_that_of_the_network() -> None:
    network = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), trained()).eval()
    trust = fitted(network)
    model = Trust(trust)
    assert not any(module.training for module in model.modules())
    expected = model(IMAGES[:20])
    model.train()
    assert Trust(trust).training
    with pytest.raises(InputError, match=r"'0'.*BatchNorm2d.*eval\(\)"):
        model(IMAGES[:20])
    network[0].eval()
    # Layers that do not mix samples are read in eval mode, and their mode is restored.
    torch.testing.assert_close(model(IMAGES[:20]), expected)
    assert network[1].training
    model.eval()
    assert not network.training
    torch.testing.assert_close(model(IMAGES[:20]), expected)


def test_arguments_are_passed_on() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.digits = trained()

        def forward(self, images: Tensor, scale: Tensor | None = None, *, offset: Tensor | None = None) -> Tensor:
            images = images if scale is None else images * scale
            return self.digits(images if offset is None else images + offset)  # type: ignore[no-any-return]

    network = Scaled()
    model = Trust(fitted(network))
    images = IMAGES[:20]
    scale, offset = torch.linspace(0.5, 1.5, 20).reshape(20, 1, 1, 1), torch.linspace(0, 0.5, 20).reshape(20, 1, 1, 1)
    for args, kwargs in [
        ((images, scale), {}),
        ((images, None), {"offset": offset}),
        ((images,), {"scale": scale, "offset": offset}),
        ((), {"images": images, "offset": offset}),
    ]:
        output = model(*args, **kwargs)
        torch.testing.assert_close(output.logits, network(*args, **kwargs).detach())
        assert output.p_correct.shape == (20,)


def test_invalid_arguments(trust: TrustModel) -> None:
    with pytest.raises(GradmeterError, match=r"fit\("):
        Trust(TrustModel(GradientMeter(trained())))
    with pytest.raises(InputError, match=r"\bSequential\b.*\bTrustModel\b"):
        Trust(trained())  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tensor"):
        Trust(trust)()
