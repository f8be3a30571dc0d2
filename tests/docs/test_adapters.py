"""The blocks of the page on adapters run: Python on digits, and the commands for FD-Shifts on small texts."""

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from apps.cli.commands import ENVIRONMENT, gradmeter
from apps.workflows import arrays
from docs.code import ROOT, blocks
from gradmeter.trust.adapters.fd_shifts import read_outputs
from trust.trained import digits, loader, noise, trained

pytestmark = pytest.mark.slow


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    images, labels = digits()
    variables: dict[str, Any] = {
        "model": trained(),
        "validation_loader": loader(300, 1000),
        "images": torch.cat([images[1000:1050], noise(50)]),
        "labels": torch.cat([labels[1000:1050], torch.full((50,), -1)]),
        "test_images": images[1050:1150],
        "test_labels": labels[1050:1150],
        "unknown_images": noise(50),
    }
    for language, content in blocks("docs/adapters.md"):
        if language == "python":
            exec(content, variables)
    assert variables["metrics"].compute()["AUROC"] > 0.9
    assert (variables["truth"] == labels[300:1000].numpy()).all()
    assert np.bincount(variables["outputs"].datasets).tolist() == [100, 50]


def test_the_commands_for_fd_shifts(tmp_path: Path) -> None:
    arrays.make(tmp_path)
    tokens, labels = arrays.texts(100, np.random.default_rng(5))
    np.savez(tmp_path / "second.npz", inputs=tokens, labels=labels)
    model = "array_networks:Words"
    names = {"fitting": "words-validation.npz", "validation": "second.npz", "test": "words-test.npz"}
    names |= {"svhn": "words-unknown.npz", "EXPERIMENT/test_results": "experiment"}
    commands = [text for language, text in blocks("docs/adapters.md") if language == "sh"]
    (block,) = [text for text in commands if "examples/fd_shifts.py" in text]
    for line in [line for line in block.splitlines() if not line.startswith("#")]:
        program, *arguments = [names.get(word, word) for word in shlex.split(line)]
        if program == "python":
            command = [sys.executable, str(ROOT / arguments[0]), *arguments[1:], "--model", model]
            finished = subprocess.run(
                command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=300
            )
        else:
            arguments[arguments.index("MODEL")] = model
            arguments += ["--weights", "words.safetensors", "--quiet"]
            finished = gradmeter(*arguments, cwd=tmp_path)
        assert finished.returncode == 0, f"{line}\n{finished.stdout}\n{finished.stderr}"
    assert "p_correct of 650 samples of 3 data sets" in finished.stdout
    outputs = read_outputs(tmp_path / "experiment")
    assert np.bincount(outputs.datasets).tolist() == [100, 400, 150]
    assert outputs.labels[:100].tolist() == labels.tolist()
    assert outputs.confidences is not None
    assert outputs.confidences[:500].mean() > outputs.confidences[500:].mean()
