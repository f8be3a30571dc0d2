"""Attention and transformers of torch.nn, in every arrangement of their axes."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from oracles.networks import frozen, samples
from reading.architectures.case import Case, head, network

X, CONTEXT = samples(2, 4, 8), samples(2, 3, 6, seed=2)
PADDING = torch.tensor([[False, False, False, True], [False, False, True, True]])
CAUSAL = torch.ones(4, 4, dtype=torch.bool).triu(1)


def _attention(**options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.MultiheadAttention(8, 2, **options)


def _self(rule: Callable[..., Tensor], **options: Any) -> Case:
    """Self-attention by a rule that gives [N, T, 8], and a dense layer."""
    return network(lambda m, x: m.head(rule(m, x).mean(1)), X, attention=_attention(**options), head=head(8))


def _first(m: Any, x: Tensor) -> Tensor:
    out: Tensor = m.attention(x, x, x)[0]
    return out


def _cross(m: Any, x: Tensor, context: Tensor) -> Tensor:
    out: Tensor = m.head(m.attention(x, context, context)[0].mean(1))
    return out


def _cross_time_major(m: Any, x: Tensor, context: Tensor) -> Tensor:
    memory = context.transpose(0, 1)
    out: Tensor = m.head(m.attention(x.transpose(0, 1), memory, memory)[0].mean(0))
    return out


def _layer(**options: Any) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(8, 2, 12, batch_first=True, **options)


def _encoder(layer: Callable[[], nn.TransformerEncoderLayer], **options: Any) -> Callable[[], nn.Module]:
    return lambda: nn.TransformerEncoder(layer(), 2, **options)


def _frozen_encoder() -> nn.Module:
    return frozen(nn.Sequential(nn.TransformerEncoder(_layer(), 2), nn.Flatten(), nn.Linear(32, 3)))


def _encode(m: Any, x: Tensor, *masks: Tensor) -> Tensor:
    out: Tensor = m.head(m.encoder(x, None, *masks)[:, 0])
    return out


CASES = {
    "attention": _self(_first, batch_first=True),
    "attention without weights": _self(lambda m, x: m.attention(x, x, x, need_weights=False)[0], batch_first=True),
    "attention time-major": _self(
        lambda m, x: m.attention(*[x.transpose(0, 1)] * 3, need_weights=False)[0].transpose(0, 1)
    ),
    "attention no bias": _self(_first, batch_first=True, bias=False),
    "attention bias_k add_zero_attn": _self(_first, batch_first=True, add_bias_kv=True, add_zero_attn=True),
    "attention causal": _self(
        lambda m, x: m.attention(x, x, x, attn_mask=CAUSAL.to(x.device), need_weights=False)[0], batch_first=True
    ),
    "attention weights per head": network(
        lambda m, x: m.head(m.attention(x, x, x, average_attn_weights=False)[1].flatten(1)),
        X,
        attention=_attention(batch_first=True),
        head=head(32),
    ),
    "attention padded": network(
        lambda m, x, mask: m.head(m.attention(x, x, x, key_padding_mask=mask, need_weights=False)[0].mean(1)),
        (X, PADDING),
        attention=_attention(batch_first=True),
        head=head(8),
    ),
    "attention cross": network(
        _cross, (X, samples(2, 3, 8, seed=2)), attention=_attention(batch_first=True), head=head(8)
    ),
    "attention cross kdim vdim": network(
        _cross, (X, CONTEXT), attention=_attention(batch_first=True, kdim=6, vdim=6), head=head(8)
    ),
    "attention cross time-major kdim vdim": network(
        _cross_time_major, (X, CONTEXT), attention=_attention(kdim=6, vdim=6, add_bias_kv=True), head=head(8)
    ),
    "scaled dot product": network(
        lambda m, x: m.head(
            torch.nn.functional.scaled_dot_product_attention(*m.mix(x).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4))
            .transpose(1, 2)
            .flatten(1)
        ),
        X,
        mix=lambda: nn.Linear(8, 24),
        head=head(32),
    ),
    "transformer encoder": network(_encode, X, encoder=_encoder(_layer), head=head(8)),
    "transformer encoder padded": network(
        lambda m, x, mask: m.head(m.encoder(x, src_key_padding_mask=mask)[:, 0]),
        (X, PADDING),
        encoder=_encoder(_layer),
        head=head(8),
    ),
    "transformer encoder norm first": network(
        _encode,
        X,
        encoder=_encoder(lambda: _layer(norm_first=True, activation="gelu"), enable_nested_tensor=False),
        head=head(8),
    ),
    "transformer encoder time-major": network(
        lambda m, x: m.head(m.encoder(x.transpose(0, 1))[0]),
        X,
        encoder=_encoder(
            lambda: nn.TransformerEncoderLayer(8, 2, 12), enable_nested_tensor=False, norm=nn.LayerNorm(8)
        ),
        head=head(8),
    ),
    "transformer encoder frozen": Case(_frozen_encoder, X),
    "transformer decoder": network(
        lambda m, x, memory: m.head(m.decoder(x, memory, tgt_is_causal=True, tgt_mask=CAUSAL.to(x.device)).mean(1)),
        (X, samples(2, 3, 8, seed=2)),
        decoder=lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 12, batch_first=True), 2),
        head=head(8),
    ),
    "transformer decoder time-major": network(
        lambda m, x, memory: m.head(m.decoder(x.transpose(0, 1), memory.transpose(0, 1)).mean(0)),
        (X, samples(2, 3, 8, seed=2)),
        decoder=lambda: nn.TransformerDecoder(nn.TransformerDecoderLayer(8, 2, 12), 1),
        head=head(8),
    ),
}
