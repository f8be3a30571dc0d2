"""Networks whose forward pass changes their weights: a measurement leaves them as they were."""

from collections.abc import Callable
from math import nan

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gradmeter import GradientMeter, UnsupportedModelError

TOKENS = torch.tensor([[0, 2, 2, 1], [3, 2, 5, 3]])


class Own(nn.Module):
    """A module of a user, whose weight [7, 3] is for tokens."""

    def __init__(self, change: Callable[[nn.Parameter], None] | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(7, 3))
        self.change = change

    def forward(self, tokens: Tensor) -> Tensor:
        if self.change is None:
            return F.embedding(tokens, self.weight, max_norm=0.01)
        self.change(self.weight)
        return F.embedding(tokens, self.weight)


def clamped(weight: nn.Parameter) -> None:
    with torch.no_grad():
        weight.clamp_(-0.01, 0.01)


def replaced(weight: nn.Parameter) -> None:
    weight.data = torch.renorm(weight.data, p=2, dim=0, maxnorm=0.01)


def clamped_unseen(weight: nn.Parameter) -> None:
    weight.data.clamp_(-0.01, 0.01)  # does not count as a new version of the weight


CHANGES: dict[str, Callable[[], nn.Module]] = {
    "nn.Embedding": lambda: nn.Embedding(7, 3, max_norm=0.01),
    "nn.EmbeddingBag": lambda: nn.EmbeddingBag(7, 3, max_norm=0.01),
    "F.embedding": lambda: Own(None),
    "clamp_": lambda: Own(clamped),
    ".data": lambda: Own(replaced),
    "clamp_ of .data": lambda: Own(clamped_unseen),
}


@pytest.mark.parametrize("gradients", [True, False])
@pytest.mark.parametrize("kind", CHANGES)
def test_weights_are_restored(kind: str, gradients: bool) -> None:
    """Otherwise a TrustModel would belong to weights that its file does not hold."""
    torch.manual_seed(0)
    layer = CHANGES[kind]()
    network = nn.Sequential(layer, nn.Flatten())
    before = network[0].weight.detach().clone()
    meter = GradientMeter(network, gradients=gradients)
    # The first measurement finds which weights change; later ones restore only those.
    for shift in range(3):
        meter((TOKENS + shift) % 7)
        assert torch.equal(network[0].weight, before)
    network(TOKENS)
    assert not torch.equal(network[0].weight, before)


def test_a_weight_with_another_use_that_each_call_overwrites() -> None:
    """A backward pass needs the weight as its own call left it, but a measurement calls the network several times."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(7, 3, max_norm=0.01)

        def forward(self, tokens: Tensor) -> Tensor:
            return F.linear(self.tokens(tokens).mean(1), self.tokens.weight)

    network = Tied()
    before = network.tokens.weight.detach().clone()
    with pytest.raises(UnsupportedModelError, match="an earlier one, as an embedding with max_norm"):
        GradientMeter(network)(TOKENS)
    assert GradientMeter(network, gradients=False)(TOKENS).logits.shape == (2, 7)
    assert torch.equal(network.tokens.weight, before)


@pytest.mark.parametrize("gradients", [True, False])
def test_buffers_written_without_a_new_version_are_restored(gradients: bool) -> None:
    """As the observers of quantisation-aware training do, which also run in eval mode."""
    torch.manual_seed(0)
    fake_quantise = nn.Module()
    for name, value in {"on": 1.0, "least": -1.0, "most": 1.0, "scale": 0.1, "zero": 0.0}.items():
        dtype = torch.float32 if name in ("least", "most", "scale") else torch.int64 if name == "on" else torch.int32
        fake_quantise.register_buffer(name, torch.tensor([value], dtype=dtype))

    def forward(x: Tensor) -> Tensor:
        on, least, most, scale, zero = fake_quantise.buffers()
        quantised: Tensor = torch.fused_moving_avg_obs_fake_quant(
            x, on, on, least, most, scale, zero, 0.01, 0, 255, 0, False, False
        )
        return quantised

    fake_quantise.forward = forward
    network = nn.Sequential(fake_quantise, nn.Linear(4, 3)).eval()
    before = [buffer.clone() for buffer in network.buffers()]
    GradientMeter(network, gradients=gradients)(torch.randn(5, 4))
    assert all(map(torch.equal, network.buffers(), before))


class Subclass(Tensor):
    """A tensor of a user that can be copied, but not compared."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner: Tensor) -> "Subclass":
        wrapper: Subclass = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)  # type: ignore[attr-defined]
        wrapper.inner = inner
        return wrapper

    @classmethod
    def __torch_dispatch__(
        cls, function: Callable[..., Tensor], types: object, args: tuple["Subclass", ...] = (), kwargs: object = None
    ) -> "Subclass":
        if function not in (torch.ops.aten.clone.default, torch.ops.aten.detach.default):
            raise NotImplementedError(str(function))
        return cls(function(args[0].inner))


INCOMPARABLE: dict[str, Callable[[], Tensor]] = {
    "NaN expanded": lambda: torch.tensor([nan]).expand(4),
    "complex32": lambda: torch.ones(4, dtype=torch.complex32),
    "nested": lambda: torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
    "subclass": lambda: Subclass(torch.ones(4)),
}


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors", "ignore:ComplexHalf support")
@pytest.mark.parametrize("kind", INCOMPARABLE)
def test_buffers_that_cannot_be_compared_are_no_hindrance(kind: str) -> None:
    network = nn.Sequential(nn.Linear(4, 3)).eval()
    network.register_buffer("constant", INCOMPARABLE[kind]())
    GradientMeter(network)(torch.randn(5, 4))


@pytest.mark.parametrize("shape", [(2,), (7,)])
def test_buffers_whose_memory_is_replaced_are_restored(shape: tuple[int, ...]) -> None:
    """As a module does that keeps earlier samples or moves its constants to the device of its input."""

    class Keeping(nn.Linear):
        def forward(self, inputs: Tensor) -> Tensor:
            self.kept.data = self.kept.data[:2] if shape == (2,) else torch.cat([self.kept.data, torch.ones(3)])
            return super().forward(inputs)

    network = nn.Sequential(Keeping(4, 3)).eval()
    network[0].register_buffer("kept", torch.zeros(4))
    GradientMeter(network)(torch.randn(5, 4))
    assert torch.equal(network[0].kept, torch.zeros(4))
