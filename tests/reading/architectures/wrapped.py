"""Parametrised weights, wrapped networks, and graphs that PyTorch rewrites."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from oracles.networks import Residual, samples
from reading.architectures.case import Case, body, head, network

X, IMAGE = samples(2, 5), samples(2, 2, 5, 5)


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight.triu() + weight.triu(1).T


def _symmetric() -> nn.Module:
    dense = nn.Linear(5, 5)
    parametrize.register_parametrization(dense, "weight", Symmetric())
    return nn.Sequential(dense, nn.Tanh(), nn.Linear(5, 3))


class Swish(torch.autograd.Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *delta: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        share = x.sigmoid()
        slope: Tensor = delta[0] * share * (1 + x * (1 - share))
        return slope


class Matrix(torch.autograd.Function):
    """A product with a parameter as an autograd function."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *delta: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        return delta[0] @ weight.T, x.T @ delta[0]


swish: Callable[[Tensor], Tensor] = Swish.apply
matrix: Callable[[Tensor, Tensor], Tensor] = Matrix.apply


def _dense() -> nn.Sequential:
    return nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3))


def _compiled(model: nn.Module, backend: str) -> nn.Module:
    compiled: Any = torch.compile(model, backend=backend)
    assert isinstance(compiled, nn.Module)
    return compiled


def _compiled_in_place() -> nn.Module:
    model = _dense()
    model.compile(backend="eager")
    return model


def _offloaded(m: Any, x: Tensor) -> Tensor:
    """Activations are offloaded between the passes."""
    with torch.autograd.graph.save_on_cpu():
        out: Tensor = m.head(m.dense(x).tanh())
    return out


def _slope(m: Any, x: Tensor) -> Tensor:
    """The logits are computed from the gradient of an energy."""
    x = x.detach().requires_grad_()
    (slope,) = torch.autograd.grad(m.second(m.first(x).tanh()).sum(), [x], create_graph=True)
    logits: Tensor = m.head(slope)
    return logits


CASES = {
    "weight norm": body(
        (2, 5, 5),
        lambda: parametrizations.weight_norm(nn.Conv2d(2, 3, 2)),
        nn.Tanh,
        nn.Flatten,
        lambda: parametrizations.weight_norm(nn.Linear(48, 4), dim=1),
    ),
    "weight norm old": body((2, 5, 5), lambda: nn.utils.weight_norm(nn.Conv2d(2, 3, 2)), nn.Tanh),
    "spectral norm": body((5,), lambda: parametrizations.spectral_norm(nn.Linear(5, 4)), nn.Tanh),
    "spectral norm old": body((5,), lambda: nn.utils.spectral_norm(nn.Linear(5, 4)), nn.Tanh),
    "orthogonal": body(
        (5,), lambda: parametrizations.orthogonal(nn.Linear(5, 4), orthogonal_map="matrix_exp"), nn.Tanh
    ),
    "symmetric": Case(_symmetric, X),
    "weight norm of a recurrent layer": network(
        lambda m, x: m.head(m.layer(x)[0][:, -1]),
        samples(2, 3, 5),
        layer=lambda: parametrizations.weight_norm(nn.GRU(5, 4, batch_first=True), "weight_hh_l0"),
        head=head(4),
    ),
    "pruned": body((5,), lambda: prune.l1_unstructured(nn.Linear(5, 4), "weight", 0.5), nn.Tanh),
    "compiled eager": Case(lambda: _compiled(_dense(), "eager"), X),
    "compiled aot_eager": Case(lambda: _compiled(Residual(), "aot_eager"), IMAGE),
    "compiled part eager": Case(lambda: nn.Sequential(nn.Linear(5, 5), _compiled(_dense(), "eager")), X),
    "compiled part aot_eager": Case(lambda: nn.Sequential(nn.Linear(5, 5), _compiled(_dense(), "aot_eager")), X),
    "compiled in place": Case(_compiled_in_place, X),
    "data parallel": Case(lambda: nn.DataParallel(Residual()), IMAGE),
    "checkpointed": network(
        lambda m, x: m.head(checkpoint(m.second, checkpoint(m.first, x, use_reentrant=False), use_reentrant=False)),
        X,
        first=lambda: nn.Sequential(nn.Linear(5, 4), nn.Dropout(), nn.Tanh()),
        second=lambda: nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 4), nn.ReLU(inplace=True)),
        head=head(4),
    ),
    "checkpointed sequence": network(
        lambda m, x: m.head(checkpoint_sequential(m.body, 2, x, use_reentrant=False).flatten(1)),
        IMAGE,
        body=lambda: nn.Sequential(nn.Conv2d(2, 3, 3), nn.GroupNorm(1, 3), nn.GELU(), nn.Conv2d(3, 4, 1)),
        head=head(36),
    ),
    "own activation function": network(
        lambda m, x: m.head(swish(m.dense(x))), X, dense=lambda: nn.Linear(5, 4), head=head(4)
    ),
    "slope of an energy": network(
        _slope, X, first=lambda: nn.Linear(5, 4), second=lambda: nn.Linear(4, 1), head=head(5)
    ),
    "offloaded": network(_offloaded, X, dense=lambda: nn.Linear(5, 4), head=head(4)),
    "double precision on the way": network(
        lambda m, x: F.linear(m.dense(x).double(), m.head.weight.double()).to(x.dtype),
        X,
        dense=lambda: nn.Linear(5, 4),
        head=head(4),
    ),
}


OWN_MATRIX = network(lambda m, x: matrix(x, m.w).tanh(), X, w=lambda: nn.Parameter(torch.zeros(5, 3)))
"""A parameter in an autograd function."""
