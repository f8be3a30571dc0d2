"""The weights of the LASSO as a map: one row per layer, one column per metric."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradmeter.research.study.names import SCORES, in_order
from gradmeter.research.study.report.records import NOTHING, Record, number

# Orange for positive and blue for negative are told apart by colour-blind readers; the sign stands in the cell as well.
POSITIVE, NEGATIVE = "213 94 0", "0 114 178"
DARKEST = 0.6


@dataclass(frozen=True)
class Weight:
    """One weight: its text "+0.12", its spread over the runs "± 0.03", and a CSS background."""

    text: str
    spread: str = ""
    background: str = "transparent"


@dataclass(frozen=True)
class WeightMap:
    """Metric names, then per layer its name and one weight per metric; features of no layer (entropy) apart."""

    metrics: tuple[str, ...]
    layers: tuple[tuple[str, tuple[Weight, ...]], ...]
    others: tuple[tuple[str, Weight], ...]


def weight_map(records: Sequence[Record]) -> WeightMap:
    """Lay out rows of tables/lasso_weights.csv (layer, metric, mean, sd); a dropped feature leaves its cell empty."""
    largest = max((abs(number(record, "mean") or 0.0) for record in records), default=0.0)
    placed = {(str(record["layer"]), str(record["metric"])): _weight(record, largest) for record in records}
    layers = list(dict.fromkeys(layer for layer, _ in placed if layer))
    metrics = in_order((metric for layer, metric in placed if layer), SCORES)
    empty = Weight(NOTHING)
    return WeightMap(
        tuple(SCORES.get(metric, metric) for metric in metrics),
        tuple((layer, tuple(placed.get((layer, metric), empty) for metric in metrics)) for layer in layers),
        tuple((SCORES.get(metric, metric), weight) for (layer, metric), weight in placed.items() if not layer),
    )


def _weight(record: Record, largest: float) -> Weight:
    mean, spread = number(record, "mean"), number(record, "sd")
    if mean is None:
        return Weight(NOTHING)
    strength = DARKEST * abs(mean) / largest if largest else 0.0
    colour = POSITIVE if mean > 0 else NEGATIVE
    shown = "" if spread is None else f"± {spread:.2f}"
    return Weight(f"{mean:+.2f}" if mean else "0", shown, f"rgb({colour} / {strength:.2f})")
