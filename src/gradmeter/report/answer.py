"""The study's answer in a few sentences, made from its claims and tables."""

from collections.abc import Sequence

from gradmeter.report.records import Record, number
from gradmeter.report.results import Results
from gradmeter.study.names import SCORES

HOLDS, FAILS, UNTESTED = "holds", "does not hold", "not testable on this data"
# A no-break space: the sign stays on the line of its number.
PERCENT = "\N{NO-BREAK SPACE}%"
GRADIENT_METRICS = ("l1", "l2", "min", "max", "std", "mean", "skewness", "kurtosis")


def answer(results: Results) -> list[str]:
    """Return the sentences that the tables at hand support; none where there are no tables."""
    sentences = (_claims(results), _mistakes(results), _regression(results), _known_unknowns(results))
    return [sentence for sentence in sentences if sentence]


def _claims(results: Results) -> str:
    verdicts = [row["verdict"] for row in results.rows["claims"]]
    if not verdicts:
        return ""
    holds, fails, untested = (verdicts.count(verdict) for verdict in (HOLDS, FAILS, UNTESTED))
    rest = f", {untested} cannot be tested on this data" if untested else ""
    return f"Of the paper's claims {holds} of {len(verdicts)} hold here, {fails} do not{rest}."


def _mistakes(results: Results) -> str:
    records = results.rows["table1"]
    baseline = _mean(records, "auroc", "softmax", "wrong")
    measured = {metric: _mean(records, "auroc", metric, "wrong") for metric in GRADIENT_METRICS}
    found = {metric: mean for metric, mean in measured.items() if mean is not None}
    if baseline is None or not found:
        return ""
    best = max(found, key=found.__getitem__)
    return (
        f"Finding the network's own mistakes: the best single gradient metric ({SCORES[best].lower()}) reaches an "
        f"AUROC of {found[best]:.2f}{PERCENT}, the softmax baseline {baseline:.2f}{PERCENT}."
    )


def _regression(results: Results) -> str:
    records, parts = results.rows["table2"], []
    for concept in ("letters", "cifar10", "uniform"):
        ours, baseline = (_mean(records, "aupr_out", score, concept) for score in ("lasso", "softmax"))
        if ours is not None and baseline is not None:
            parts.append(f"{results.names[concept]} {ours - baseline:+.2f}")
    if not parts:
        return ""
    return f"Unknown inputs, AUPR-Out of the LASSO minus the softmax baseline in points: {', '.join(parts)}."


def _known_unknowns(results: Results) -> str:
    records = results.rows["table3"]
    told, untold, baseline = (_mean(records, "aupr_out", score, "all") for score in ("nn_b", "nn_a", "softmax"))
    if told is None or untold is None or baseline is None:
        return ""
    return (
        f"All unknown concepts together: a few images of uniform noise in the training set of the meta classifier take "
        f"its AUPR-Out from {untold:.2f} to {told:.2f}{PERCENT}; the softmax baseline reaches {baseline:.2f}{PERCENT}."
    )


def _mean(records: Sequence[Record], measure: str, row: str, column: str) -> float | None:
    # Table 3 has scores as columns, so a pair is looked up either way round.
    wanted = {row, column}
    for record in records:
        if record["measure"] == measure and {record["row"], record["column"]} == wanted:
            return number(record, "mean")
    return None
