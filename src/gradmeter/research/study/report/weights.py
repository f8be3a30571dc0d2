"""A heat map of the LASSO's weights: one row per layer, one column per statistic."""

from collections.abc import Sequence
from dataclasses import dataclass

from gradmeter.research.study.names import SCORES, in_order
from gradmeter.research.study.report.records import NOTHING, Record, number

# Colour-blind readers can tell orange from blue; the cell also shows the sign.
POSITIVE, NEGATIVE = "213 94 0", "0 114 178"
DARKEST = 0.6


@dataclass(frozen=True)
class Weight:
    """A cell of the map: the weight "+0.12", its standard deviation over runs "± 0.03", and a CSS background."""

    text: str
    spread: str = ""
    background: str = "transparent"


@dataclass(frozen=True)
class WeightMap:
    """A map of weights.

    Attributes:
        metrics: display names of the statistics.
        layers: name of each layer, and its weights in the order of `metrics`.
        others: name and weight of each feature without a layer (entropy).
    """

    metrics: tuple[str, ...]
    layers: tuple[tuple[str, tuple[Weight, ...]], ...]
    others: tuple[tuple[str, Weight], ...]


def weight_map(records: Sequence[Record]) -> WeightMap:
    """Lay out rows of tables/lasso_weights.csv (layer, metric, mean, sd); cells of dropped features are empty."""
    largest = max((abs(number(record, "mean") or 0.0) for record in records), default=0.0)
    weights = {(str(record["layer"]), str(record["metric"])): _weight(record, largest) for record in records}
    layers = list(dict.fromkeys(layer for layer, _ in weights if layer))
    metrics = in_order((metric for layer, metric in weights if layer), SCORES)
    empty = Weight(NOTHING)
    return WeightMap(
        tuple(SCORES.get(metric, metric) for metric in metrics),
        tuple((layer, tuple(weights.get((layer, metric), empty) for metric in metrics)) for layer in layers),
        tuple((SCORES.get(metric, metric), weight) for (layer, metric), weight in weights.items() if not layer),
    )


def _weight(record: Record, largest: float) -> Weight:
    mean, spread = number(record, "mean"), number(record, "sd")
    if mean is None:
        return Weight(NOTHING)
    strength = DARKEST * abs(mean) / largest if largest else 0.0
    colour = POSITIVE if mean > 0 else NEGATIVE
    text = "" if spread is None else f"± {spread:.2f}"
    return Weight(f"{mean:+.2f}" if mean else "0", text, f"rgb({colour} / {strength:.2f})")
