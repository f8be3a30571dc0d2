"""Parameters used more than once, only in part, or never; samples folded into other axes."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from oracles.networks import CalledOnTwoSizes, CalledTwice, Tied, frozen, samples
from reading.architectures.case import Case, Network, head, network, tokens, weights

X, IMAGE, VIDEO = samples(2, 5), samples(2, 2, 6, 6), samples(2, 3, 2, 6, 6)


def _tied(rule: Callable[..., Tensor], first: nn.Module, second: nn.Module) -> nn.Module:
    """Two layers with one weight."""
    second.weight = first.weight
    return Network(rule, first=first, second=second)


def _all_shared() -> nn.Module:
    first, second = nn.Linear(5, 5), nn.Linear(5, 5)
    second.weight, second.bias = first.weight, first.bias
    return nn.Sequential(first, nn.Tanh(), second, nn.Tanh(), nn.Linear(5, 3))


def _one_module_twice() -> nn.Module:
    dense = nn.Linear(5, 5)
    return nn.Sequential(dense, nn.Tanh(), dense, nn.Tanh(), nn.Linear(5, 3))


def _backbone() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 3, 3, stride=2), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 4))


def _sample_major(m: Any, x: Tensor) -> Tensor:
    features = m.backbone(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    out: Tensor = m.head(features.tanh().mean(1))
    return out


def _time_major(m: Any, x: Tensor) -> Tensor:
    features = m.backbone(x.transpose(0, 1).reshape(-1, *x.shape[2:])).reshape(x.shape[1], len(x), -1)
    out: Tensor = m.head(features.tanh().mean(0))
    return out


def _frames_in_turn(m: Any, x: Tensor) -> Tensor:
    out: Tensor = m.head(torch.stack([m.backbone(frame) for frame in x.unbind(1)]).tanh().sum(0))
    return out


def _channels_folded(m: Any, x: Tensor) -> Tensor:
    """One kernel for all channels, each of which is treated as a sample."""
    out: Tensor = m.head(m.conv(x.reshape(-1, 1, 6, 6)).reshape(len(x), -1).tanh())
    return out


def _windows(m: Any, x: Tensor) -> Tensor:
    """Attention in windows, as in Swin: windows share an axis with the samples."""
    windows = x.unfold(2, 3, 3).unfold(3, 3, 3).permute(0, 2, 3, 4, 5, 1).reshape(-1, 9, 2)
    mixed = windows + (m.query(windows) @ m.key(windows).transpose(1, 2)).softmax(2) @ m.value(windows)
    out: Tensor = m.head(mixed.reshape(len(x), -1))
    return out


def _experts(m: Any, x: Tensor) -> Tensor:
    """Each sample is passed to one expert, selected by its first entry."""
    out = x.new_zeros(len(x), 3)
    for chosen, expert in ((x[:, 0] > 0, m.first), (x[:, 0] <= 0, m.second)):
        out[chosen] = expert(x[chosen])
    return out


def _mixed_kernels(m: Any, x: Tensor) -> Tensor:
    """A CondConv: every sample has its own kernel, and the samples are the groups of one convolution."""
    kernels = (m.gate(x.mean((2, 3))).sigmoid() @ m.kernels.flatten(1)).view(-1, *m.kernels.shape[2:])
    out = F.conv2d(x.reshape(1, -1, *x.shape[2:]), kernels, groups=len(x))
    logits: Tensor = m.head(out.view(len(x), -1).tanh())
    return logits


def _kernels_repeated(m: Any, x: Tensor) -> Tensor:
    out = F.conv2d(x.reshape(1, -1, *x.shape[2:]), m.kernels.repeat(len(x), 1, 1, 1), groups=len(x))
    logits: Tensor = m.head(out.view(len(x), -1).tanh())
    return logits


def _two_inputs(m: Any, image: Tensor, text: Tensor) -> Tensor:
    out: Tensor = m.head(torch.cat([m.conv(image).tanh().mean((2, 3)), m.embedding(text).mean(1)], 1))
    return out


def _text_head() -> nn.Module:
    """The output projection of a language model is its embedding."""
    embedding, dense = nn.Embedding(7, 4), nn.Linear(4, 7)
    dense.weight = embedding.weight
    return nn.Sequential(embedding, nn.Tanh(), nn.Linear(4, 4), _Last(), dense)


class _Last(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, -1].tanh()


def _dead() -> nn.Module:
    """The ReLU outputs zeros only."""
    return Network(
        lambda m, x: m.head(F.relu(m.dense(x) - 1e3)) + m.outer(x),
        dense=nn.Linear(5, 4),
        head=nn.Linear(4, 3),
        outer=nn.Linear(5, 3),
    )


CASES = {
    "two dense layers tied": Case(Tied, samples(3, 4)),
    "two dense layers the same": Case(_all_shared, X),
    "one module under two names": Case(_one_module_twice, X),
    "embedding as output projection": Case(_text_head, tokens(3, 5, 7)),
    "embedding as bare output projection": network(
        lambda m, x: m.embedding(x).mean(1) @ m.embedding.weight.T,
        tokens(3, 5, 4),
        embedding=lambda: nn.Embedding(4, 4),
    ),
    "tied and transposed": network(
        lambda m, x: m.head(F.linear(m.dense(x).tanh(), m.dense.weight.T)),
        X,
        dense=lambda: nn.Linear(5, 4),
        head=head(5),
    ),
    "one weight of two convolutions": Case(
        lambda: _tied(
            lambda m, x: (m.first(x).tanh().sum((2, 3)) * m.second(x).sum((2, 3)))[:, :3],
            nn.Conv2d(2, 4, 3),
            nn.Conv2d(2, 4, 3, stride=2, padding=2, bias=False),
        ),
        IMAGE,
    ),
    "called twice": Case(CalledTwice, samples(2, 2, 8)),
    "called on two sizes": Case(CalledOnTwoSizes, samples(2, 2, 8, 8)),
    "called five times": network(
        lambda m, x: m.head([x := m.norm(x + m.dense(x).tanh()) for _ in range(5)][-1]),
        X,
        dense=lambda: nn.Linear(5, 5),
        norm=lambda: nn.LayerNorm(5),
        head=head(5),
    ),
    "called on one and on many positions": network(
        lambda m, x: m.head(m.dense(x).mean(1) * m.dense(x[:, 0])),
        samples(2, 3, 5),
        dense=lambda: nn.Linear(5, 4),
        head=head(4),
    ),
    "called on two samples' worth of rows": network(
        lambda m, x: m.head(torch.cat([*m.dense(torch.cat([x, x.flip(1)])).tanh().chunk(2)], 1)),
        X,
        dense=lambda: nn.Linear(5, 4),
        head=head(8),
    ),
    "samples repeated": network(
        lambda m, x: m.head(m.dense(x.repeat_interleave(2, 0)).tanh().reshape(len(x), -1)),
        X,
        dense=lambda: nn.Linear(5, 4),
        head=head(8),
    ),
    "samples as groups": network(
        _mixed_kernels, IMAGE, gate=lambda: nn.Linear(2, 2), kernels=weights(2, 3, 2, 5, 5), head=head(12)
    ),
    "kernels repeated for samples as groups": network(
        _kernels_repeated, IMAGE, kernels=weights(3, 2, 5, 5), head=head(12)
    ),
    "as many positions as samples": network(
        lambda m, x: m.head(m.mix(m.dense(x).tanh()).transpose(1, 2).flatten(1)),
        samples(3, 3, 3),
        dense=lambda: nn.Linear(3, 3),
        mix=lambda: nn.Conv1d(3, 3, 1),
        head=head(9),
    ),
    "as many positions as samples, time-major": network(
        lambda m, x: m.head((m.dense(x.transpose(0, 1)) + m.shift).tanh().sum(0)),
        samples(3, 3, 3),
        dense=lambda: nn.Linear(3, 3),
        shift=weights(3, 1, 3),
        head=head(3),
    ),
    "twins": network(
        lambda m, x, y: m.head((m.body(x) - m.body(y)).abs()),
        (X, samples(2, 5, seed=2)),
        body=lambda: nn.Sequential(nn.Linear(5, 4), nn.Tanh()),
        head=head(4),
    ),
    "frames folded": network(_sample_major, VIDEO, backbone=_backbone, head=head(4)),
    "frames folded time-major": network(_time_major, VIDEO, backbone=_backbone, head=head(4)),
    "frames in turn": network(_frames_in_turn, VIDEO, backbone=_backbone, head=head(4)),
    "channels folded": network(_channels_folded, IMAGE, conv=lambda: nn.Conv2d(1, 2, 3), head=head(64)),
    "windows folded": network(
        _windows,
        IMAGE,
        query=lambda: nn.Linear(2, 2),
        key=lambda: nn.Linear(2, 2),
        value=lambda: nn.Linear(2, 2, bias=False),
        head=head(72),
    ),
    "image and text": network(
        _two_inputs,
        {"image": IMAGE, "text": tokens(2, 4, 5)},
        conv=lambda: nn.Conv2d(2, 3, 3),
        embedding=lambda: nn.Embedding(5, 4, padding_idx=0),
        head=head(7),
    ),
    "output with logits": network(lambda m, x: Output(m.dense(x)), X, dense=lambda: nn.Linear(5, 3)),
    "never used": network(
        lambda m, x: m.dense(x), X, dense=lambda: nn.Linear(5, 3), idle=lambda: nn.LSTM(2, 2), spare=weights(2, 2)
    ),
    "detached branch": network(
        lambda m, x: m.head(m.dense(x).tanh() + m.side(x).detach()),
        X,
        dense=lambda: nn.Linear(5, 4),
        side=lambda: nn.Linear(5, 4),
        head=head(4),
    ),
    "zero gradients": Case(_dead, X),
    "frozen": Case(lambda: frozen(_backbone_with_head()), IMAGE),
    "frozen first": Case(lambda: frozen(_backbone_with_head(), 3), IMAGE),
    "frozen bare parameters": Case(
        lambda: frozen(
            Network(lambda m, x: x * m.a @ m.w, a=nn.Parameter(torch.zeros(5)), w=nn.Parameter(torch.zeros(5, 3)))
        ),
        X,
    ),
    "input that needs a gradient": Case(lambda: _backbone_with_head(), samples(2, 2, 6, 6).requires_grad_()),
}


def _backbone_with_head() -> nn.Module:
    return nn.Sequential(_backbone(), nn.Tanh(), nn.Linear(4, 3))


class Output:
    """An output as in the transformers library."""

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits


EXPERTS = network(_experts, samples(4, 5), first=lambda: nn.Linear(5, 3), second=lambda: nn.Linear(5, 3))
"""Rows of some samples only, selected by their values."""
