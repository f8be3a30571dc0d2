"""What the verdicts of an evaluation say about each group of predictions: right, wrong, each kind of unknown inputs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gradmeter.apps.workflows.evaluate import Evaluation
from gradmeter.apps.workflows.wording import SCORE_NAMES
from gradmeter.names import printable
from gradmeter.report.grid import Block, Cell, Grid
from gradmeter.report.probabilities import compared
from gradmeter.trust.evaluation.comparison import WRONG
from gradmeter.trust.reasons import DOUBTFUL, UNFAMILIAR, split_reason

RIGHT = "right"
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
# Number of layers in the table.
_LAYERS = 3


@dataclass(frozen=True)
class GroupSummary:
    """The verdicts on a group of predictions.

    Attributes:
        name: of the group.
        samples: number of predictions.
        accepted: number of accepted ones; None without a guarantee.
        reasons: number of predictions that are not accepted, by kind of reason.
        layers: number of predictions for which a layer is named, the most frequent layer first.
        quantiles: of each probability that the meta classifier gives, by score and level.
    """

    name: str
    samples: int
    accepted: int | None
    reasons: dict[str, int]
    layers: dict[str, int]
    quantiles: dict[str, dict[float, float]]

    def to_json(self) -> dict[str, Any]:
        """Return the summary as a JSON value."""
        return {
            "group": self.name,
            "samples": self.samples,
            "accepted": self.accepted,
            "reasons": self.reasons,
            "layers": self.layers,
            "quantiles": {
                score: {f"{level:g}": value for level, value in values.items()}
                for score, values in self.quantiles.items()
            },
        }


def given_scores(evaluation: Evaluation) -> dict[str, NDArray[np.float64]]:
    """Return the probabilities [N] that the meta classifier gives, by score."""
    return {score: evaluation.rows[score].to_numpy() for score in SCORE_NAMES if not evaluation.rows[score].null_count}


def group_members(evaluation: Evaluation) -> dict[str, NDArray[np.bool_]]:
    """Return the groups of predictions, [N] bool by name; groups without members are left out."""
    judged = evaluation.judged
    members = {RIGHT: judged.correct, WRONG: judged.wrong}
    members |= {name: judged.concept == number for number, name in enumerate(judged.unknowns, start=1)}
    return {name: rows for name, rows in members.items() if rows.any()}


def group_summaries(evaluation: Evaluation) -> list[GroupSummary]:
    """Summarise the verdicts on each group."""
    reasons = [reason and split_reason(reason) for reason in evaluation.rows["reason"].to_pylist()]
    decisions = None if evaluation.guarantee is None else evaluation.rows["accepted"].to_numpy()
    scores = given_scores(evaluation)
    summaries = []
    for name, members in group_members(evaluation).items():
        given = [reason for row in np.flatnonzero(members) if (reason := reasons[row])]
        layers = Counter(layer for _, named in given for layer in named)
        kinds = Counter(kind for kind, _ in given)
        summaries.append(
            GroupSummary(
                name,
                int(members.sum()),
                None if decisions is None else int(decisions[members].sum()),
                {kind: kinds[kind] for kind in (DOUBTFUL, UNFAMILIAR)} if decisions is not None else {},
                dict(layers.most_common()),
                {
                    score: dict(zip(_QUANTILES, np.quantile(values[members], _QUANTILES).tolist(), strict=True))
                    for score, values in scores.items()
                },
            )
        )
    return summaries


def summary_grid(summaries: list[GroupSummary]) -> Grid:
    """Return a table of the summaries, one row for each group."""
    has_guarantee = summaries[0].accepted is not None
    scores = list(summaries[0].quantiles)
    columns = ("predictions", *(f"median {SCORE_NAMES[score]}" for score in scores))
    columns += ("accepted", DOUBTFUL, UNFAMILIAR, "layers that object") if has_guarantee else ()

    def cells(summary: GroupSummary) -> tuple[Cell, ...]:
        texts = [
            f"{summary.samples:,}",
            *(compared(summary.quantiles[score][0.5]).removeprefix("=") for score in scores),
        ]
        if has_guarantee:
            texts += [f"{summary.accepted:,}", *(f"{count:,}" for count in summary.reasons.values())]
            layers = list(summary.layers.items())[:_LAYERS]
            texts.append(", ".join(f"{printable(layer)} ({count:,})" for layer, count in layers) or "\N{EN DASH}")
        return tuple(map(Cell, texts))

    notes = (
        "Not accepted are predictions that are doubtful, because P(correct | known) is low, and those for inputs that "
        "look unfamiliar, because P(known) is low. For an unfamiliar input, up to three layers object: those in which "
        "it is farthest from known inputs.",
    )
    rows = tuple((printable(summary.name), cells(summary)) for summary in summaries)
    return Grid("Verdicts on each group", "group", columns, (Block("", rows),), notes if has_guarantee else ())
