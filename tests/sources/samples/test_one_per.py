import re
from pathlib import Path

import pytest

from gradmeter.errors import InputError
from gradmeter.sources.samples.folders import ImageFolder
from gradmeter.sources.samples.location import Location
from gradmeter.sources.samples.one_per import OnePer, one_per_pattern
from sources.samples.pictures import save

PATIENT = re.compile(r"p(\d+)_")


def folder(path: Path, *, patients: int = 3) -> ImageFolder:
    for patient in range(patients):
        for number in range(4):
            save(path / f"{'cat' if number % 2 else 'dog'}/p{patient}_{number}.png", shade=10 * patient + number)
    save(path / "dog/other.png")
    return ImageFolder(Location(path))


def ids(source: OnePer) -> list[str]:
    return [source.id(index) for index in range(len(source))]


def test_one_sample_of_each_patient_and_all_of_none(tmp_path: Path) -> None:
    source = OnePer(folder(tmp_path), PATIENT)
    assert len(source) == 4
    matches = [PATIENT.search(sample) for sample in ids(source)]
    assert sorted("" if match is None else match[1] for match in matches) == ["", "0", "1", "2"]
    assert (
        source.note == "4 of its 13 samples are used: one for each of 3 matches of p(\\d+)_, and 1 that does not match"
    )
    assert (source.classes, source.labelled) == (("cat", "dog"), True)
    for index, sample in enumerate(ids(source)):
        read = source.read(index)
        assert read.id == sample
        assert read.label == ("cat", "dog").index(sample.split("/")[0])


def test_the_first_parentheses_name_the_patient(tmp_path: Path) -> None:
    samples = folder(tmp_path)
    assert len(OnePer(samples, re.compile(r"p\d_\d"))) == 13  # each image for itself
    assert len(OnePer(samples, re.compile(r"(?:dog|cat)/p"))) == 3
    assert len(OnePer(samples, re.compile(r"p(\d)?"))) == 4
    # Parentheses that take no part in a match name none.
    assert len(OnePer(samples, re.compile(r"(q)|\.png"))) == 13


def test_the_draw_stays_the_same_when_patients_are_added(tmp_path: Path) -> None:
    before = OnePer(folder(tmp_path), PATIENT)
    after = OnePer(folder(tmp_path, patients=30), PATIENT)
    assert {*ids(before)} <= {*ids(after)}
    # Not always the first one.
    assert len({sample.removesuffix(".png")[-1] for sample in ids(after)}) > 2


def test_readings_of_other_samples_are_others(tmp_path: Path) -> None:
    samples = folder(tmp_path)
    prints = {source.fingerprint() for source in (samples, OnePer(samples, PATIENT), OnePer(samples, re.compile("p")))}
    assert len(prints) == 3


def test_a_pattern_that_matches_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--one-per patient matches no id of .*, such as cat/p0_1\.png; expected"):
        OnePer(folder(tmp_path), re.compile("patient")).require_groups()
    for pattern in ("(p", "p{99999999999}"):
        with pytest.raises(InputError, match=rf"--one-per {re.escape(pattern)}: .*; expected a regular expression"):
            one_per_pattern(pattern)
