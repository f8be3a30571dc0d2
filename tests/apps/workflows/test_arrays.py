"""`fit`, `judge`, `evaluate` and `measure` of data that are no images: token ids and spectrograms."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from apps.cli.commands import gradmeter as in_own_process
from apps.cli.commands import in_this_process as gradmeter
from apps.workflows import arrays
from gradmeter import GradientMeter, Readings, TrustModel

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("arrays")
    arrays.make(folder)
    return folder


def network(name: str) -> torch.nn.Module:
    namespace: dict[str, Any] = {}
    exec(arrays.MODULE, namespace)
    made: torch.nn.Module = namespace[name.capitalize()]()
    return made.eval()


def model(name: str) -> tuple[str, ...]:
    return f"array_networks:{name.capitalize()}", "--weights", f"{name}.safetensors"


def fit_once(name: str, folder: Path) -> None:
    """Fit to validation data and unknown inputs; write trust-words or trust-sounds."""
    if (folder / f"trust-{name}").exists():
        return
    data = ("--known", f"{name}-validation.npz", "--unknown", f"{name}-unknown.npz", "--out", f"trust-{name}")
    answer = gradmeter("fit", *model(name), *data, "--risk", "0.4", "--repetitions", "100", "--quiet", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    (line,) = [line for line in answer.stdout.splitlines() if "synthetic" in line]
    assert f"{name}-validation are arrays" in line


@pytest.fixture(scope="module", params=["words", "sounds"])
def fitted(request: pytest.FixtureRequest, folder: Path) -> str:
    fit_once(request.param, folder)
    return str(request.param)


def test_judge_gives_the_verdicts_of_the_library(fitted: str, folder: Path) -> None:
    out = f"{fitted}.csv"
    command = ("judge", f"trust-{fitted}", f"{fitted}-test.npz", "--model", model(fitted)[0], "--out", out, "--quiet")
    answer = gradmeter(*command, cwd=folder)
    assert answer.returncode == 0, answer.stderr
    table = pyarrow.csv.read_csv(folder / out)
    assert table["id"].to_pylist() == [*range(400)]
    own = network(fitted)
    own.load_state_dict(load_file(folder / f"{fitted}.safetensors"))
    inputs = torch.from_numpy(np.load(folder / f"{fitted}-test.npz")["inputs"])
    trust = TrustModel.load(folder / f"trust-{fitted}", own)
    expected = trust.verdicts(inputs)
    for column in ("p_known", "p_correct"):
        assert np.allclose(table[column].to_numpy(), expected[column].to_numpy(), atol=1e-6)
    assert table["prediction"].to_pylist() == own(inputs).argmax(1).tolist()


def test_evaluate_writes_a_report_without_pictures(fitted: str, folder: Path, unpainted: None) -> None:
    out = folder / f"evaluation-{fitted}"
    data = ("--known", f"{fitted}-test.npz", "--unknown", f"{fitted}-unknown.npz")
    options = ("--model", model(fitted)[0], "--out", out, "--repetitions", "100", "--quiet")
    answer = gradmeter("evaluate", f"trust-{fitted}", *data, *options, cwd=folder)
    assert answer.returncode == 0, answer.stderr
    rows = pq.read_table(out / "judgements.parquet")
    is_known = np.array(rows["concept"].to_pylist()) == f"{fitted}-test"
    assert roc_auc_score(is_known, rows["p_correct"].to_numpy()) > 0.7
    page = (out / "report.html").read_text()
    dtype = {"words": "int64 [20]: ", "sounds": "float32 [4, 24]: "}[fitted]
    assert page.count("<q ") == 40
    assert f">{dtype}" in page
    assert "data:image/png" not in page


@pytest.mark.parametrize("prefix", ["", "inputs:"])
def test_a_network_of_several_arguments(prefix: str, folder: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    tokens, labels = arrays.texts(60, random)
    mask = (np.arange(arrays.LENGTH) < random.integers(3, arrays.LENGTH, (60, 1))).astype(np.int64)
    named = {f"{prefix}input_ids": tokens.astype(np.uint16), f"{prefix}attention_mask": mask, "labels": labels}
    np.savez(tmp_path / "masked.npz", **named, lengths=mask.sum(1))
    command = ("measure", "array_networks:Masked", tmp_path / "masked.npz", "--weights", "words.safetensors")
    answer = gradmeter(*command, "--out", tmp_path / "readings.parquet", "--quiet", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    assert "the network does not get the array lengths" in answer.stderr
    own = network("masked")
    own.load_state_dict(load_file(folder / "words.safetensors"))
    expected = GradientMeter(own)({"input_ids": torch.from_numpy(tokens), "attention_mask": torch.from_numpy(mask)})
    (part,) = (tmp_path / "readings.parquet").glob("part-*.parquet")
    table = pq.read_table(part)
    assert table["label"].to_pylist() == labels.tolist()
    assert torch.allclose(Readings.from_arrow(table).values, expected.values, rtol=1e-4, atol=1e-6)


def test_fit_takes_readings_of_arrays(folder: Path) -> None:
    answer = gradmeter("measure", *model("words"), "words-test.npz", "--out", "read.parquet", "--quiet", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    options = (
        "--known",
        "read.parquet",
        "--out",
        "trust-read",
        "--repetitions",
        "100",
        "--reads",
        "forward",
        "--quiet",
    )
    answer = gradmeter("fit", *model("words"), *options, cwd=folder)
    assert answer.returncode == 0, answer.stderr


def test_info_shows_how_a_network_of_arrays_is_measured(folder: Path) -> None:
    answer = gradmeter("info", *model("words"), "--data", "words-test.npz", "--json", cwd=folder)
    assert answer.returncode == 0, answer.stderr
    layers = {layer["layer"]: layer["parameters"] for layer in json.loads(answer.stdout)["model"]["layers"]}
    assert layers == {"embedding": 1440, "hidden": 208, "dense": 51}
    answer = gradmeter("info", *model("words"), "--data", "noise:uniform", cwd=folder)
    assert answer.returncode == 2
    assert "noise:uniform" in answer.stderr


def test_samples_of_another_length_get_a_note(folder: Path) -> None:
    fit_once("words", folder)
    archive = np.load(folder / "words-test.npz")
    np.savez(folder / "longer.npz", inputs=np.tile(archive["inputs"], 2)[:30])
    np.savez(folder / "same.npz", inputs=archive["inputs"][:30])
    notes = {}
    for name in ("longer", "same"):
        command = ("judge", "trust-words", f"{name}.npz", "--model", model("words")[0], "--quiet")
        answer = gradmeter(*command, cwd=folder)
        assert answer.returncode == 0, answer.stderr
        assert len(answer.stdout.splitlines()) == 30
        notes[name] = answer.stderr
    assert "int64 [40]" in notes["longer"]
    assert "int64 [20]" in notes["longer"]
    assert notes["same"] == ""


@pytest.fixture(scope="module")
def wrong(folder: Path) -> Path:
    """A fitted TrustModel, and archives that its network of token ids cannot take."""
    fit_once("words", folder)
    tokens = np.load(folder / "words-test.npz")["inputs"]
    labels = np.load(folder / "words-test.npz")["labels"]
    for name, archive in {
        "objects": {"inputs": np.array([[1], [1, 2]], object)},
        "beyond": {"inputs": tokens + 100, "labels": labels},
        "floats": {"inputs": tokens.astype(np.float32), "labels": labels},
        "deep": {"inputs": tokens[:, None], "labels": labels},
        "classes": {"inputs": tokens, "labels": labels + 7},
        "images": {"images": np.full((5, 8, 8), 7, np.uint8)},
        "named": {"inputs:words": tokens, "labels": labels},
    }.items():
        np.savez(folder / f"wrong-{name}.npz", **archive)
    return folder


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("measure", *model("words"), "wrong-objects.npz"), ["Python objects"]),
        (("measure", *model("words"), "wrong-beyond.npz"), ["IndexError", "num_embeddings=120", " to 2"]),
        (("measure", *model("words"), "wrong-floats.npz"), ["float32", "embedding"]),
        (("measure", *model("words"), "wrong-deep.npz"), ["(2, 20, 3)"]),
        (("measure", *model("words"), "wrong-classes.npz"), ["label", "classes 0 to 2"]),
        (("measure", *model("words"), "wrong-named.npz"), ["words", "inputs:NAME"]),
        (
            ("measure", *model("words"), "words-test.npz", "--image-size", "8", "--mean", "0"),
            ["--image-size and --mean"],
        ),
        (("measure", *model("words"), "missing.npz"), ["missing.npz", "no such file"]),
        (("measure", *model("words"), "wrong-images.npz", "--image-size", "8"), ["float32 of shape (2, 3, 8, 8)"]),
        (("fit", *model("words"), "--known", "words-unknown.npz"), ["words-unknown has no labels"]),
        (
            ("fit", *model("words"), "--known", "words-test.npz", "--unknown", "noise:uniform"),
            ["noise:uniform holds images", "int64 [20]"],
        ),
        (("judge", "trust-words", "wrong-floats.npz"), ["float32 [20]", "int64 [20]"]),
        (("judge", "trust-words", "wrong-deep.npz"), ["int64 [1, 20]", "int64 [20]"]),
        (("judge", "trust-words", "wrong-images.npz"), ["holds images"]),
        (("judge", "trust-words", "wrong-beyond.npz"), ["IndexError", "num_embeddings=120"]),
        (("judge", "trust-words", "sounds-test.npz"), ["float32 [4, 24]", "int64 [20]"]),
    ],
    ids=lambda value: "-".join(map(str, (value[0], *value[3:]))) if isinstance(value, tuple) else "",
)
def test_wrong_arguments(command: tuple[str, ...], words: list[str], wrong: Path, tmp_path: Path) -> None:
    options = ("--model", model("words")[0]) if command[0] == "judge" else ("--out", tmp_path / "unused")
    answer = gradmeter(*command, *options, "--quiet", cwd=wrong)
    assert answer.returncode == 2
    (line,) = answer.stderr.splitlines()
    assert all(word in line for word in words), line


def test_labels_under_another_name(folder: Path, tmp_path: Path) -> None:
    inputs = np.load(folder / "words-test.npz")["inputs"][:4]
    np.savez(tmp_path / "other.npz", inputs=inputs, targets=np.zeros(4, int), label=np.zeros(4, int), id=np.arange(4))
    command = ("measure", *model("words"), tmp_path / "other.npz", "--out", tmp_path / "readings", "--quiet")
    said = "other.npz has no labels; if they are in one of targets, label, name it 'labels' and start over with --fresh"
    assert said in gradmeter(*command, cwd=folder).stderr
    assert "no labels" not in gradmeter(*command, "--no-labels", "--fresh", cwd=folder).stderr


def test_a_server_takes_no_arrays(wrong: Path) -> None:
    answer = in_own_process("serve", "trust-words", "--model", model("words")[0], cwd=wrong)
    assert answer.returncode == 2
    assert "int64 [20]" in answer.stderr
