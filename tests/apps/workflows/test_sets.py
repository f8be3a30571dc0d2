from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageOps
from torch import nn

from apps.workflows.digits import recipe
from gradmeter import GradientMeter, TrustModel
from gradmeter.apps.workflows.evaluate import evaluate
from gradmeter.apps.workflows.sets import ReadSet, open_sets, read_sets
from gradmeter.errors import DataError, GradmeterWarning
from gradmeter.runs.measuring import MeasuredSet, Work, measure, streaming
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.array_batch import ArrayBatch
from gradmeter.sources.samples import arrays_of, open_source
from gradmeter.sources.samples.folders import ImageFolder
from runs.measuring.small import KIND, routed
from sources.samples.pictures import save


@pytest.fixture
def classifier(place: Path, at_place: Path) -> Classifier:
    return recipe(place).open()


def test_unknown_data_of_the_classes_of_the_network(classifier: Classifier, tmp_path: Path) -> None:
    """Their right predictions would count as wrong."""
    for name in (
        "known/cat/a",
        "known/dog/a",
        "more/cat/a",
        "more/Dog/b",
        "more/z/c",
        "numbers/3/a",
        "flat/a",
        "new/cat/a",
    ):
        save(tmp_path / f"{name}.png")
    known, more, *rest = (str(tmp_path / name) for name in ("known", "more", "numbers", "flat"))
    names = ("cat", "dog", *"23456789")
    for name in names:
        save(tmp_path / f"all/{name}/a.png")
    named = replace(classifier, classes=names)
    # Folders may have numbers for other classes.
    assert len(open_sets(named, known, rest)) == 3
    message = r"more is given as unknown data, but has class names of the network \(cat\); all predictions"
    with pytest.warns(GradmeterWarning, match=message):
        open_sets(named, known, [more])
    # A network without names has those of the known data.
    with pytest.warns(GradmeterWarning, match=message):
        open_sets(replace(classifier, classes=None), str(tmp_path / "all"), [more])
    readings = tmp_path / "readings.parquet"
    measure(named, open_source(known, classifier.image), readings)
    with pytest.warns(GradmeterWarning, match=r"readings is given as unknown data, .* \(cat, dog\)"):
        open_sets(named, str(tmp_path / "new"), [str(readings)])
    # An archive may name classes of which it has no sample, such as those that were left out of the network.
    for given, count in ((names, 0), ((*names, "ship"), 1)):
        np.savez(tmp_path / f"{count}.npz", images=np.zeros((2, 8, 8), np.uint8), labels=[0, 1], class_names=given)
    assert len(open_sets(named, known, [str(tmp_path / "1.npz")])) == 2
    with pytest.warns(GradmeterWarning, match=r"0 is given as unknown data, .* \(cat, dog, 2"):
        open_sets(named, known, [str(tmp_path / "0.npz")])


def test_unknown_data_without_the_column_of_patients(classifier: Classifier, tmp_path: Path) -> None:
    """What is a column of the known data is no pattern for names of files."""
    images = {"images": np.zeros((4, 8, 8), np.uint8), "labels": np.arange(4) % 2, "class_names": ["0", "1"]}
    np.savez(tmp_path / "known.npz", patient=[*"aabb"], **images)
    for number in range(3):
        save(tmp_path / f"others/patient{number}.png", shade=number)
    opened = open_sets(classifier, str(tmp_path / "known.npz"), [str(tmp_path / "others")], one_per="patient")
    sources = [data.source for data in opened]
    assert [len(source) for source in sources if source is not None] == [2, 3]
    assert sources[1] is not None
    assert sources[1].note == "all of its 3 samples are used, because none has a value of patient"


def test_every_set_has_a_file_of_its_own(classifier: Classifier, place: Path, tmp_path: Path) -> None:
    """Also if names are equal, equal as file names, or not in Latin letters."""
    unknowns = [
        tmp_path / name
        for name in (
            "日本",
            "中文",
            "a b",
            "a+b",
            "more/a b",
            "wrong",
            "right",
            "l" * 250,
            "l" * 251,
            "\udcff",
            "\\xff",
        )
    ]
    for number, folder in enumerate(unknowns):
        folder.mkdir(parents=True)
        (folder / "one.png").write_bytes(sorted((place / "validation/3").iterdir())[number].read_bytes())
    opened = open_sets(classifier, "test", [str(path) for path in unknowns])
    sets = read_sets(classifier, opened, tmp_path / "readings", Work())
    assert [data.name for data in sets] == [
        "test", "日本", "中文", "a b", "a+b (2)", "a b (3)", "wrong (2)", "right (2)", "l" * 250, "l" * 251,
        "\\xff", "\\\\xff (2)"
    ]  # fmt: skip
    assert len({data.measured.name for data in sets}) == 12
    assert len({data.readings().logits[0, 0].item() for data in sets}) == 12


def test_no_input_is_known_and_unknown(classifier: Classifier, tmp_path: Path) -> None:
    """Equal DATA are refused before anything is measured, copies by their content."""
    for again in ("test", "./test", str(Path("test").resolve())):
        with pytest.raises(DataError, match="test"):
            open_sets(classifier, "test", ["noise:uniform:5", again])
    (tmp_path / "some").mkdir()
    for number, folder in enumerate(("test/3", "test/4", "validation/3")):
        copied = sorted(Path(folder).iterdir())[0]
        (tmp_path / "some" / f"{number}.png").write_bytes(copied.read_bytes())
    opened = open_sets(classifier, "test", ["noise:uniform:5", str(tmp_path / "some")])
    with pytest.raises(DataError, match=r"2 of the 3 inputs of some .* test"):
        read_sets(classifier, opened, tmp_path / "readings", Work())


def test_other_images_of_the_same_names(classifier: Classifier, tmp_path: Path) -> None:
    for path in Path("test").rglob("*.png"):
        (tmp_path / path.parent).mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            ImageOps.invert(image).save(tmp_path / path)
    opened = open_sets(classifier, "test", [str(tmp_path / "test")])
    assert opened[0].identity["contents"] == opened[1].identity["contents"]
    sets = read_sets(classifier, opened, tmp_path / "readings", Work())
    assert [data.name for data in sets] == ["test", "test (2)"]


def test_readings_of_a_network_whose_code_has_changed(classifier: Classifier, tmp_path: Path) -> None:
    measure(classifier, open_source("test", classifier.image), tmp_path / "r")
    open_sets(replace(classifier), str(tmp_path / "r"), [])
    with patched_forward(classifier), pytest.raises(DataError, match="other outputs on the same noise"):
        open_sets(replace(classifier), str(tmp_path / "r"), [])


def test_readings_of_arrays_of_another_range(tmp_path: Path) -> None:
    """The outputs on noise, which is drawn from the range of the first data, differ then."""
    network = nn.Linear(4, 3).eval()
    for name, factor in (("small", 1), ("large", 1000)):
        inputs = np.random.default_rng(factor).random((20, 4)) * factor
        np.savez(tmp_path / f"{name}.npz", inputs=inputs, labels=np.arange(20) % 3)
        kind = arrays_of(str(tmp_path / f"{name}.npz"))
        assert kind is not None
        classifier = Classifier("linear", network, None, None, ArrayBatch.of(kind, network), kind)
        source = open_source(str(tmp_path / f"{name}.npz"), None, arrays=kind)
        measure(classifier, source, tmp_path / f"{name}.parquet")
    opened = open_sets(classifier, str(tmp_path / "large.parquet"), [str(tmp_path / "small.parquet")])
    assert [len(data) for data in opened if isinstance(data, ReadSet)] == [20, 20]


@contextmanager
def patched_forward(classifier: Classifier) -> Iterator[None]:
    """Let the code of a network change."""
    hook = classifier.network.register_forward_pre_hook(lambda network, inputs: (1 - inputs[0],))
    yield
    hook.remove()


def test_identities_are_those_of_the_readings(classifier: Classifier, tmp_path: Path) -> None:
    """A refit compares the identities of data that are not measured yet with the saved ones."""
    opened = open_sets(classifier, "test", ["noise:uniform:3"])
    sets = read_sets(classifier, opened, tmp_path / "readings", Work())
    assert [data.identity for data in opened] == [data.identity for data in sets]


def test_labels_of_readings_are_numbers_by_the_names_of_then(classifier: Classifier, tmp_path: Path) -> None:
    for folder in Path("test").iterdir():
        (tmp_path / "few" / folder.name).mkdir(parents=True)
        (tmp_path / "few" / folder.name / "0.png").write_bytes(next(folder.iterdir()).read_bytes())
    assert classifier.classes is not None
    other = classifier.named(classifier.classes[::-1])
    unnamed = replace(classifier, classes=None)
    for measured, differing in ((classifier, other), (unnamed, other), (other, unnamed)):
        place = tmp_path / "readings.parquet"
        measure(measured, open_source(str(tmp_path / "few"), classifier.image), place, Work(fresh=True))
        assert isinstance(open_sets(measured, str(place), [])[0], ReadSet)
        with pytest.raises(DataError, match=r"readings\.parquet"):
            open_sets(differing, str(place), [])
        # Unknown inputs have no labels.
        assert isinstance(open_sets(differing, "validation", [str(place)])[1], ReadSet)


def test_names_that_come_later_in_the_same_order(classifier: Classifier, tmp_path: Path) -> None:
    unnamed, place = replace(classifier, classes=None), tmp_path / "readings.parquet"
    measure(unnamed, open_source("test", classifier.image), place)
    assert isinstance(open_sets(classifier, str(place), [])[0], ReadSet)


def test_readings_of_samples_that_changed_since_stand_alone(classifier: Classifier, tmp_path: Path) -> None:
    (tmp_path / "some").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "some" / name).write_bytes(next(Path("validation/3").iterdir()).read_bytes())
    read_sets(classifier, open_sets(classifier, "test", [str(tmp_path / "some")]), tmp_path / "readings", Work())
    before = str(tmp_path / "readings/some.parquet")
    assert isinstance(open_sets(classifier, "test", [before])[1].source, ImageFolder)
    (tmp_path / "some/b.png").rename(tmp_path / "some/c.png")
    assert open_sets(classifier, "test", [before])[1].source is None
    (tmp_path / "some/c.png").rename(tmp_path / "some/b.png")
    (tmp_path / "some/b.png").write_bytes(next(Path("validation/4").iterdir()).read_bytes())
    assert open_sets(classifier, "test", [before])[1].source is None


def test_samples_that_were_moved_or_removed_do_not_count(classifier: Classifier, tmp_path: Path) -> None:
    """For example because their label was wrong, after a first run was interrupted."""
    data, unknown = tmp_path / "data", tmp_path / "unknown"
    for name in "34":
        (data / name).mkdir(parents=True)
        for image in sorted(Path(f"validation/{name}").iterdir())[:4]:
            (data / name / image.name).write_bytes(image.read_bytes())
    (data / "4/torn.png").write_bytes(b"torn")
    unknown.mkdir()
    (unknown / "a.png").write_bytes(next(Path("validation/5").iterdir()).read_bytes())

    def sets() -> list[ReadSet]:
        return read_sets(classifier, open_sets(classifier, str(data), [str(unknown)]), tmp_path / "readings", Work())

    assert [len(every) for every in sets()] == [9, 1]
    moved, removed = sorted((data / "3").iterdir())[:2]
    moved.rename(data / "4" / moved.name)
    removed.rename(unknown / "b.png")
    (data / "4/torn.png").unlink()
    known, others = sets()
    present = {str(path.relative_to(data)) for path in data.rglob("*.png")}
    assert {*pa.concat_tables(known.labelled_tables())["id"].to_pylist()} == present
    assert (len(known), known.skipped, len(known.readings()), len(known.contents())) == (7, (), 7, 7)
    assert len(others) == 2
    for path in unknown.iterdir():
        path.rename(unknown / f"{path.name}.png")
        (unknown / f"{path.name}.png").write_bytes(b"torn")
    with pytest.raises(DataError, match="none of 2 samples"):
        sets()


def test_readings_of_samples_that_were_moved_count_with_a_note(classifier: Classifier, tmp_path: Path) -> None:
    """Both labels of a sample count after its label was corrected, so the user must know."""
    data, readings = tmp_path / "data", str(tmp_path / "readings")
    for name in "34":
        (data / name).mkdir(parents=True)
        for image in sorted(Path(f"validation/{name}").iterdir())[:2]:
            (data / name / image.name).write_bytes(image.read_bytes())
    (data / "4/torn.png").write_bytes(b"torn")

    def notes() -> list[str]:
        measure(classifier, open_source(str(data), classifier.image), Path(readings), Work())
        noted: list[str] = []
        read_sets(classifier, open_sets(classifier, readings, []), tmp_path / "unused", Work(on_note=noted.append))
        return noted

    assert notes() == []
    (data / "4/torn.png").unlink()
    assert notes() == []
    moved = next((data / "3").iterdir())
    moved.rename(data / "4" / moved.name)
    (note,) = notes()
    assert "1 of its 5 readings" in note
    assert "--fresh" in note


def test_parts_without_labels(
    classifier: Classifier, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "PART", 2)
    images = [path.read_bytes() for path in sorted((place / "test/3").iterdir())[:5]]
    for name, labels in (("last", [None] * 4 + ["3"]), ("none", [None] * 5)):
        columns = {"image": images, "label": pa.array(labels, pa.string())}
        pq.write_table(pa.table(columns), tmp_path / f"{name}.parquet")
    notes: list[str] = []
    work = Work(on_note=notes.append)
    last, none = (
        read_sets(classifier, open_sets(classifier, str(tmp_path / f"{name}.parquet"), []), tmp_path / name, work)[0]
        for name in ("last", "none")
    )
    assert notes[0] == "last: 4 of its samples have no label and are left out"
    assert [table["label"].to_pylist() for table in last.labelled_tables()] == [[3]]
    with pytest.raises(DataError, match=r"^none "):
        list(none.labelled_tables())


@pytest.mark.filterwarnings("default")
def test_readings_in_an_object_store(classifier: Classifier, bucket: str) -> None:
    place = bucket.format("deep/some")
    done = measure(classifier, open_source("noise:uniform:5", classifier.image), place)
    data = open_sets(classifier, "test", [place])[1]
    assert isinstance(data, ReadSet)
    assert (data.name, data.readings().logits.shape[0], data.source is None) == ("some", done.rows, False)


def test_all_sets_have_the_outputs_of_the_layers_of_the_first(tmp_path: Path) -> None:
    """Bright images take another way through the network than dark ones."""
    classifier = routed()
    for name, grey in (("known/cat/1", 20), ("known/dog/2", 30), ("unknown/1", 230), ("unknown/2", 240)):
        save(tmp_path / f"{name}.png", grey)
    opened = open_sets(classifier, str(tmp_path / "known"), [str(tmp_path / "unknown")])
    sets = read_sets(classifier, opened, tmp_path / "readings", Work())
    assert [data.measured.output_layers() for data in sets] == [("conv", "experts.0", "head")] * 2
    sets = read_sets(classifier, opened, tmp_path / "given", Work(), layers=("head",))
    assert [data.measured.output_layers() for data in sets] == [("head",)] * 2
    of_bright = measure(classifier, open_source(str(tmp_path / "unknown"), KIND), tmp_path / "alone")
    assert of_bright.rows == 2
    assert MeasuredSet(tmp_path / "alone").output_layers() == ("conv", "experts.1", "head")


@pytest.mark.slow
def test_an_evaluation_reads_the_layers_of_the_trust_model(tmp_path: Path) -> None:
    classifier, random = routed(), np.random.default_rng(0)

    def dark() -> Image.Image:
        return Image.fromarray((random.random((8, 8)) * 100).astype(np.uint8))

    images = classifier.batch([dark() for _ in range(100)])
    assert isinstance(images, torch.Tensor)
    labels = classifier.network(images).argmax(1)
    labels[:20] = (labels[:20] + 1) % 3
    trust = TrustModel(GradientMeter(classifier.network), reads="forward").fit((images, labels))
    for number in range(10):
        for name in ("known/bird", "known/cat", "known/dog", "unknown"):
            (tmp_path / name).mkdir(parents=True, exist_ok=True)
            image = dark()
            (image if name == "unknown" else ImageOps.invert(image)).save(tmp_path / f"{name}/{number}.png")
    out = tmp_path / "out"
    result = evaluate(trust, classifier, str(tmp_path / "known"), [str(tmp_path / "unknown")], out, repetitions=20)
    assert trust.meter.output_layers == ("conv", "experts.0", "head")
    assert [data.measured.output_layers() for data in result.sets] == [trust.meter.output_layers] * 2
