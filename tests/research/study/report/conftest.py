"""A small made-up output folder of a study."""

import csv
import json
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gradmeter.report import figures
from gradmeter.report.exploration import Verdicts, exploration
from gradmeter.report.thumbnails import thumbnail
from gradmeter.research.study.paper import paper_table

BASE_RATES = {"wrong": 0.0135, "letters": 0.263, "cifar10": 0.151, "uniform": 0.263, "all": 0.51}
LAYERS = ("conv1", "conv2", "conv3", "dense")
METRICS = ("l1", "l2", "min", "max", "mean", "std", "skewness", "kurtosis")
NAMES = {"digits": "EMNIST digits", "letters": "EMNIST letters", "cifar10": "CIFAR-10 in grey", "omniglot": "Omniglot"}


def write_csv(path: Path, columns: str, rows: Iterable[Iterable[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns.split(","))
        writer.writerows(rows)


def _tables(folder: Path, runs: int) -> None:
    random = np.random.default_rng(1)
    differences = []
    for table in (1, 2, 3):
        rows = []
        cells = [(c.measure, c.row, c.column, c.value, c.scanned) for c in paper_table(table)]
        if table == 1:
            cells += [
                (measure, row, column, None, None)
                for measure in ("auroc", "aupr_in", "aupr_out")
                for row in ("mean", "skewness", "kurtosis")
                for column in ("wrong", "letters", "cifar10", "uniform")
            ]
        for measure, row, column, value, scanned in cells:
            mean = (value or 52.0) - abs(random.normal()) / 3
            concept = row if table == 3 else column
            sem = f"{abs(random.normal()) / 10:.4f}" if runs > 1 else ""
            numbers = (f"{mean:.4f}", sem, runs, 56123 + 20000, BASE_RATES.get(concept, 0.2))
            rows.append((measure, row, column, *numbers, value or "", scanned or ""))
            if runs > 1 and "softmax" not in (row, column):
                shift = random.normal()
                differences.append((table, measure, row, column, shift, shift - 0.6, shift + 0.6, runs))
        header = "measure,row,column,mean,sem,runs,n,base_rate,paper,paper_scanned"
        write_csv(folder / f"tables/table{table}.csv", header, rows)
    if differences:
        write_csv(folder / "tables/differences.csv", "table,measure,row,column,mean,low,high,runs", differences)


def _others(folder: Path, runs: int) -> None:
    random = np.random.default_rng(2)
    matched = [
        (score, column, rate, 60 + random.normal(), 0.3, runs, 59.5)
        for score in ("softmax", "lasso")
        for column, rate in (("letters", 0.092), ("cifar10", 0.0266))
    ]
    write_csv(folder / "tables/matched_base_rate.csv", "row,column,base_rate,mean,sem,runs,paper", matched)
    penalties = [
        (penalty, column, 90 + random.normal(), 0.3, runs, 89.3)
        for penalty in (1, 10)
        for column in ("wrong", "letters")
    ]
    write_csv(folder / "tables/penalties.csv", "penalty,column,mean,sem,runs,paper", penalties)
    ablation = [
        (score, "+".join(LAYERS[first:]), column, measure, 80 + random.normal(), 0.2, runs)
        for score in ("lasso", "nn_a")
        for first in (3, 2, 1, 0)
        for column in ("wrong", "letters", "all")
        for measure in ("auroc", "aupr_out")
    ]
    write_csv(folder / "tables/ablation.csv", "classifier,layers,column,measure,mean,sem,runs", ablation)
    weights = [
        (layer, metric, random.normal() * (random.random() < 0.6), 0.05, runs)
        for layer in LAYERS
        for metric in METRICS
        if (layer, metric) != ("dense", "mean")
    ]
    write_csv(
        folder / "tables/lasso_weights.csv", "layer,metric,mean,sd,runs", [*weights, ("", "entropy", -1.4, 0.1, runs)]
    )
    networks = [
        (run, 30 + run, int(run == 1), int(run == 2), "no", 1.41 + 0.01 * run, 1.40 + 0.02 * run) for run in range(runs)
    ]
    write_csv(
        folder / "tables/networks.csv", "run,epochs,restarts,dead_filters,damaged,validation_error,test_error", networks
    )
    claims = [
        ("C1", "Several gradient metrics match entropy and softmax.", "97.71 against 97.83", "holds"),
        ("C4", "GLM is worst, <b>regularised</b> regressions best.", "94.10 < 97.70", "does not hold"),
        ("C9", "200 noise images raise AUPR-Out by 13.74.", "no uniform noise", "not testable on this data"),
    ]
    write_csv(folder / "claims.csv", "claim,statement,numbers,verdict", claims)


def _manifest(folder: Path, name: str, runs: int) -> None:
    manifest = {
        "gradmeter": "0.1.0",
        "name": name,
        "created": "2025-11-25 10:00 UTC",
        "options": {"data": "embedded", "runs": runs, "seed": 0, "padding": "valid", "fresh": False, "root": None},
        "names": NAMES,
        "sources": {"digits": "136,896 digits of EMNIST", "letters": "20,000 letters", "uniform": "made from the seed"},
        "absent": {"notmnist": "no counterpart in the embedded data"},
        "data_hashes": {"digits": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
        "versions": {"python": "3.11.9", "torch": "2.6.0"},
        "hardware": {"machine": "x86_64", "cpus": 2},
        "timings": {"training": 1510.2, "measuring": 388.0, "tables": 12.34},
        "sizes": {"train": 60000, "validation": 20000, "test": 56896},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def _figures(folder: Path) -> None:
    random = np.random.default_rng(3)
    images = {"EMNIST digits": random.random((8, 28, 28)), "Uniform noise": random.random((8, 28, 28))}
    groups = {key: 10 ** random.normal(size=200) for key in ("correct", "wrong", "letters", "cifar10", "uniform")}
    line = np.linspace(0, 1, 50)
    curves = {"softmax": (line, line**0.2), "LASSO": (line, line**0.1)}
    panels = dict.fromkeys(("wrong", "letters", "CIFAR-10", "uniform noise"), curves)
    classes = range(4)
    rows = [figures.StressRow(name, stack[:4], stack[4:], classes, classes) for name, stack in images.items()]
    drawn = {
        "gallery": partial(figures.gallery, images),
        "violins": partial(figures.violins, {"Entropy": groups, "Euclidean norm": groups}),
        "roc": partial(figures.roc, panels),
        "precision_recall": partial(figures.precision_recall, panels),
        "risk_coverage": partial(figures.risk_coverage, curves),
        "stress": partial(figures.stress, rows),
    }
    for stem, draw in drawn.items():
        figures.save_for_screens(draw, folder / "figures" / stem)


def _exploration(folder: Path) -> None:
    random = np.random.default_rng(4)
    correct, letters = random.random(60) < 0.8, np.arange(60) >= 40
    score = random.beta(5, 1, 60)
    verdicts = Verdicts(
        [f"image {number}" for number in range(60)],
        {"right": correct & ~letters, "wrong": ~correct & ~letters, "letters": letters},
        ["letters"],
        ["7"] * 60,
        [
            None if is_letter else "7" if is_correct else "1"
            for is_letter, is_correct in zip(letters, correct, strict=True)
        ],
        {"P(correct)": score},
        "P(correct)",
        score > 0.1,
        [None if value >= 0.5 else ("unfamiliar", ("conv1",)) for value in score],
        0.5,
    )
    picture = thumbnail(Image.new("L", (28, 28)), 28)
    data = exploration(verdicts, lambda rows: dict.fromkeys(rows.tolist(), picture))
    (folder / "results").mkdir(exist_ok=True)
    (folder / "results/00-exploration.json").write_text(json.dumps(data), encoding="utf-8")


@pytest.fixture(scope="session")
def make_study() -> Callable[..., Path]:
    """Return a function that writes an output folder."""

    def write(folder: Path, name: str = "demo", runs: int = 10, figures: bool = False, explored: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        _tables(folder, runs)
        _others(folder, runs)
        _manifest(folder, name, runs)
        if figures:
            _figures(folder)
        if explored:
            _exploration(folder)
        return folder

    return write


@pytest.fixture
def study(tmp_path: Path, make_study: Callable[..., Path]) -> Path:
    """Return the folder of a study of ten runs, without figures."""
    return make_study(tmp_path / "demo")
