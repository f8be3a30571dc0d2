"""Owners: the sample to which each entry of an operation's output belongs, from two backward passes over a batch.

In the second pass each sample's loss is multiplied by a different power of two. The gradient of an entry that belongs
to one sample then changes in its exponent only, exactly, and the difference identifies the sample. The gradient of an
entry that several samples share changes in other bits, too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from gradmeter.reading.capture.graph import output_shapes
from gradmeter.reading.capture.sample_axis import OwnedRows, SampleAxis, Scattered, exclusive, touched_by
from gradmeter.reading.network import nodes_below, sound_gradients

# Samples that one pass tells apart, and number of powers of two: gradients from 1e-25 to 1e25 keep all their digits, in
# half precision (with fewer powers) those from 1e-4 to 1e4.
SAMPLES_PER_PASS = 64
_POWERS_OF_HALF = 4

# Entries that are processed at once.
_BLOCK = 2**16

NOBODY = -1
"""The owner of an entry that no sample's loss reaches."""


def gradients_at(
    nodes: Sequence[Node], logits: Tensor, directions: Sequence[Tensor]
) -> dict[Node, list[list[Tensor | None]]]:
    """For each node and output, its gradients for each start vector [N, C]."""
    edges = [GradientEdge(node, output) for node in nodes for output in range(len(output_shapes(node)))]
    by_node: dict[Node, list[list[Tensor | None]]] = {node: [[] for _ in output_shapes(node)] for node in nodes}
    with sound_gradients(nodes_below([logits.grad_fn])):
        for direction in directions if edges else ():
            gradients = torch.autograd.grad(logits, edges, grad_outputs=direction, retain_graph=True, allow_unused=True)
            for edge, gradient in zip(edges, gradients, strict=True):
                by_node[edge.node][edge.output_nr].append(gradient)
    return by_node


def each_alone(direction: Tensor) -> Iterator[Tensor]:
    """For each sample the start vector [N, C] of its loss alone."""
    for sample in range(len(direction)):
        alone = torch.zeros_like(direction)
        alone[sample] = direction[sample]
        yield alone


@dataclass(frozen=True)
class OwnedGradients:
    """The gradients of an operation's outputs, and the samples they belong to.

    Attributes:
        gradients: by output; None for an output without a gradient.
        owners: by output, the sample [*output.shape] to which each entry belongs, `NOBODY` where no loss reaches it;
            None for an output that no loss reaches. None instead of a list if two samples share an entry.
    """

    gradients: tuple[Tensor | None, ...]
    owners: list[Tensor | None] | None


def owned_gradients(nodes: Sequence[Node], logits: Tensor, direction: Tensor) -> dict[Node, OwnedGradients]:
    """The gradients and owners of some operations of one graph.

    Args:
        nodes: the operations.
        logits: [N, C].
        direction: [N, C] start vectors.
    """
    by_power = gradients_at(nodes, logits, [direction, *_multiplied(direction)])
    plain = {node: tuple(gradients[0] for gradients in outputs) for node, outputs in by_power.items()}
    result, ambiguous = {}, []
    owners_by_power = _owners_by_powers(by_power, len(logits))
    for node in by_power:
        if (owners := owners_by_power.get(node)) is None:
            ambiguous.append(node)
        else:
            result[node] = OwnedGradients(plain[node], owners)
    # Rounding hides the owner of very small gradients, and of sums whose order varies. First look for entries that both
    # halves of the batch share; then run one pass per sample for the remaining nodes.
    half = _by_row(torch.arange(len(logits), device=direction.device) % 2, direction)
    halves = gradients_at(ambiguous, logits, [direction * half, direction * (1 - half)])
    undecided = [node for node, outputs in halves.items() if not any(map(_overlap, outputs))]
    result.update({node: OwnedGradients(plain[node], None) for node in ambiguous if node not in undecided})
    for node, outputs in gradients_at(undecided, logits, list(each_alone(direction))).items():
        touched = [touched_by(gradients) for gradients in outputs]
        separate = all(entries is None or exclusive(entries) for entries in touched)
        result[node] = OwnedGradients(plain[node], [owners_of(entries) for entries in touched] if separate else None)
    return result


def owners_of(touched: Tensor | None) -> Tensor | None:
    """Owners [*shape] from the entries that each sample's loss reaches, [N, *shape], none of them shared."""
    if touched is None:
        return None
    return torch.where(touched.any(0), touched.int().argmax(0), NOBODY)


def axis_of(owner: Tensor | None, samples: int) -> SampleAxis | OwnedRows | Scattered | None:
    """The sample axis of an output, given the owners of its entries; None if no loss reaches it.

    The first dimension that fits is used, unfolded before folded; else a dimension with the samples in any order.
    """
    if owner is None or not bool((owner != NOBODY).any()):
        return None
    unordered: OwnedRows | None = None
    for dim, size in enumerate(owner.shape):
        if (rows := _owners_of_rows(owner, dim)) is None:
            continue
        folds, rest = divmod(size, samples)
        if not rest:
            index = torch.arange(size, device=rows.device)
            for inner in (folds // outer for outer in range(1, folds + 1) if folds % outer == 0):
                if bool(((rows == NOBODY) | (rows == index // inner % samples)).all()):
                    return SampleAxis(dim, folds // inner, inner)
        unordered = unordered or OwnedRows(dim, rows.long(), samples)
    return unordered or Scattered(owner)


def _owners_of_rows(owner: Tensor, dim: int) -> Tensor | None:
    """The owner of each row along a dimension, [rows]; None if two samples share a row."""
    rows = owner.movedim(dim, 0).flatten(1) if owner.dim() > 1 else owner.unsqueeze(1)
    if not rows.numel():
        return None
    last = rows.amax(1)
    first = torch.where(rows == NOBODY, last.unsqueeze(1), rows).amin(1)
    return last if torch.equal(first, last) else None


class _Ambiguous(Exception):
    """The gradients do not identify their owners."""


def _base(dtype: torch.dtype) -> int:
    return _POWERS_OF_HALF if dtype == torch.float16 else SAMPLES_PER_PASS


def _multiplied(direction: Tensor) -> Iterator[Tensor]:
    """For each digit of the samples' numbers, the start vectors [N, C] multiplied by the power of two of that digit."""
    samples, base = len(direction), _base(direction.dtype)
    number = torch.arange(samples, device=direction.device)
    digits = 1
    while base**digits < samples:
        digits += 1
    for digit in range(digits):
        power = number // base**digit % base - base // 2
        yield torch.ldexp(direction, _by_row(power, direction)).to(direction.dtype)


def _by_row(numbers: Tensor, like: Tensor) -> Tensor:
    return numbers.reshape(-1, *(1,) * (like.dim() - 1))


def _owners_by_powers(
    by_power: Mapping[Node, list[list[Tensor | None]]], samples: int
) -> dict[Node, list[Tensor | None]]:
    """Owners of every node's outputs, given their gradients for the plain and the multiplied losses.

    Nodes whose gradients do not identify their owners are left out.
    """
    result: dict[Node, list[Tensor | None]] = {node: [None] * len(outputs) for node, outputs in by_power.items()}
    ambiguous = set()
    # A network has hundreds of small outputs, so all of the same dtype and device are processed at once.
    groups: dict[tuple[torch.dtype, torch.device], list[tuple[Node, int, list[Tensor]]]] = {}
    for node, outputs in by_power.items():
        for number, gradients in enumerate(outputs):
            present = [gradient for gradient in gradients if gradient is not None]
            if present:
                groups.setdefault((present[0].dtype, present[0].device), []).append((node, number, present))
    for group in groups.values():
        try:
            owners = _owners_of_entries([present for _, _, present in group], samples)
            for (node, number, _), owner in zip(group, owners, strict=True):
                result[node][number] = owner
        except _Ambiguous:
            for node, number, present in group:
                try:
                    (result[node][number],) = _owners_of_entries([present], samples)
                except _Ambiguous:
                    ambiguous.add(node)
    return {node: owners for node, owners in result.items() if node not in ambiguous}


def _owners_of_entries(outputs: Sequence[Sequence[Tensor]], samples: int) -> list[Tensor]:
    """For each output the owner of each entry, from the plain and the multiplied gradients.

    Raises:
        _Ambiguous: if they do not identify the owners.
    """
    flat = [torch.cat([gradient.flatten() for gradient in gradients]) for gradients in zip(*outputs, strict=True)]
    if flat[0].is_complex():
        raise _Ambiguous
    # Blocks stay in the cache between operations.
    blocks = zip(*(gradients.split(_BLOCK) for gradients in flat), strict=True)
    owner = torch.cat([_owner_in_block(block, samples) for block in blocks])
    sizes = [gradients[0].numel() for gradients in outputs]
    return [part.reshape(out[0].shape) for part, out in zip(owner.split(sizes), outputs, strict=True)]


def _owner_in_block(gradients: Sequence[Tensor], samples: int) -> Tensor:
    base = _base(gradients[0].dtype)
    plain, *multiplied = map(_bits, gradients)
    mantissa = 52 if plain.dtype == torch.int64 else 23
    owner = torch.zeros_like(plain)
    for digit, multiple in enumerate(multiplied):
        # The sign and the mantissa cancel; the difference of the exponents remains.
        power = multiple - plain
        if bool((power & ((1 << mantissa) - 1)).any()):
            raise _Ambiguous
        owner.add_(power.bitwise_right_shift_(mantissa).add_(base // 2), alpha=base**digit)
    nobody = gradients[0] == 0
    owner.masked_fill_(nobody, 0)
    if owner.numel() and not 0 <= int(owner.amin()) <= int(owner.amax()) < samples:
        raise _Ambiguous
    return owner.masked_fill_(nobody, NOBODY)


def _widened(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _bits(tensor: Tensor) -> Tensor:
    """The bits of each float as an integer: sign, exponent, mantissa."""
    wide = tensor.to(_widened(tensor.dtype))
    return wide.view(torch.int64 if wide.dtype == torch.float64 else torch.int32)


def _overlap(gradients: Sequence[Tensor | None]) -> bool:
    first, second = gradients
    return first is not None and second is not None and bool(((first != 0) & (second != 0)).any())
