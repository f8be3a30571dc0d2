"""Parameters that a module uses directly, by any operation, instead of calling a layer."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oracles.networks import samples
from reading.architectures.case import Case, Network, head, network, weights

X, GRID, IMAGE = samples(2, 5), samples(2, 4, 5), samples(2, 2, 4, 4)
CHOICE = torch.tensor([[0, 2], [3, 3], [1, 0]])


def _each(rule: Callable[..., Tensor], inputs: Any = X, **shapes: tuple[int, ...]) -> Case:
    """A case of bare parameters of the given shapes; the rule returns logits."""
    return network(rule, inputs, **{name: weights(*shape) for name, shape in shapes.items()})


def _vision_transformer(m: Any, x: Tensor) -> Tensor:
    x = m.patch(x).flatten(2).transpose(1, 2)
    x = torch.cat([m.token.expand(len(x), -1, -1), x], 1) + m.position
    out: Tensor = m.head((x + m.scale * m.mix(x)).tanh().mean(1))
    return out


def _listed() -> nn.Module:
    lists = nn.ParameterList([nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(5, 3))])
    named = nn.ParameterDict({"scale": nn.Parameter(torch.zeros(3)), "shift": nn.Parameter(torch.zeros(1))})
    return Network(
        lambda m, x: (x * m.lists[0]) @ m.lists[1] * m.named["scale"] + m.named["shift"], lists=lists, named=named
    )


def _global_filter(m: Any, x: Tensor) -> Tensor:
    """The layer of GFNet: a product with complex weights in the frequency domain."""
    x = torch.fft.irfft2(torch.fft.rfft2(x) * torch.view_as_complex(m.filter), s=x.shape[-2:])
    out: Tensor = m.head(x.flatten(1))
    return out


def _recurrence(m: Any, x: Tensor) -> Tensor:
    state = m.start.repeat(len(x), 1)
    for step in x.unbind(1):
        state = (step + state @ m.transition).tanh()
    logits: Tensor = state[:, :3]
    return logits


def _in_place(m: Any, x: Tensor) -> Tensor:
    """Writes to slices and adds in place."""
    out = x.new_zeros(len(x), 4, 3)
    out[:, 0] = m.first
    out[:, 1:] = x[:, 1:, :3] * m.second
    out += m.third
    out.mul_(m.fourth)
    return out.tanh().sum(1)


CASES = {
    "token, position and scale": network(
        _vision_transformer,
        IMAGE,
        patch=lambda: nn.Conv2d(2, 6, 2, stride=2),
        token=weights(1, 1, 6),
        position=weights(1, 5, 6),
        scale=weights(6),
        mix=lambda: nn.Linear(6, 6),
        head=head(6),
    ),
    "matrix on the right": _each(lambda m, x: (x @ m.first).tanh() @ m.second, first=(5, 4), second=(4, 3)),
    "matrix on the right of positions": _each(lambda m, x: (x @ m.w).tanh().mean(1), GRID, w=(5, 3)),
    "matrix on the left": _each(lambda m, x: (m.w @ x).tanh().mean(2), GRID, w=(3, 4)),
    "matrix times vectors": _each(lambda m, x: (m.w @ x.T).T.tanh() + x[:, :3], w=(3, 5)),
    "matrices of heads": _each(lambda m, x: (x.unsqueeze(1) @ m.w).tanh().mean((1, 2)), GRID, w=(2, 5, 3)),
    "functional linear": _each(lambda m, x: F.linear(F.linear(x, m.w, m.b).tanh(), m.v), w=(4, 5), b=(4,), v=(3, 4)),
    "functional convolution": _each(
        lambda m, x: F.conv2d(F.conv2d(x, m.w, m.b, stride=2).tanh(), m.v).flatten(1),
        IMAGE,
        w=(4, 2, 2, 2),
        b=(4,),
        v=(3, 4, 2, 2),
    ),
    "functional norms": _each(
        lambda m, x: F.layer_norm(F.group_norm(x, 2, m.a, m.b).tanh(), (5,), m.c, m.d).tanh().mean(1)[:, :3],
        GRID,
        a=(4,),
        b=(4,),
        c=(5,),
        d=(5,),
    ),
    "functional embedding": _each(lambda m, x: F.embedding(x, m.w, padding_idx=3).tanh().sum(1), CHOICE, w=(4, 3)),
    "addmm": _each(lambda m, x: torch.addmm(m.b, x, m.w, beta=0.5, alpha=2), w=(5, 3), b=(3,)),
    "baddbmm with expanded weights": _each(
        lambda m, x: torch.baddbmm(m.b.expand(len(x), 4, 3), x, m.w.expand(len(x), 5, 3)).tanh().sum(1),
        GRID,
        w=(5, 3),
        b=(4, 3),
    ),
    "einsum": _each(lambda m, x: torch.einsum("nd,dc->nc", x, m.w).tanh(), w=(5, 3)),
    "einsum of positions and heads": _each(
        lambda m, x: torch.einsum("ntd,hdc,tc->nc", x, m.w, m.v).tanh(), GRID, w=(2, 5, 3), v=(4, 3)
    ),
    "einsum parameter first": _each(lambda m, x: torch.einsum("ct,ntd->nc", m.w, x.tanh()), GRID, w=(3, 4)),
    "outer product": _each(lambda m, x: torch.outer(x.sum(1), m.w).tanh() + x[:, :3], w=(3,)),
    "scalar temperature": _each(lambda m, x: x[:, :3].tanh() / m.t, t=()),
    "one parameter alone": _each(lambda m, x: x[:, :3] * m.t, t=(1,)),
    "sum, product, quotient, power": _each(
        lambda m, x: ((x + m.a) * m.b / (m.c**2 + 1)).tanh() ** 2 @ m.w - m.d, a=(5,), b=(5,), c=(), w=(5, 3), d=(3,)
    ),
    "functions of parameters": _each(
        lambda m, x: x * F.softplus(m.a) @ (m.b / m.b.norm()) + m.c.exp() * m.d.softmax(0),
        a=(5,),
        b=(5, 3),
        c=(3,),
        d=(3,),
    ),
    "indexed by numbers": _each(lambda m, x: m.w[x].tanh().sum(1) + m.v[1], CHOICE, w=(4, 3), v=(2, 3)),
    "index_select and gather": _each(
        lambda m, x: (
            m.w.index_select(0, x[:, 0]) * m.v.expand(len(x), 4, 3).gather(1, x[:, 1:, None].expand(-1, 1, 3))[:, 0]
        ),
        CHOICE,
        w=(4, 3),
        v=(4, 3),
    ),
    "sliced": _each(lambda m, x: x @ m.w[:5] + m.w[5], w=(7, 3)),
    "repeated": _each(
        lambda m, x: torch.bmm(x, m.w.repeat(len(x), 1, 1)).tanh().sum(1) + m.b.repeat(len(x), 1),
        GRID,
        w=(5, 3),
        b=(3,),
    ),
    "concatenated with the input": _each(
        lambda m, x: torch.cat([m.a.expand(len(x), 2), x], 1) @ torch.cat([m.b, m.c], 1), a=(2,), b=(7, 1), c=(7, 2)
    ),
    "stacked": _each(lambda m, x: x @ torch.stack([m.a, m.b, m.a * m.b], 1), a=(5,), b=(5,)),
    "where": _each(lambda m, x: torch.where(x[:, :3] > 0, m.a * x[:, 1:4], m.b), a=(3,), b=(3,)),
    "maximum": _each(lambda m, x: torch.maximum(x[:, :3], m.a).clamp(max=m.b), a=(3,), b=(3,)),
    "functional prelu": _each(lambda m, x: F.prelu(x, m.a)[:, :3], a=(1,)),
    "distances to prototypes": _each(lambda m, x: -torch.cdist(x, m.w), w=(3, 5)),
    "squared distances": _each(lambda m, x: -(x.unsqueeze(1) - m.w).square().sum(2), w=(3, 5)),
    "cosines": _each(lambda m, x: m.t * F.cosine_similarity(x.unsqueeze(1), m.w.unsqueeze(0), dim=2), w=(3, 5), t=()),
    "normalised linear": _each(lambda m, x: F.linear(F.normalize(x), F.normalize(m.w)) * 5, w=(3, 5)),
    "lower rank": _each(lambda m, x: F.linear(x, m.w + m.up @ m.down), w=(3, 5), up=(3, 2), down=(2, 5)),
    "triangular": _each(lambda m, x: (x @ (m.w.tril() + m.w.tril(-1).T))[:, :3].tanh(), w=(5, 5)),
    "solve": _each(lambda m, x: torch.linalg.solve(m.w + 4 * torch.eye(5).to(x), x.T).T[:, :3], w=(5, 5)),
    "positions interpolated": _each(
        lambda m, x: (x + F.interpolate(m.p, (4, 4), mode="bilinear")).tanh().flatten(1) @ m.w,
        IMAGE,
        p=(1, 2, 3, 3),
        w=(32, 3),
    ),
    "standardised convolution": _each(
        lambda m, x: (
            F.conv2d(x, (m.w - m.w.mean((1, 2, 3), keepdim=True)) / m.w.std((1, 2, 3), keepdim=True) * m.g, m.b)
            .tanh()
            .sum((2, 3))
        ),
        IMAGE,
        w=(3, 2, 2, 2),
        g=(3, 1, 1, 1),
        b=(3,),
    ),
    "kernels made by the sample": _each(
        lambda m, x: torch.bmm(x, (x.mean(1) @ m.w).unflatten(1, (5, 3))).tanh().sum(1), GRID, w=(5, 15)
    ),
    "mixture of experts": _each(
        lambda m, x: torch.einsum("ne,nec->nc", (x @ m.gate).softmax(1), torch.einsum("nd,edc->nec", x, m.experts)),
        gate=(5, 2),
        experts=(2, 5, 3),
    ),
    "best expert": _each(
        lambda m, x: (
            torch.einsum("nd,edc->nec", x, m.experts)
            .gather(1, (x @ m.gate).topk(1).indices[..., None].expand(-1, -1, 3))
            .squeeze(1)
            * (x @ m.gate).softmax(1).amax(1, keepdim=True)
        ),
        gate=(5, 2),
        experts=(2, 5, 3),
    ),
    "ensemble by vmap": _each(
        lambda m, x: torch.vmap(lambda w, b: F.linear(x, w, b).tanh())(m.w, m.b).mean(0), w=(2, 3, 5), b=(2, 3)
    ),
    "spatial transformer": _each(
        lambda m, x: F.grid_sample(
            x, F.affine_grid(m.theta.expand(len(x), 2, 3), x.shape, align_corners=False), align_corners=False
        ).flatten(1)[:, :3],
        IMAGE,
        theta=(2, 3),
    ),
    "global filter": network(_global_filter, IMAGE, filter=weights(2, 4, 3, 2), head=head(32)),
    "recurrence": _each(_recurrence, GRID, start=(5,), transition=(5, 5)),
    "in place": _each(_in_place, GRID, first=(3,), second=(3,), third=(4, 3), fourth=(3,)),
    "parameters in a list and a dict": Case(_listed, X),
    "layer and bare use": network(
        lambda m, x: m.dense(x) + (x**2) @ m.dense.weight.T * m.dense.bias, X, dense=lambda: nn.Linear(5, 3)
    ),
}
