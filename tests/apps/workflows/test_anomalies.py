"""Scores of anomalies in a folder in the form of SegmentMeIfYouCan."""

import csv
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from gradmeter import DataError, InputError, OutputError, PixelMeter
from gradmeter.apps.workflows.anomalies import MASKS, Found, anomaly_images, score_anomalies
from gradmeter.reading.pixels.scores import ENTROPY, SOFTMAX, confidence_scores, score_name
from gradmeter.runs.measuring import Skipped
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.segmenters import Normalised
from gradmeter.sources.samples import ImageKind
from gradmeter.trust.evaluation.binned import AUPR, AUROC, FPR95
from oracles.networks import randomise

HEIGHT, WIDTH = 14, 20


def segmenter(seed: int = 0, size: int | None = None) -> Classifier:
    network = randomise(nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 3, 1)), seed)
    batch = Normalised(size, (0.0,) * 3, (1.0,) * 3)
    return Classifier("mine:make", network.eval(), None, ImageKind("RGB", 8), batch)


def write_folder(folder: Path) -> Path:
    """Images of noise with a bright anomaly, two PNG and one JPEG, and their masks; and one image without a mask."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / MASKS).mkdir()
    for name in ("a.png", "b.jpg", "c.png", "unlabelled.png"):
        image, mask = random.integers(0, 160, (HEIGHT, WIDTH, 3)), np.zeros((HEIGHT, WIDTH), np.uint8)
        image[4:9, 6:13] += 90
        mask[4:9, 6:13], mask[:2] = 1, 255
        Image.fromarray(image.astype(np.uint8)).save(folder / "images" / name)
        if name != "unlabelled.png":
            Image.fromarray(mask).save(folder / MASKS / f"{Path(name).stem}_labels_semantic.png")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "road")


def score(folder: Path, out: Path, *, seed: int = 0, size: int | None = None, fresh: bool = False) -> Found:
    network = segmenter(seed, size)
    return score_anomalies(network, anomaly_images(folder, network), folder / MASKS, out, fresh=fresh)


def pixels(folder: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """The softmax and a norm of all pixels that are not void, and whether they are anomalous."""
    scores: dict[str, list[np.ndarray]] = {SOFTMAX: [], score_name("l2", "predicted", "2"): []}
    outside = []
    for path in sorted((folder / MASKS).iterdir()):
        mask = np.array(Image.open(path))
        (image,) = (folder / "images").glob(f"{path.name.removesuffix('_labels_semantic.png')}.*")
        inputs = torch.from_numpy(np.array(Image.open(image))).permute(2, 0, 1).unsqueeze(0) / 255
        readings = PixelMeter(segmenter().network)(inputs)
        for name, values in zip(scores, (readings.log_scale, readings["2", "l2"]), strict=True):
            scores[name].append(values[0].numpy()[mask != 255])
        outside.append(mask[mask != 255] == 1)
    return {name: np.concatenate(values) for name, values in scores.items()}, np.concatenate(outside)


def test_an_image_with_a_long_name(folder: Path, tmp_path: Path) -> None:
    """Its part and its temporary file would have longer names than a file system allows."""
    for name in ("n" * 234, "m" * 251):  # the mask of the second would have too long a name
        shutil.copy(folder / "images/a.png", folder / f"images/{name}.png")
    shutil.copy(folder / MASKS / "a_labels_semantic.png", folder / MASKS / f"{'n' * 234}_labels_semantic.png")
    result = score(folder, tmp_path / "out")
    assert (result.images, [skipped.id[0] for skipped in result.skipped]) == (4, ["m", "u"])
    assert len(list((tmp_path / "out/parts").iterdir())) == 4


def test_a_table_that_cannot_be_written_leaves_no_other_one(folder: Path, tmp_path: Path) -> None:
    score(folder, tmp_path / "out")
    (tmp_path / "out/anomalies.csv").unlink()
    (tmp_path / "out/anomalies.csv").mkdir()
    with pytest.raises(OutputError):
        score(folder, tmp_path / "out")
    assert not (tmp_path / "out/anomalies.md").exists()


def test_the_measures_are_those_of_all_pixels(folder: Path, tmp_path: Path) -> None:
    result = score(folder, tmp_path / "out")
    assert (result.images, [skipped.id for skipped in result.skipped]) == (3, ["unlabelled.png"])
    assert "unlabelled_labels_semantic.png" in result.skipped[0].reason
    scores, outside = pixels(folder)
    for name, values in scores.items():
        assert result.scores[name][AUROC].value == pytest.approx(roc_auc_score(outside, values), abs=1e-6)
        assert result.scores[name][AUPR].value == pytest.approx(average_precision_score(outside, values), abs=1e-6)
        for interval in result.scores[name].values():
            assert interval.low <= interval.value <= interval.high
    assert len(result.scores) == 4 + 2 * 8


def test_images_in_folders_have_masks_in_folders(folder: Path, tmp_path: Path) -> None:
    """Images of one name shared a mask."""
    for name, images in (("images", ("a.png", "c.png")), (MASKS, ("a_labels_semantic.png", "c_labels_semantic.png"))):
        for number, image in enumerate(images):
            place = tmp_path / "nested" / name / f"s{number}"
            place.mkdir(parents=True)
            (folder / name / image).rename(place / f"a{image[1:]}")
    shutil.copytree(tmp_path / "nested" / MASKS / "s0", tmp_path / "nested" / MASKS, dirs_exist_ok=True)
    assert score(tmp_path / "nested", tmp_path / "out").images == 2
    shutil.rmtree(tmp_path / "nested" / MASKS / "s1")
    found = score(tmp_path / "nested", tmp_path / "other")
    assert [skipped.id for skipped in found.skipped] == ["s1/a.png"]


def test_a_damaged_mask_is_named(folder: Path, tmp_path: Path) -> None:
    mask = folder / MASKS / "a_labels_semantic.png"
    mask.write_bytes(mask.read_bytes()[:40])
    skipped = score(folder, tmp_path / "out").skipped[0]
    assert (skipped.id, "its mask a_labels_semantic.png cannot be read" in skipped.reason) == ("a.png", True)


def test_copies_of_an_image_add_no_evidence(folder: Path, tmp_path: Path) -> None:
    once = score(folder, tmp_path / "once")
    for image in sorted((folder / "images").iterdir()):
        for number in range(3):
            shutil.copy(image, folder / f"images/{image.stem}{number}{image.suffix}")
            if (mask := folder / MASKS / f"{image.stem}_labels_semantic.png").exists():
                shutil.copy(mask, folder / MASKS / f"{image.stem}{number}_labels_semantic.png")
    copied = score(folder, tmp_path / "copied")
    assert copied.images == 4 * once.images
    for name, measures in once.scores.items():
        for measure, expected in measures.items():
            interval = copied.scores[name][measure]
            assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_one_image_has_no_interval(folder: Path, tmp_path: Path) -> None:
    """It would have no width, as if the measures were certain."""
    _, *others = sorted((folder / MASKS).iterdir())
    for mask in others:
        mask.unlink()
    measures = score(folder, tmp_path / "out").scores[SOFTMAX]
    assert all(np.isnan([interval.low, interval.high]).all() for interval in measures.values())
    with (tmp_path / "out/anomalies.csv").open(encoding="utf-8") as file:
        assert {(row["auroc_low"], row["auroc_high"]) for row in csv.DictReader(file)} == {("", "")}
    assert "[" not in (tmp_path / "out/anomalies.md").read_text(encoding="utf-8")


def test_the_tables(folder: Path, tmp_path: Path) -> None:
    result = score(folder, tmp_path / "out")
    with (tmp_path / "out/anomalies.csv").open(encoding="utf-8") as file:
        rows = {row["score"]: row for row in csv.DictReader(file)}
    assert rows.keys() == result.scores.keys()
    assert float(rows[SOFTMAX]["fpr95_high"]) == result.scores[SOFTMAX][FPR95].high
    table = (tmp_path / "out/anomalies.md").read_text(encoding="utf-8")
    assert f"| {SOFTMAX} | {100 * result.scores[SOFTMAX][AUPR].value:.2f} [" in table
    assert "of 3 images" in table


def test_resized_images_are_scored_at_the_size_of_the_mask(folder: Path, tmp_path: Path) -> None:
    result = score(folder, tmp_path / "out", size=7)
    assert result.images == 3
    assert 0 < result.scores[SOFTMAX][AUROC].value < 1


def test_a_second_run_reads_only_what_is_missing(folder: Path, tmp_path: Path) -> None:
    first = score(folder, tmp_path / "out")
    parts = {path: path.stat().st_mtime_ns for path in (tmp_path / "out/parts").iterdir()}
    (removed,) = (tmp_path / "out/parts").glob("b.jpg-*.npz")
    removed.unlink()
    assert score(folder, tmp_path / "out") == first
    assert all(path.stat().st_mtime_ns == time for path, time in parts.items() if path != removed)
    with pytest.raises(OutputError, match="weights changed"):
        score(folder, tmp_path / "out", seed=1)
    assert score(folder, tmp_path / "out", seed=1, fresh=True).scores != first.scores


def test_scores_of_another_forward_pass_are_not_mixed(folder: Path, tmp_path: Path) -> None:
    """The code of a network may change while its weights stay."""
    score(folder, tmp_path / "out")
    network = segmenter()
    network.network[1] = nn.Tanh()
    with pytest.raises(OutputError, match="other outputs on the same noise"):
        score_anomalies(network, anomaly_images(folder, network), folder / MASKS, tmp_path / "out")


def test_masks_that_changed_are_scored_again(folder: Path, tmp_path: Path) -> None:
    before = score(folder, tmp_path / "out").scores[SOFTMAX][AUROC].value
    for path in (folder / MASKS).iterdir():
        mask = np.array(Image.open(path))
        Image.fromarray(np.where(mask == 255, mask, 1 - mask)).save(path)
    after = score(folder, tmp_path / "out").scores[SOFTMAX][AUROC].value
    assert after == pytest.approx(1 - before, abs=1e-6)


def test_damaged_parts_and_wrong_masks(folder: Path, tmp_path: Path) -> None:
    masks = folder / MASKS
    Image.fromarray(np.full((HEIGHT, WIDTH), 7, np.uint8)).save(masks / "a_labels_semantic.png")
    Image.fromarray(np.zeros((HEIGHT, WIDTH + 1), np.uint8)).save(masks / "c_labels_semantic.png")
    shown: list[Skipped] = []
    network = segmenter()
    score_anomalies(network, anomaly_images(folder, network), masks, tmp_path / "out", on_skip=shown.append)
    assert [(skipped.id, "7" in skipped.reason or "21 x 14" in skipped.reason) for skipped in shown[:2]] == [
        ("a.png", True),
        ("c.png", True),
    ]
    (part,) = (tmp_path / "out/parts").glob("b.jpg-*.npz")
    # NumPy would advise to unpickle the first two.
    for damaged in (b"", b"\x80no archive", part.read_bytes()[:-30], part.read_bytes().replace(b"maximum", b"minimum")):
        part.write_bytes(damaged)
        with pytest.raises(DataError, match=r"b\.jpg-\w+\.npz is damaged") as raised:
            score(folder, tmp_path / "out")
        assert "pickle" not in str(raised.value)
        assert "\n" not in str(raised.value)


def _with_palette(mask: np.ndarray, colours: list[int]) -> Image.Image:
    image = Image.fromarray(mask, "L")
    image.putpalette([*colours, *[0] * (768 - len(colours))])
    return image


SAME: dict[str, Callable[[np.ndarray], Image.Image]] = {
    "16 bits": lambda mask: Image.fromarray(mask.astype(np.uint16)),
    "16 bits, scaled": lambda mask: Image.fromarray(mask.astype(np.uint16) * 257),
    "colours that are grey": lambda mask: Image.fromarray(np.stack([mask] * 3, axis=2)),
    "alpha": lambda mask: Image.fromarray(np.stack([*[mask] * 3, mask // 2], axis=2)),
    "indices of a colourful palette": lambda mask: _with_palette(mask, [0, 0, 0, 128, 0, 0]),
    "indices of grey values": lambda mask: _with_palette(
        np.where(mask == 255, 2, mask).astype(np.uint8), [0, 0, 0, 1, 1, 1, 255, 255, 255]
    ),
}


@pytest.mark.parametrize("encoded", SAME.values(), ids=SAME)
def test_masks_of_every_encoding(encoded: Callable[[np.ndarray], Image.Image], folder: Path, tmp_path: Path) -> None:
    expected = score(folder, tmp_path / "expected")
    for path in (folder / MASKS).iterdir():
        encoded(np.array(Image.open(path))).save(path)
    assert score(folder, tmp_path / "out").scores == expected.scores


UNCLEAR: dict[str, Callable[[np.ndarray], Image.Image]] = {
    # 255, for void, if it is shown.
    "one bit": lambda mask: Image.fromarray(mask == 1),
    "palette of black and white": lambda mask: _with_palette(mask % 2, [0, 0, 0, 255, 255, 255]),
    "colours": lambda mask: Image.fromarray(np.stack([mask, 0 * mask, 0 * mask], axis=2)),
}


@pytest.mark.parametrize("encoded", UNCLEAR.values(), ids=UNCLEAR)
def test_masks_that_may_mean_two_things(
    encoded: Callable[[np.ndarray], Image.Image], folder: Path, tmp_path: Path
) -> None:
    path = folder / MASKS / "a_labels_semantic.png"
    encoded(np.array(Image.open(path))).save(path)
    scored = score(folder, tmp_path / "out")
    assert [skipped.id for skipped in scored.skipped] == ["a.png", "unlabelled.png"]
    assert "grey" in scored.skipped[0].reason


def test_a_run_without_scores_leaves_nothing_behind(folder: Path, tmp_path: Path) -> None:
    out, network = tmp_path / "out", segmenter()
    source = anomaly_images(folder, network)
    with pytest.raises(InputError, match="'head'"):
        score_anomalies(network, source, folder / MASKS, out, layers=("head",))
    with pytest.raises(DataError, match="none of the 4 images"):
        score_anomalies(network, source, tmp_path / "nowhere", out)
    assert not [path for path in tmp_path.rglob("*") if out in path.parents]
    first = score(folder, out)
    with pytest.raises(OutputError, match="weights changed"):
        score(folder, out, seed=1)
    with pytest.raises(DataError, match="none of the 4 images"):
        score_anomalies(network, source, tmp_path / "nowhere", out, fresh=True)
    # Everything of the first run is gone, so that other settings are welcome.
    assert score(folder, out, seed=1).scores != first.scores


def test_scores_that_hardly_differ_are_told_apart(folder: Path, tmp_path: Path) -> None:
    network = segmenter()
    head = network.network[2]
    assert isinstance(head, nn.Conv2d)
    with torch.no_grad():
        head.weight *= 1e-4
        head.bias.zero_()
    result = score_anomalies(network, anomaly_images(folder, network), folder / MASKS, tmp_path / "out")
    entropies, outside = [], []
    for name in ("a.png", "b.jpg", "c.png"):
        mask = np.array(Image.open(folder / MASKS / f"{Path(name).stem}_labels_semantic.png"))
        inputs = torch.from_numpy(np.array(Image.open(folder / "images" / name))).permute(2, 0, 1).unsqueeze(0) / 255
        scores = confidence_scores(PixelMeter(network.network)(inputs).logits)
        entropies.append(scores[ENTROPY][0].numpy()[mask != 255])
        outside.append(mask[mask != 255] == 1)
    values = np.concatenate(entropies)
    assert np.ptp(values) < 1e-5
    expected = roc_auc_score(np.concatenate(outside), values)
    assert abs(expected - 0.5) > 0.01
    assert result.scores[ENTROPY][AUROC].value == pytest.approx(expected, abs=1e-9)


def test_folders_of_another_form(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder images"):
        anomaly_images(tmp_path, segmenter())
    for path in (folder / MASKS).iterdir():
        Image.fromarray(np.zeros((HEIGHT, WIDTH), np.uint8)).save(path)
    with pytest.raises(DataError, match="no anomalous pixel"):
        score(folder, tmp_path / "out")
