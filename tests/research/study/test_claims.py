"""Made-up results on which all claims hold, and changes that make a claim fail or untestable."""

import re
from collections.abc import Mapping

import numpy as np
import pytest

from gradmeter.research.study.claims import CLAIMS, judge_claims
from gradmeter.research.study.names import FAILS, HOLDS, UNTESTED
from gradmeter.research.study.paper import paper_cell
from gradmeter.research.study.results import AllResults, Result

Key = tuple[str, str, str]

RUNS = 4
UNKNOWNS = ("letters", "omniglot", "notmnist", "cifar10", "normal", "uniform")


def world() -> dict[Key, float]:
    """Return means over the runs, as fractions, by (score, column, measure)."""
    means: dict[Key, float] = {}
    for column in ("wrong", *UNKNOWNS, "all"):
        for measure in ("auroc", "aupr_in", "aupr_out", "aupr_out_matched"):
            means["softmax", column, measure] = means["entropy", column, measure] = 0.9
            means |= {(metric, column, measure): 0.9 for metric in ("l1", "l2", "min", "max", "std")}
            means |= {(metric, column, measure): 0.55 for metric in ("mean", "skewness", "kurtosis")}
            means["glm_a", column, measure] = 0.85
            means |= {(f"{name}_a", column, measure): 0.93 for name in ("lasso", "ridge", "elastic_net")}
            means |= {(f"{name}_a@dense", column, measure): 0.93 for name in ("lasso", "ridge")}
            means["nn_a@dense", column, measure] = 0.8
            means["nn_a", column, measure] = 0.82
            means |= {(f"nn_{name}", column, measure): 0.95 for name in ("b", "c", "d")}
            means["nn_normal", column, measure] = 0.88
        for score in ("entropy", "l2", "min"):
            means[score, column, "ks"] = 0.5
            means[score, column, "ks_p"] = 1e-9
    means["l2", "uniform", "auroc"] = 0.7
    means["glm_a", "", "converged"] = 0.5
    means["glm_a", "", "iterations"] = 4000
    return means


def judged(means: Mapping[Key, float], spread: float = 1e-4, runs: int = RUNS) -> dict[str, tuple[str, str]]:
    """Return verdict and numbers by claim, for results that scatter around the means from run to run."""
    scatter = {key: np.random.default_rng([len("".join(key)), n]).normal(size=runs) for n, key in enumerate(means)}
    results = AllResults(
        [
            Result(*key, mean + (spread * (scatter[key][run] - scatter[key].mean()) if key[2] != "ks_p" else 0))
            for key, mean in means.items()
        ]
        for run in range(runs)
    )
    rows = judge_claims(results, {"letters": "EMNIST letters"})
    assert [list(row) for row in rows] == [["claim", "statement", "numbers", "verdict"]] * 15
    return {str(row["claim"]): (str(row["verdict"]), str(row["numbers"])) for row in rows}


@pytest.mark.parametrize("runs", [1, RUNS])
def test_all_hold(runs: int) -> None:
    assert {claim: verdict for claim, (verdict, _) in judged(world(), runs=runs).items()} == {
        f"C{number}": HOLDS for number in range(1, 16)
    }


FALL: list[tuple[str, dict[Key, float]]] = [
    ("C1", {(metric, "wrong", "auroc"): 0.894 for metric in ("l1", "l2", "min")}),
    ("C2", {("mean", "wrong", "auroc"): 0.05}),  # useful in the other direction
    ("C2", {("kurtosis", "wrong", "auroc"): 0.81}),
    ("C3", {("l2", "letters", "auroc"): 0.87}),
    ("C3", {("l2", "cifar10", "auroc"): 0.87}),
    ("C3", {("l2", "uniform", "auroc"): 0.92}),
    ("C4", {("ridge_a", column, "auroc"): 0.84 for column in ("wrong", "letters", "cifar10", "uniform")}),
    ("C5", {("elastic_net_a", "wrong", "auroc"): 0.898}),
    ("C6", {("nn_a", "wrong", "auroc"): 0.92}),
    ("C7", {("lasso_a@dense", "wrong", "auroc"): 0.92}),
    ("C7", {("ridge_a@dense", "wrong", "auroc"): 0.92}),
    ("C7", {("nn_a@dense", "wrong", "auroc"): 0.83}),
    ("C8", {("lasso_a", "letters", "aupr_out"): 0.89}),
    ("C8", {("lasso_a", "uniform", "aupr_out_matched"): 0.89}),
    ("C9", {("nn_b", "all", "aupr_out"): 0.80}),
    ("C10", {("nn_d", "all", "aupr_out"): 0.981}),
    *(("C11", {("nn_d", "all", measure): 0.89}) for measure in ("auroc", "aupr_in", "aupr_out")),
    *(("C12", {(name, "wrong", "auroc"): 0.81}) for name in ("nn_b", "nn_c", "nn_d")),
    ("C13", {("nn_normal", "all", "aupr_out"): 0.96}),
    *(("C14", {(score, "normal", "ks_p"): 0.002}) for score in ("entropy", "l2", "min")),
    ("C14", {("l2", "wrong", "ks_p"): 0.002}),
    ("C15", {("nn_a", column, "auroc"): 0.91 for column in UNKNOWNS}),
]


def test_every_claim_can_fall() -> None:
    assert {claim for claim, _ in FALL} == {claim.name for claim in CLAIMS}


@pytest.mark.parametrize(("claim", "change"), FALL, ids=[f"{claim}-{next(iter(change))}" for claim, change in FALL])
def test_a_claim_falls(claim: str, change: dict[Key, float]) -> None:
    assert change.keys() <= world().keys()
    assert judged(world() | change)[claim][0] == FAILS


@pytest.mark.parametrize("claim", ["C4", "C6", "C8", "C9", "C11", "C12", "C13", "C15"])
def test_a_difference_within_the_scatter_of_the_runs_does_not_hold(claim: str) -> None:
    assert judged(world(), spread=0.5)[claim][0] == FAILS


NEEDED: dict[str, tuple[Key, str]] = {
    "C1": (("l2", "wrong", "auroc"), "Euclidean norm"),
    "C2": (("mean", "wrong", "auroc"), "Mean"),
    "C3": (("softmax", "cifar10", ""), "CIFAR-10"),
    "C4": (("softmax", "letters", ""), "EMNIST letters"),
    "C5": (("lasso_a", "wrong", "auroc"), "LASSO"),
    "C6": (("nn_a", "wrong", "auroc"), r"NN \(a\)"),
    "C7": (("nn_a@dense", "wrong", "auroc"), "nn_a@dense"),
    "C8": (("softmax", "letters", ""), "EMNIST letters"),
    "C9": (("nn_b", "all", "aupr_out"), r"NN \(b\)"),
    "C10": (("nn_d", "all", "aupr_out"), r"NN \(d\)"),
    "C11": (("nn_d", "all", "auroc"), r"NN \(d\)"),
    "C12": (("nn_c", "wrong", "auroc"), r"NN \(c\)"),
    "C13": (("nn_normal", "all", "aupr_out"), r"NN \(normal\)"),
    "C14": (("l2", "wrong", "ks_p"), "Euclidean norm"),
    "C15": (("nn_a", "uniform", "auroc"), r"NN \(a\)"),
}


@pytest.mark.parametrize("claim", NEEDED)
def test_a_claim_that_lacks_a_number_says_which(claim: str) -> None:
    (score, column, measure), named = NEEDED[claim]
    # An empty measure removes the whole concept from the data.
    left = {
        key: mean for key, mean in world().items() if (key[1] != column if not measure else key != NEEDED[claim][0])
    }
    verdict, numbers = judged(left)[claim]
    assert verdict == UNTESTED
    assert re.fullmatch(f"it needs {named}, which this data does not have", numbers), score


def papers(claim: str) -> list[float]:
    """Return the sizes from the paper in the numbers of a claim, in order."""
    return [float(size) for size in re.findall(r"\(paper ([+-][\d.]+)\)", judged(world())[claim][1])]


def cell(table: int, measure: str, row: str, column: str) -> float:
    paper = paper_cell(table, measure, row, column)
    assert paper is not None
    return paper.value


def test_the_papers_own_sizes_are_those_of_its_tables() -> None:
    def network(measure: str, concept: str, score: str, over: str) -> float:
        return cell(3, measure, concept, score) - cell(3, measure, concept, over)

    sizes = {
        "C6": [network(measure, "wrong", "nn_a", "softmax") for measure in ("auroc", "aupr_out")],
        "C8": [
            cell(2, "aupr_out", "lasso", column) - cell(2, "aupr_out", "softmax", column)
            for column in ("letters", "cifar10", "uniform")
        ],
        "C9": [network("aupr_out", "all", "nn_b", "nn_a")],
        "C10": [network("aupr_out", "all", "nn_d", "nn_b")],
        "C11": [network(measure, "all", "nn_d", "softmax") for measure in ("aupr_out", "auroc", "aupr_in")],
    }
    for claim, expected in sizes.items():
        assert papers(claim) == [pytest.approx(size, abs=0.006) for size in expected], claim


def test_numbers_are_those_of_the_runs() -> None:
    numbers = judged(world() | {("nn_b", "all", "aupr_out"): 0.9})["C9"][1]
    assert numbers.startswith("NN (b) 90.00 minus NN (a) 82.00: +8.00 [+7.")
    assert judged(world(), runs=1)["C9"][1] == "NN (b) 95.00 minus NN (a) 82.00: +13.00 (paper +13.74)"
