"""Scores of all networks and draws, made of random numbers."""

from pathlib import Path

import numpy as np

from gradmeter.research.ood_benchmark.run import OURS, WRONG
from gradmeter.research.ood_benchmark.scores import KNOWN, Scores, score_path

SETS = {"CIFAR-100": 60, "Tiny-ImageNet": 60, "digits": 30, "letters": 30, "uniform": 30, "normal": 30}
CHANGED = {"corrupted": 80, "adversarial": 30}
IF_KNOWN = f"{OURS}, P(correct | known)"
# How far each method separates right predictions from the others.
METHODS = {"MSP": 1.0, "Energy": 1.2, OURS: 2.0, IF_KNOWN: 1.6, f"{OURS}, P(known)": 1.5}


def write(folder: Path, separations: dict[str, float]) -> None:
    for run in range(12):
        random = np.random.default_rng(run)
        wrong, corrupted = random.random(200) < 0.2, random.random(80) < 0.3
        Scores({WRONG: wrong * 1.0, "corrupted": corrupted * 1.0}, 0, 0).write(
            score_path(folder, "cifar10", run, WRONG)
        )
        noise = {name: random.normal(size=count) for name, count in {KNOWN: 200, **SETS, **CHANGED}.items()}
        for method, shift in separations.items():
            values = {name: rows + shift for name, rows in noise.items()}
            values[KNOWN] = noise[KNOWN] + shift * wrong
            values["corrupted"] = noise["corrupted"] + shift * corrupted
            # Negated probabilities.
            values = {name: -1 / (1 + np.exp(rows - 2)) for name, rows in values.items()}
            Scores(values, 3.0, shift).write(score_path(folder, "cifar10", run, method))
