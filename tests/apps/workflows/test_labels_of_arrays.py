"""`gradmeter labels` on texts as token ids, and on images, in an .npz archive."""

import base64
import csv
import io
import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from apps.cli.commands import in_this_process
from gradmeter.sources.samples.rows import Rows

pytestmark = pytest.mark.slow

WORDS, LENGTH, PLANTED = 40, 20, 24
MODULE = """
from torch import nn

class Bag(nn.Module):
    def __init__(self):
        super().__init__()
        self.words, self.hidden, self.last = nn.Embedding(40, 12), nn.Linear(12, 16), nn.Linear(16, 3)

    def forward(self, ids):
        return self.last(self.hidden(self.words(ids).mean(1)).relu())

def pixels():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
"""


def texts(count: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Token ids [count, LENGTH] and classes: each class uses ten of the words more often."""
    labels = random.integers(0, 3, count)
    of_class = 10 * labels[:, None] + random.integers(0, 10, (count, LENGTH))
    return np.where(random.random((count, LENGTH)) < 0.35, of_class, random.integers(0, WORDS, (count, LENGTH))), labels


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained network of texts, other texts of which some have a wrong label, and their rows."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "bag_of_words.py").write_text(MODULE)
    random, names = np.random.default_rng(0), {}
    exec(MODULE, names)
    torch.manual_seed(0)
    network: nn.Module = names["Bag"]()
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    ids, labels = map(torch.from_numpy, texts(2000, random))
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(ids), labels).backward()
        optimizer.step()
    save_file(network.state_dict(), folder / "w.safetensors")
    inputs, labels = texts(1200, random)
    wrong = random.choice(len(labels), PLANTED, replace=False)
    labels[wrong] = (labels[wrong] + 1 + random.integers(0, 2, PLANTED)) % 3
    np.savez(folder / "texts.npz", inputs=inputs, labels=labels, class_names=np.array(["sport", "news", "art"]))
    np.save(folder / "wrong.npy", wrong)
    return folder


def png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


def run(folder: Path, *arguments: object) -> str:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        finished = in_this_process("labels", *arguments, "-q", cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return finished.stdout


@pytest.mark.parametrize("reads", ["forward", "gradients"])
def test_wrong_labels_of_texts_are_found(folder: Path, reads: str) -> None:
    options = ("--weights", "w.safetensors", "--classes", "sport,news,art", "--reads", reads, "-o", f"{reads}.parquet")
    run(folder, "bag_of_words:Bag", "texts.npz", *options)
    review = folder / f"{reads}.review"
    with (review / "review.csv").open() as file:
        rows = list(csv.DictReader(file))
    wrong = {str(row) for row in np.load(folder / "wrong.npy").tolist()}
    # Some errors of the network itself rank as high.
    assert len(wrong & {row["id"] for row in rows[:PLANTED]}) >= PLANTED // 2
    task = json.loads((review / "label_studio.json").read_text())[0]
    numbers = np.load(folder / "texts.npz")["inputs"][int(rows[0]["id"])]
    assert ", ".join(map(str, numbers[:16].tolist())) in task["data"]["text"]
    assert "image" not in task["data"]
    assert not (review / "fiftyone.json").exists()
    page = (review / "report.html").read_text()
    assert f"{', '.join(map(str, numbers[:16].tolist()))}" in page
    assert "fiftyone.json" not in page


def test_images_without_files_are_in_the_tasks(folder: Path) -> None:
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 255, (30, 8, 8), np.uint8), np.arange(30) % 3
    np.savez(folder / "images.npz", images=images, labels=labels)
    run(folder, "bag_of_words:pixels", "images.npz", "--image-size", 8, "--grey", "-o", "images.parquet")
    for task in json.loads((folder / "images.review/label_studio.json").read_text()):
        assert task["data"]["image"].startswith("data:image/png;base64,")


def test_a_table_is_read_forwards_however_suspicious_its_rows_are(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each step backwards reads a row group again from its start."""
    random = np.random.default_rng(0)
    images = [png(image) for image in random.integers(0, 255, (300, 8, 8), np.uint8)]
    pq.write_table(pa.table({"image": images, "label": np.arange(300) % 3}), folder / "images.parquet")
    opened: list[int] = []
    open_group = Rows._open
    monkeypatch.setattr(Rows, "_open", lambda *given: (opened.append(given[2]), open_group(*given))[1])
    run(folder, "bag_of_words:pixels", "images.parquet", "--image-size", 8, "--grey", "-o", "listed.parquet")
    tasks = json.loads((folder / "listed.review/label_studio.json").read_text())
    assert len(tasks) > 100
    assert [task["data"]["rank"] for task in tasks] == [*range(1, len(tasks) + 1)]
    pictures = {task["data"]["id"]: task["data"]["image"] for task in tasks}
    for name, picture in pictures.items():
        given = Image.open(io.BytesIO(images[int(name.rpartition(":")[2])]))
        shown = Image.open(io.BytesIO(base64.b64decode(picture.partition(",")[2])))
        assert shown.convert("L").tobytes() == given.tobytes()
    assert len(opened) < 20


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (None, "has no labels"),
        (np.arange(50) % 4, "label 3"),
        (np.zeros(50), "float64"),
        (np.zeros(50, np.int64), "at least two classes"),
    ],
)
def test_labels_that_cannot_be_checked(folder: Path, tmp_path: Path, labels: np.ndarray | None, words: str) -> None:
    inputs, _ = texts(50, np.random.default_rng(1))
    np.savez(tmp_path / "bad.npz", inputs=inputs, **({} if labels is None else {"labels": labels}))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        arguments = ("bag_of_words:Bag", tmp_path / "bad.npz", "-o", tmp_path / "labels.parquet", "-q")
        finished = in_this_process("labels", *arguments, "--weights", "w.safetensors", cwd=folder)
    assert finished.returncode == 2
    assert words in finished.stderr
    assert finished.stderr.count("\n") == 1
