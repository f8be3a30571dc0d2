"""The whole study on a few digits."""

from pathlib import Path

import pytest
from rich.console import Console

from gradmeter import DataError, InputError, OutputError
from gradmeter.research.label_study.study import LabelStudy, run_study

QUIET = Console(quiet=True)


def small(data: Path, share: float = 0.02) -> LabelStudy:
    return LabelStudy("gradmeter label-study --data DIR", data, None, ("digits",), share)


@pytest.fixture(scope="module")
def finished(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "labels"
    run_study(small(small_data), folder, workers=1, console=QUIET)
    return folder


def times(folder: Path, pattern: str) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.glob(pattern)}


@pytest.mark.slow
def test_the_page(finished: Path) -> None:
    page = (finished / "label_study.md").read_text(encoding="utf-8")
    assert "\ngradmeter label-study --data DIR\n" in page
    assert page.count("### EMNIST digits, the paper's CNN: ") == 3
    assert "Among the first 50 of " in page


@pytest.mark.slow
def test_it_continues_where_it_stopped(small_data: Path, finished: Path) -> None:
    kept = ("readings/*/*", "networks/*", "scores/*/1-*")
    before = {pattern: times(finished, pattern) for pattern in kept}
    assert all(before.values())
    (finished / "scores/digits/0-symmetric-20.parquet").unlink()
    (finished / "results/digits.json").unlink()
    run_study(small(small_data), finished, workers=1, console=QUIET)
    assert {pattern: times(finished, pattern) for pattern in kept} == before
    assert (finished / "scores/digits/0-symmetric-20.parquet").exists()


@pytest.mark.slow
def test_other_settings_are_refused(small_data: Path, finished: Path) -> None:
    with pytest.raises(OutputError, match=r"share was 0.02, is 0.03"):
        run_study(small(small_data, 0.03), finished, workers=1, console=QUIET)


def test_a_folder_of_something_else(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        run_study(small(small_data), tmp_path, workers=1, console=QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_wrong_options(small_data: Path, tmp_path: Path) -> None:
    for groups, networks, share, error, named in (
        (("digit",), None, 1.0, InputError, "'digit'"),
        (("texts",), None, 0.0, InputError, "share=0;"),
        (("texts",), None, 1.5, InputError, r"share=1\.5;"),
        (("resnet-44-56",), None, 1.0, DataError, "--networks"),
        (("resnet-44-56",), tmp_path, 1.0, DataError, r"cifar10_resnet\d\d\.safetensors"),
    ):
        with pytest.raises(error, match=named):
            LabelStudy("gradmeter label-study", small_data, networks, groups, share)
    with pytest.raises(DataError, match="nowhere"):
        small(tmp_path / "nowhere")
