"""The blocks of the page on adapters run: Python and examples on digits, the commands for FD-Shifts on small texts."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from apps.cli.commands import in_this_process
from apps.workflows import arrays
from apps.workflows.digits import MODULE, make, recipe
from docs.code import blocks, example
from gradmeter.apps.cli.commands import app
from gradmeter.trust.adapters.fd_shifts import read_outputs
from trust.adapters.test_lightning import Digits
from trust.adapters.test_transformers import VALIDATION, trainer_in
from trust.trained import digits, loader, noise, trained

# Lightning and MLflow warn of small data, many workers, and their own hints of types.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default::UserWarning")]


@pytest.fixture(autouse=True)
def small(quick_fits: None) -> None:
    """The adapters' TrustModels are small."""


@pytest.fixture(autouse=True)
def mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let MLflow write to this test's folder."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


def test_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "mine.py").write_text(MODULE)
    images, labels = digits()
    variables: dict[str, Any] = {
        "model": trained(),
        "validation_loader": loader(300, 1000),
        "images": torch.cat([images[1000:1050], noise(50)]),
        "labels": torch.cat([labels[1000:1050], torch.full((50,), -1)]),
        "test_images": images[1050:1150],
        "test_labels": labels[1050:1150],
        "unknown_images": noise(50),
        "module": Digits(),
        "training_loader": loader(0, 300),
        "text_trainer": trainer_in(tmp_path / "texts"),
        "text_loader": DataLoader(VALIDATION, batch_size=64),
    }
    variables["text_trainer"].args.num_train_epochs = 1
    for language, content in blocks("docs/adapters.md"):
        if language == "python":
            exec(content.replace("max_epochs=2", "max_epochs=1"), variables)
    assert variables["metrics"].compute()["AUROC"] > 0.9
    assert (variables["truth"] == labels[300:1000].numpy()).all()
    assert np.bincount(variables["outputs"].datasets).tolist() == [100, 50]
    assert variables["trainer"].callback_metrics["gradmeter/accuracy"] > 0.9
    assert [entry for entry in variables["text_trainer"].state.log_history if "eval_gradmeter/l2/all" in entry]
    assert len(json.loads(Path("labels.json").read_text())["labels"]) == 100


def test_the_commands_for_fd_shifts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    arrays.make(tmp_path)
    tokens, labels = arrays.texts(100, np.random.default_rng(5))
    np.savez(tmp_path / "second.npz", inputs=tokens, labels=labels)
    model = "array_networks:Words"
    names = {"fitting": "words-validation.npz", "validation": "second.npz", "test": "words-test.npz"}
    names |= {"svhn": "words-unknown.npz", "EXPERIMENT/test_results": "experiment"}
    commands = [text for language, text in blocks("docs/adapters.md") if language == "sh"]
    (block,) = [text for text in commands if "examples/fd_shifts.py" in text]
    for line in [line for line in block.splitlines() if not line.startswith("#")]:
        words = [names.get(word, word) for word in shlex.split(line)]
        if words[0] == "python":
            example(shlex.join(words), monkeypatch, "--model", model)
            continue
        words[words.index("MODEL")] = model
        finished = in_this_process(*words[1:], "--weights", "words.safetensors", "--quiet", cwd=tmp_path)
        assert finished.returncode == 0, f"{line}\n{finished.stdout}\n{finished.stderr}"
    assert "p_correct of 650 samples of 3 data sets" in capsys.readouterr().out
    outputs = read_outputs(tmp_path / "experiment")
    assert np.bincount(outputs.datasets).tolist() == [100, 400, 150]
    assert outputs.labels[:100].tolist() == labels.tolist()
    assert outputs.confidences is not None
    assert outputs.confidences[:500].mean() > outputs.confidences[500:].mean()
    with pytest.raises(SystemExit, match="2"):
        example("python examples/fd_shifts.py nowhere absent.parquet --out empty", monkeypatch)
    assert "nowhere" in capsys.readouterr().err


@pytest.fixture
def line_of() -> Callable[[str], str]:
    """Return a function that returns the only line of the page with a text, from its commands."""
    lines = [line for language, text in blocks("docs/adapters.md") if language == "sh" for line in text.splitlines()]

    def find(text: str) -> str:
        (line,) = [line for line in lines if text in line]
        return line

    return find


@pytest.mark.parametrize("trainer", ["lightning", "transformers"])
def test_training(
    trainer: str, line_of: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    line = line_of(f"examples/{trainer}_training.py").replace("--epochs 5", "--epochs 1")
    example(line, monkeypatch)
    assert "  p_correct 0." in capsys.readouterr().out


def test_the_commands_for_mlflow_and_fiftyone(
    line_of: Callable[[str], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    given = recipe(tmp_path)
    fit = ["fit", given.model, "--weights", str(given.weights), "--known", "validation", "--classifier", "ridge_cv"]
    app([*fit, "--image-size", "8", "--grey", "--classes", ",".join("0123456789"), "--quiet"], standalone_mode=False)
    monkeypatch.syspath_prepend(tmp_path)
    images = sorted((tmp_path / "test/7").iterdir())
    images[0].rename("image.png")
    images[1].rename("another.png")
    example(line_of("mlflow_model.py"), monkeypatch, "--model", given.model, "--code", "digits_network.py")
    assert "another.png" in capsys.readouterr().out
    app([*shlex.split(line_of("judge trust test"))[1:], "--model", given.model, "--quiet"], standalone_mode=False)
    example(line_of("fiftyone_labels.py"), monkeypatch)
    labels = json.loads(Path("labels.json").read_text())["labels"]
    files = {str(path.relative_to("test").with_suffix("")) for path in Path("test").rglob("*.png")}
    assert {*labels} == files
    right = np.mean([label["label"] == name.partition("/")[0] for name, label in labels.items()])
    assert right == pytest.approx(np.mean([label["confidence"] for label in labels.values()]), abs=0.05)
