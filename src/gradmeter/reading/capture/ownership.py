"""To which sample every entry of an operation's output belongs, for a whole batch, from two backward passes.

In the second pass each sample's loss is multiplied by a power of two of its own. At an entry that belongs to one sample
arrives the same number with another exponent, exactly, and the exponent names the sample. At an entry that several
samples reach, another number arrives.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, Node

from gradmeter.reading.capture.graph import output_shapes
from gradmeter.reading.capture.sample_axis import OwnedRows, SampleAxis, Scattered, exclusive, touched_by

# Samples that one pass tells apart, by as many powers of two: gradients from 1e-25 to 1e25 keep all their digits, in
# half precision those from 1e-4 to 1e4.
TOLD_APART = 64
_POWERS_OF_HALF = 4

# Entries that are looked at at once.
_BLOCK = 2**16

NOBODY = -1
"""The owner of an entry that no loss reaches."""


def gradients_at(
    nodes: Sequence[Node], logits: Tensor, directions: Sequence[Tensor]
) -> dict[Node, list[list[Tensor | None]]]:
    """For each node and output: what arrives there for each derivative [N, C] of some losses by the logits."""
    edges = [GradientEdge(node, output) for node in nodes for output in range(len(output_shapes(node)))]
    arrived: dict[Node, list[list[Tensor | None]]] = {node: [[] for _ in output_shapes(node)] for node in nodes}
    for direction in directions if edges else ():
        gradients = torch.autograd.grad(logits, edges, grad_outputs=direction, retain_graph=True, allow_unused=True)
        for edge, gradient in zip(edges, gradients, strict=True):
            arrived[edge.node][edge.output_nr].append(gradient)
    return arrived


def each_alone(direction: Tensor) -> Iterator[Tensor]:
    """The derivative [N, C] of each sample's loss, the others left out."""
    for sample in range(len(direction)):
        alone = torch.zeros_like(direction)
        alone[sample] = direction[sample]
        yield alone


@dataclass(frozen=True)
class Belonging:
    """What arrives at an operation, and to whom it belongs.

    Attributes:
        gradients: by output; None where none arrives.
        owners: by output, the sample [*output.shape] to which every entry belongs, `NOBODY` where no loss reaches it,
            None for an output that no loss reaches. None in all where two samples reach one entry.
    """

    gradients: tuple[Tensor | None, ...]
    owners: list[Tensor | None] | None


def belongings(nodes: Sequence[Node], logits: Tensor, direction: Tensor) -> dict[Node, Belonging]:
    """Who owns what arrives at some operations of one graph.

    Args:
        nodes: the operations.
        logits: [N, C].
        direction: [N, C] the derivative of each sample's loss by its logits.
    """
    powers = gradients_at(nodes, logits, [direction, *_multiplied(direction)])
    plain = {node: tuple(gradients[0] for gradients in outputs) for node, outputs in powers.items()}
    found, doubtful = {}, []
    told = _told_by_powers(powers, len(logits))
    for node in powers:
        if (owners := told.get(node)) is None:
            doubtful.append(node)
        else:
            found[node] = Belonging(plain[node], owners)
    # Rounding hides the owner where gradients are very small, or are summed in another order every time.
    half = _by_row(torch.arange(len(logits), device=direction.device) % 2, direction)
    halves = gradients_at(doubtful, logits, [direction * half, direction * (1 - half)])
    undecided = [node for node, outputs in halves.items() if not any(map(_overlap, outputs))]
    found.update({node: Belonging(plain[node], None) for node in doubtful if node not in undecided})
    for node, outputs in gradients_at(undecided, logits, list(each_alone(direction))).items():
        touched = [touched_by(gradients) for gradients in outputs]
        apart = all(entries is None or exclusive(entries) for entries in touched)
        found[node] = Belonging(plain[node], [owners_of(entries) for entries in touched] if apart else None)
    return found


def owners_of(touched: Tensor | None) -> Tensor | None:
    """Owners [*shape] from what each sample touches, [N, *shape], no entry twice."""
    if touched is None:
        return None
    return torch.where(touched.any(0), touched.int().argmax(0), NOBODY)


def axis_of(owner: Tensor | None, samples: int) -> SampleAxis | OwnedRows | Scattered | None:
    """Where the samples lie in an output, given the owners of its entries; None where no loss reaches any.

    Dimensions from the left, unfolded before folded; a dimension in another order where there is none.
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
    """The one sample [rows] to which the entries of each row along a dimension belong; None if two share a row."""
    rows = owner.movedim(dim, 0).flatten(1) if owner.dim() > 1 else owner.unsqueeze(1)
    if not rows.numel():
        return None
    last = rows.amax(1)
    first = torch.where(rows == NOBODY, last.unsqueeze(1), rows).amin(1)
    return last if torch.equal(first, last) else None


class _Ambiguous(Exception):
    """Gradients that do not tell to whom they belong."""


def _base(dtype: torch.dtype) -> int:
    return _POWERS_OF_HALF if dtype == torch.float16 else TOLD_APART


def _multiplied(direction: Tensor) -> Iterator[Tensor]:
    """The derivative [N, C] with each sample's row multiplied by a power of two, for each digit of its number."""
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


def _told_by_powers(arrived: Mapping[Node, list[list[Tensor | None]]], samples: int) -> dict[Node, list[Tensor | None]]:
    """Owners of every node's outputs, given what arrives of the losses as they are, and multiplied.

    Nodes whose gradients do not tell to whom they belong are left out.
    """
    found: dict[Node, list[Tensor | None]] = {node: [None] * len(outputs) for node, outputs in arrived.items()}
    doubtful = set()
    # A network has hundreds of small outputs: what can be done for all of them at once is.
    alike: dict[tuple[torch.dtype, torch.device], list[tuple[Node, int, list[Tensor]]]] = {}
    for node, outputs in arrived.items():
        for number, gradients in enumerate(outputs):
            present = [gradient for gradient in gradients if gradient is not None]
            if present:
                alike.setdefault((present[0].dtype, present[0].device), []).append((node, number, present))
    for places in alike.values():
        try:
            owners = _owners_of_entries([present for _, _, present in places], samples)
            for (node, number, _), owner in zip(places, owners, strict=True):
                found[node][number] = owner
        except _Ambiguous:
            for node, number, present in places:
                try:
                    (found[node][number],) = _owners_of_entries([present], samples)
                except _Ambiguous:
                    doubtful.add(node)
    return {node: owners for node, owners in found.items() if node not in doubtful}


def _owners_of_entries(outputs: Sequence[Sequence[Tensor]], samples: int) -> list[Tensor]:
    """For each output, from the gradients as they are and multiplied, the owner of each entry.

    Raises:
        _Ambiguous: if they do not tell.
    """
    flat = [torch.cat([gradient.flatten() for gradient in gradients]) for gradients in zip(*outputs, strict=True)]
    if flat[0].is_complex():
        raise _Ambiguous
    # Blocks stay in the cache from one operation to the next.
    blocks = zip(*(gradients.split(_BLOCK) for gradients in flat), strict=True)
    owner = torch.cat([_owner_in_block(block, samples) for block in blocks])
    sizes = [gradients[0].numel() for gradients in outputs]
    return [part.reshape(out[0].shape) for part, out in zip(owner.split(sizes), outputs, strict=True)]


def _owner_in_block(gradients: Sequence[Tensor], samples: int) -> Tensor:
    base = _base(gradients[0].dtype)
    plain, *multiplied = map(_bits, gradients)
    digits = 52 if plain.dtype == torch.int64 else 23
    owner = torch.zeros_like(plain)
    for digit, multiple in enumerate(multiplied):
        # The sign and the digits cancel, the exponents are left.
        power = multiple - plain
        if bool((power & ((1 << digits) - 1)).any()):
            raise _Ambiguous
        owner.add_(power.bitwise_right_shift_(digits).add_(base // 2), alpha=base**digit)
    nobody = gradients[0] == 0
    owner.masked_fill_(nobody, 0)
    if owner.numel() and not 0 <= int(owner.amin()) <= int(owner.amax()) < samples:
        raise _Ambiguous
    return owner.masked_fill_(nobody, NOBODY)


def _widened(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32


def _bits(tensor: Tensor) -> Tensor:
    """The bits of each number as a whole number: sign, exponent, digits."""
    wide = tensor.to(_widened(tensor.dtype))
    return wide.view(torch.int64 if wide.dtype == torch.float64 else torch.int32)


def _overlap(gradients: Sequence[Tensor | None]) -> bool:
    first, second = gradients
    return first is not None and second is not None and bool(((first != 0) & (second != 0)).any())
