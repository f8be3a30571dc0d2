"""The meta classifier `TwoHeads`, computed from tensors."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from gradmeter.errors import InputError
from gradmeter.trust.densities import NEAREST, NEXT, PREDICTED
from gradmeter.trust.features import EMBEDDING, OUTPUTS
from gradmeter.trust.levelled import LevelledOdds
from gradmeter.trust.near_unknown import SLOPE
from gradmeter.trust.traced.arithmetic import constant, exact, logsumexp
from gradmeter.trust.traced.densities import TracedDensities
from gradmeter.trust.traced.known_head import TracedKnownFeatures, TracedKnownHead
from gradmeter.trust.traced.outputs import Outputs, wrong_log_odds
from gradmeter.trust.two_heads import (
    KNOWN_VIEWS,
    LEAST_DEVIATION,
    MOST_CLASSES,
    MOST_ORIGINS,
    SOFTMAX,
    SORTED,
    TwoHeads,
)


class TracedJudgement(NamedTuple):
    """The probabilities of `gradmeter.trust.meta_classifier.Judgement`, [N] float64 each, and "familiar", [N] bool.

    "origins", [N, 3], are the numbers of the layers in which the input is farthest from known ones; -1 for none.
    """

    p_correct: Tensor
    p_known: Tensor
    p_correct_if_known: Tensor
    familiar: Tensor
    origins: Tensor


class TracedHeads(nn.Module):
    """P(correct) = P(correct | known) P(known).

    Args:
        heads: the fitted meta classifier.

    Attributes:
        layers: what the numbers of `TracedJudgement.origins` stand for.

    Raises:
        InputError: if it was fitted without the features of the outputs.
    """

    outputs: Tensor
    embedding: Tensor
    view_order: Tensor
    mean: Tensor
    deviation: Tensor
    weights: Tensor
    intercepts: Tensor
    kind_log_odds: Tensor
    nearest_mean: Tensor
    nearest_spread: Tensor

    def __init__(self, heads: TwoHeads) -> None:
        super().__init__()
        if not heads.outputs:
            raise InputError("the meta classifier uses no outputs; expected one that gradmeter fit makes")
        self.densities = nn.ModuleList(map(TracedDensities, heads.densities_))
        for number, (_, columns) in enumerate(heads.stacks_):
            self.register_buffer(f"stack{number}", constant(columns))
        self._groups = [name for name, columns in heads.groups_.items() if len(columns)]
        for name in self._groups:
            self.register_buffer(f"group_{name}", constant(heads.groups_[name]))
        self.register_buffer("outputs", constant(heads.outputs_))
        self.register_buffer("embedding", constant(heads.embedding_))
        # The views in the order of the stacks, as they are computed.
        computed = [int(index) for indices, _ in heads.stacks_ for index in indices]
        self.register_buffer("view_order", torch.tensor(computed).argsort())
        self._known_views = [heads.views_.index(view) for view in KNOWN_VIEWS if view in heads.views_]
        self.layers, self._layer_views = heads.origins()
        self.register_buffer("nearest_mean", constant(heads.nearest_mean_[self._layer_views]))
        self.register_buffer("nearest_spread", constant(heads.nearest_spread_[self._layer_views]))
        self.known = TracedKnownHead(heads.known_, by_softmax=heads.ranking == SOFTMAX)
        unknown = heads.unknown_
        self._distances_only = unknown.distances_only_
        self.register_buffer("mean", constant(unknown.scaler_.mean_))
        self.register_buffer("deviation", constant(unknown.scaler_.scale_))
        self.register_buffer("weights", constant(unknown.coef_))
        self.register_buffer("intercepts", constant(unknown.intercept_))
        self.register_buffer("kind_log_odds", constant(heads.kind_log_odds_))
        # With a share of 0, near unknown inputs count nothing, and their log odds are minus infinity.
        self._near = heads.near_ if heads.near_ is not None and np.isfinite(heads.near_.log_share_) else None
        self._second_look = None if heads.mirrored_logit_ is None else heads.known_.second_look_
        self._familiar = heads.familiar_log_odds_
        self._levelled: LevelledOdds | None = None
        if heads.ranking == SOFTMAX:
            self._levelled, self._familiar, self._near = heads.levelled_, heads.levelled_.familiar_, None

    def forward(self, values: Tensor, outputs: Outputs, views: Tensor) -> TracedJudgement:
        """Judge N predictions.

        Args:
            values: [N, features] float64.
            outputs: of the logits.
            views: [N, C] logits, averaged with those of the mirror image where it was predicted.
        """
        distances = self._distances(values, outputs.prediction)
        ratios = self._log_ratios(distances, self._outputs(values, outputs))
        unknown_odds = logsumexp(ratios + self.kind_log_odds)
        if self._near is not None:
            unknown_odds = logsumexp(torch.stack([unknown_odds, self._near_log_odds(outputs, views)], dim=1))
        mirrored = wrong_log_odds(views, outputs.prediction)
        wrong_odds = self.known(self._known_features(values, outputs, distances, mirrored))
        effective = unknown_odds
        if self._levelled is not None:
            is_unusual = unknown_odds > exact(self._levelled.usual_)
            effective = torch.where(is_unusual, unknown_odds, exact(self._levelled.level_))
        p_correct_if_known = torch.sigmoid(-wrong_odds)
        return TracedJudgement(
            p_correct_if_known * torch.sigmoid(-effective),
            torch.sigmoid(-unknown_odds),
            p_correct_if_known,
            unknown_odds <= exact(self._familiar),
            self._origins(distances),
        )

    def _origins(self, distances: Tensor) -> Tensor:
        """Return the numbers of the layers that `TwoHeads.unfamiliar_origins` names, [N, 3]."""
        named = min(MOST_ORIGINS, len(self._layer_views))
        if not named:
            return distances.new_full((distances.shape[1], MOST_ORIGINS), -1, dtype=torch.int64)
        nearest = torch.stack([distances[view, :, NEAREST] for view in self._layer_views], dim=1)
        farthest = ((nearest - self.nearest_mean) / self.nearest_spread).topk(named, dim=1)
        numbers = torch.where(farthest.values > LEAST_DEVIATION, farthest.indices, -1)
        return nn.functional.pad(numbers, (0, MOST_ORIGINS - named), value=-1)

    def _near_log_odds(self, outputs: Outputs, views: Tensor) -> Tensor:
        """Return the log odds of `gradmeter.trust.near_unknown.NearUnknown`, [N]."""
        assert self._near is not None
        largest = outputs.highest
        if self._second_look is not None:
            largest = torch.where(outputs.wrong_log_odds > exact(self._second_look), views.amax(dim=1), largest)
        odds: Tensor = SLOPE * (self._near.mean_ - largest) / self._near.spread_
        return odds - self._near.normaliser_ + self._near.log_share_

    def _distances(self, values: Tensor, predicted: Tensor) -> Tensor:
        """Return the distances of each view, [views, N, 3]."""
        parts = []
        for number, density in enumerate(self.densities):
            columns = getattr(self, f"stack{number}")
            views, width = columns.shape
            stacked = values[:, columns.flatten()].unflatten(1, (views, width)).transpose(0, 1)
            parts.append(density(stacked, predicted))
        if not parts:  # the network's layers cannot be read
            return values.new_zeros(0, values.shape[0], len((PREDICTED, NEAREST, NEXT)))
        return torch.cat(parts)[self.view_order]

    def _outputs(self, values: Tensor, outputs: Outputs) -> Tensor:
        """Return the features of the softmax, the scores, the sorted largest logits and their margin, [N, k]."""
        logits = outputs.logits.topk(min(SORTED, outputs.logits.shape[1]), dim=1).values
        return torch.cat([values[:, self.outputs], logits, logits[:, :1] - logits[:, 1:2]], dim=1)

    def _known_features(
        self, values: Tensor, outputs: Outputs, distances: Tensor, mirrored: Tensor
    ) -> TracedKnownFeatures:
        shown = torch.cat([self._outputs(values, outputs), *(distances[view] for view in self._known_views)], dim=1)
        classes = outputs.logits.shape[1]
        if classes <= MOST_CLASSES:
            is_predicted = (torch.arange(classes) == outputs.prediction[:, None]).double()
            shown = torch.cat([shown, outputs.logits, is_predicted], dim=1)
        groups = {OUTPUTS: shown, **{name: values[:, getattr(self, f"group_{name}")] for name in self._groups}}
        if EMBEDDING in self.known.groups:
            embedding = values[:, self.embedding]
            lengths = (embedding * embedding).sum(1, keepdim=True).sqrt()
            direction = embedding / torch.where(lengths > 0, lengths, 1.0)
            groups[EMBEDDING] = torch.cat([shown, embedding, direction], dim=1)
        return TracedKnownFeatures(outputs, groups, mirrored)

    def _log_ratios(self, distances: Tensor, outputs: Tensor) -> Tensor:
        """Return the log likelihood ratios of unknown to known inputs, [N, kinds]."""
        columns = distances[:, :, NEAREST].transpose(0, 1)
        if not self._distances_only:
            near, own, following = (distances[:, :, index] for index in (NEAREST, PREDICTED, NEXT))
            # For each view, one column after the other.
            differences = torch.stack([own - near, following - own], dim=2).transpose(0, 1).flatten(1)
            columns = torch.cat([columns, differences, outputs], dim=1)
        return ((columns - self.mean) / self.deviation) @ self.weights + self.intercepts
