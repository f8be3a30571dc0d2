"""The file of the paper's network, with gradients, gives the verdicts of its TrustModel, command against command.

`pytest -n0 -s -m exhaustive tests/apps/onnx/test_paper_network.py` prints the numbers of docs/onnx.md.
"""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from apps.cli.commands import gradmeter
from apps.onnx.exported import needs_exporter
from gradmeter.research.demo import MODEL, make_demo
from gradmeter.runs.measuring import Work

pytestmark = [pytest.mark.exhaustive, pytest.mark.slow, needs_exporter]

TOLERANCE = 1e-4
# Digits, turned digits, digits in noise, and noise.
DIGITS, TURNED, NOISY, NOISE = 600, 200, 100, 100


def write_inputs(digits: Path, out: Path) -> None:
    random = np.random.default_rng(0)
    with np.load(digits) as archive:
        images = archive["images"][:DIGITS]
    noisy = (images[:NOISY] + random.integers(0, 120, (NOISY, 28, 28))).clip(0, 255).astype(np.uint8)
    noise = random.integers(0, 256, (NOISE, 28, 28), dtype=np.uint8)
    np.savez_compressed(out, images=np.concatenate([images, images[:TURNED].transpose(0, 2, 1), noisy, noise]))


def test_the_verdicts_of_the_trust_model(tmp_path: Path) -> None:
    pytest.importorskip("mlxtend", reason="the extra demo is not installed")
    store = make_demo(tmp_path / "demo", tmp_path / "absent", Work())
    network = ("--model", MODEL, "--weights", store.network)
    exported = gradmeter("export", store.trust, *network, "-o", "judged.onnx", cwd=tmp_path)
    assert exported.returncode == 0, exported.stderr
    print(f"\n{exported.stdout}")
    write_inputs(store.validation, tmp_path / "inputs.npz")
    for name, options in ((store.trust, network), ("judged.onnx", ())):
        out = f"{Path(name).name}.csv"
        judged = gradmeter("judge", name, "inputs.npz", *options, "-o", out, cwd=tmp_path)
        assert judged.returncode == 0, judged.stderr
    expected, given = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("trust", "judged.onnx"))
    for column in ("id", "prediction", "accepted"):
        assert given[column].tolist() == expected[column].tolist()
    assert given["reason"].fillna("").tolist() == expected["reason"].fillna("").tolist()
    assert re.search(r"unfamiliar: \w+", " ".join(given["reason"].dropna()))
    for column in ("probability", "p_known", "p_correct_if_known", "p_correct"):
        difference = (given[column] - expected[column]).abs().max()
        print(f"{column}: {difference:.1e} at most, of {len(given)} samples")
        assert difference < TOLERANCE
