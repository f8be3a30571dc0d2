import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gradmeter import DataError, InputError, OutputError
from gradmeter.research.ood_benchmark import page, run, tasks
from gradmeter.research.ood_benchmark.benchmark import DetectionBenchmark, compare
from gradmeter.research.ood_benchmark.controls import Control, controls
from gradmeter.research.ood_benchmark.tasks import FILES, TASKS
from gradmeter.research.study.options import StudyOptions
from gradmeter.trust.model import TrustModel
from gradmeter.trust.reads import FORWARD
from research.in_process import run_in_process
from trust.quick import fit_quickly

pytestmark = pytest.mark.slow

QUIET = Console(quiet=True)
CONTROLS = ("without gradients", "layer conv1 alone", "with 200 known of each but omniglot")


def small(data: Path, **changes: object) -> DetectionBenchmark:
    given = {"tasks": ("digits",), "detectors": ("MSP", "KNN", "NAC"), "runs": 1, "share": 0.5, "controls": False}
    return DetectionBenchmark("gradmeter compare --data DIR", data, **{**given, **changes})  # type: ignore[arg-type]


def some_controls(*names: tuple[str, ...]) -> dict[str, Control]:
    every = controls(*names)
    return {name: every[name] for name in (*CONTROLS, "without blend")}


@pytest.fixture(scope="module", autouse=True)
def little_work() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradmeter.research.ood_benchmark.benchmark.run_tasks", run_in_process)
        patch.setattr(tasks, "StudyOptions", partial(StudyOptions, max_epochs=6))
        # No judge compares the forward pass with gradients.
        patch.setattr(run, "TrustModel", partial(TrustModel, reads=FORWARD))
        fit_quickly(patch)
        for module in (run, page):
            patch.setattr(module, "controls", some_controls)
        yield


@pytest.fixture(scope="module")
def finished(small_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "comparison"
    compare(small(small_data, controls=True), folder, workers=1, console=QUIET)
    return folder


def test_page_and_figures(finished: Path) -> None:
    text = (finished / "benchmark.md").read_text(encoding="utf-8")
    assert "gradmeter compare --data DIR" in text
    assert "## Digits, the paper's network" in text
    for method in ("gradmeter", "MSP", "KNN", "NAC"):
        assert f"\n| {method} |" in text
    for section in ("Targets", "Letters", "Few validation images", "gradmeter and the softmax", "Controls"):
        assert f"### {section}\n" in text
    assert "\n### gradmeter and the best detector of each column\n" in text
    for control in (*CONTROLS, "blend"):
        assert f"\n| {control} |" in text
    for figure in ("benchmark", "controls"):
        assert (finished / "figures" / f"{figure}-digits.svg").stat().st_size > 1000


def test_existing_scores_are_kept(small_data: Path, finished: Path) -> None:
    rewritten = ("wrong", "which-letter")  # at every start
    before = {p: p.stat().st_mtime_ns for p in finished.glob("scores/*/*.parquet") if p.stem not in rewritten}
    assert {"KNN", "MSP", "NAC", "gradmeter", "gradmeter-200-validation-images"} < {p.stem for p in before}
    (finished / "scores" / "digits-0" / "KNN.parquet").unlink()
    compare(small(small_data), finished, workers=1, console=QUIET)
    after = {path: path.stat().st_mtime_ns for path in before}
    assert [path.stem for path in before if before[path] != after[path]] == ["KNN"]


def test_a_network_without_mistakes_is_refused(
    small_data: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished / "networks", tmp_path / "networks")
    labels = run._take_share(TASKS["digits"].data(small_data, 0), 0.5).test.labels
    monkeypatch.setattr(run, "predict", lambda network, images: labels)
    with pytest.raises(DataError, match=f"{len(labels)} of {len(labels)} .*--share"):
        run.perform(run.Job("digits", 0, small_data, tmp_path, 0.5, ("MSP",), False), lambda event: None)


def test_other_images_are_refused(small_data: Path, finished: Path) -> None:
    with pytest.raises(OutputError, match=r"digits: share was 0.5, is 1\)"):
        compare(small(small_data, share=1), finished, workers=1, console=QUIET)


def test_a_folder_of_something_else(small_data: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        compare(small(small_data), tmp_path, workers=1, console=QUIET)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


class Begun(Exception):
    """The folder is ready for the work."""


def test_a_fresh_comparison_keeps_what_its_data_made(
    small_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Adversarial images depend on the share, networks on the data."""

    def work(*_: object) -> None:
        raise Begun

    def begin(data: Path, share: float, *, fresh: bool = True) -> set[str]:
        with pytest.raises(Begun):
            compare(small(data, share=share), tmp_path / "out", workers=1, console=QUIET, fresh=fresh)
        return {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()} - {"comparison.json"}

    monkeypatch.setattr("gradmeter.research.ood_benchmark.benchmark.run_tasks", work)
    begin(small_data, 0.5, fresh=False)
    kept = {"networks": "digits-0.safetensors", "images": "digits-20.safetensors", "scores/digits-0": "MSP.parquet"}
    for folder, name in kept.items():
        (tmp_path / "out" / folder).mkdir(parents=True)
        (tmp_path / "out" / folder / name).write_text("x")
    assert begin(small_data, 0.5) == {"digits-0.safetensors", "digits-20.safetensors"}
    assert begin(small_data, 0.6) == {"digits-0.safetensors"}
    other = tmp_path / "data"
    shutil.copytree(small_data, other)
    np.savez(other / "emnist_digits.npz", **{**np.load(other / "emnist_digits.npz"), "more": np.arange(3)})
    assert begin(other, 0.6) == set()


@pytest.mark.parametrize(
    ("changes", "value"),
    [
        ({"tasks": ("digit",)}, "'digit'.* digits, resnet18, colour"),
        ({"detectors": ("msp",)}, "'msp'.* MSP, Entropy"),
        ({"runs": 0}, "runs=0;"),
        ({"share": 0}, "share=0;"),
        ({"share": 1.5}, r"share=1\.5;"),
    ],
)
def test_wrong_options(small_data: Path, changes: dict[str, object], value: str) -> None:
    with pytest.raises(InputError, match=value):
        small(small_data, **changes)


def test_no_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        small(tmp_path / "nowhere")


def test_missing_archives(small_data: Path, tmp_path: Path) -> None:
    for name in FILES[:-2]:
        (tmp_path / name).symlink_to(small_data / name)
    with pytest.raises(DataError, match=r"notmnist\.npz, cifar10_train20k\.npz.* emnist_digits"):
        small(tmp_path)


def test_other_archives_are_refused(small_data: Path, finished: Path, tmp_path: Path) -> None:
    for name in FILES:
        (tmp_path / name).symlink_to(small_data / name)
    (tmp_path / FILES[-1]).unlink()
    np.savez(tmp_path / FILES[-1], images=np.zeros((20, 32, 32, 3), np.uint8), labels=np.arange(20) % 10)
    with pytest.raises(OutputError, match="digits: data changed"):
        compare(small(tmp_path), finished, workers=1, console=QUIET)


def test_the_softmax_is_always_included(small_data: Path) -> None:
    (job,) = small(small_data, detectors=("KNN",)).jobs(Path("out"))
    assert job.detectors == ("MSP", "KNN")
