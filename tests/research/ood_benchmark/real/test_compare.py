from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from gradmeter import DataError, InputError, OutputError
from gradmeter.research.cifar_resnets import DEPTHS, CifarResNet, weights_path
from gradmeter.research.ood_benchmark.benchmark import DetectionBenchmark, compare
from gradmeter.research.ood_benchmark.real import run
from gradmeter.research.ood_benchmark.real.images import FILES
from gradmeter.research.ood_benchmark.real.run import RealJob, perform
from gradmeter.research.ood_benchmark.scores import KNOWN, Scores
from gradmeter.trust.model import TrustModel
from gradmeter.trust.reads import FORWARD
from research.in_process import run_in_process
from trust.quick import fit_quickly

QUIET = Console(quiet=True)
COMMAND = "gradmeter compare --task cifar10 --networks NETWORKS --data DIR"


def small(data: Path, **changes: object) -> DetectionBenchmark:
    given = {
        "tasks": ("cifar10",),
        "detectors": ("KNN", "ReAct", "pNormMaxLogit"),
        "runs": 1,
        "share": 0.6,
        "controls": False,
        "networks": data / "networks",
    }
    return DetectionBenchmark(COMMAND, data, **{**given, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="module", autouse=True)
def no_workers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("gradmeter.research.ood_benchmark.benchmark.run_tasks", run_in_process)
        # No judge compares the forward pass with gradients.
        patch.setattr(run, "TrustModel", partial(TrustModel, reads=FORWARD))
        fit_quickly(patch)
        yield


@pytest.fixture(scope="module")
def finished(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "real"
    assert compare(small(real_data), folder, workers=1, console=QUIET) == [folder / "real.md"]
    return folder


@pytest.mark.slow
def test_the_page(finished: Path) -> None:
    page = (finished / "real.md").read_text(encoding="utf-8")
    assert COMMAND in page
    for section in (
        "## Settings were chosen on: ResNet-20",
        "## Wrong predictions, beside the softmax",
        "## Calibration",
        "## Few validation images",
        "### ResNet-20",
        "## What was chosen on which images",
    ):
        assert f"\n{section}\n" in page
    for method in ("gradmeter, P(correct)", "P(known)", "softmax (MSP)", "KNN", "p-norm MaxLogit"):
        assert f"\n| {method} |" in page
    # ResNet-44 and 56 are missing.
    assert "## Targets" not in page
    assert not (finished / "benchmark.md").exists()


@pytest.mark.slow
def test_existing_scores_are_kept(real_data: Path, finished: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.glob("scores/*/*.parquet") if path.stem != "wrong"}
    names = {path.stem for path in before}
    assert {"KNN", "MSP", "gradmeter", "gradmeter-P-known", "gradmeter-P-correct-known"} <= names
    assert "supervised-ceiling-CIFAR-100" in names
    attacked = next(finished.glob("images/*.safetensors"))
    bytes_before = attacked.read_bytes()
    (finished / "scores/cifar10-1/KNN.parquet").unlink()
    compare(small(real_data), finished, workers=1, console=QUIET)
    assert [path for path in before if path.stat().st_mtime_ns != before[path]] == [
        finished / "scores/cifar10-1/KNN.parquet"
    ]
    assert attacked.read_bytes() == bytes_before


@pytest.mark.slow
def test_scores_are_those_of_the_draw(real_data: Path, finished: Path) -> None:
    scores = [Scores.read(finished / f"scores/cifar10-{run}/MSP.parquet").values for run in range(3)]
    assert all(len(values[KNOWN]) == 60 for values in scores)
    # The first ones are test images in every draw.
    np.testing.assert_array_equal(scores[0][KNOWN][:10], scores[1][KNOWN][:10])
    assert (scores[0][KNOWN][10:] != scores[1][KNOWN][10:]).any()
    np.testing.assert_array_equal(scores[0]["letters"], scores[2]["letters"])
    # KNN is fitted anew in each draw.
    fitted = [Scores.read(finished / f"scores/cifar10-{run}/KNN.parquet").values for run in range(2)]
    assert (fitted[0]["letters"] != fitted[1]["letters"]).any()


@pytest.mark.slow
def test_other_networks_are_refused(real_data: Path, finished: Path, tmp_path: Path) -> None:
    for depth in DEPTHS:
        weights_path(tmp_path, depth).symlink_to(weights_path(real_data / "networks", depth))
    weights_path(tmp_path, 44).unlink()
    weights_path(tmp_path, 44).write_bytes(b"other weights")
    with pytest.raises(OutputError, match="cifar10: networks changed"):
        compare(small(real_data, networks=tmp_path), finished, workers=1, console=QUIET)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"networks": None}, "cifar10 .*--networks"),
        ({"tasks": ("digits",)}, "--networks .* --task cifar10"),
        ({"tasks": ("cifar",)}, "'cifar'.* digits, resnet18, colour, cifar10"),
    ],
)
def test_networks_and_their_task_go_together(real_data: Path, changes: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        small(real_data, **changes)


def test_missing_files(real_data: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no cifar10_resnet20\.safetensors, .*56"):
        small(real_data, networks=tmp_path)
    (tmp_path / FILES[0]).symlink_to(real_data / FILES[0])
    with pytest.raises(
        DataError, match=r"no cifar100_test3k\.npz, .*emnist_letters\.npz; expected all of cifar10_test"
    ):
        small(tmp_path, networks=real_data / "networks")


@pytest.mark.slow
def test_a_network_that_is_always_wrong(real_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def constant(folder: Path, depth: int) -> CifarResNet:
        network = CifarResNet(depth).eval()
        network.linear.bias.data[3] = 1000
        return network

    monkeypatch.setattr("gradmeter.research.ood_benchmark.real.run.load_cifar_resnet", constant)
    with np.load(real_data / "cifar10_test.npz") as archive:
        np.savez(tmp_path / "cifar10_test.npz", images=archive["images"], labels=np.full(len(archive["images"]), 4))
    for name in FILES[1:]:
        (tmp_path / name).symlink_to(real_data / name)
    job = RealJob(20, tmp_path, tmp_path, tmp_path / "out", 0.6, ("MSP",), False)
    with pytest.raises(DataError, match=r"predicts 0 of 60 test images right.*--share"):
        perform(job, lambda step: None)


def test_the_deepest_network_starts_first(real_data: Path) -> None:
    jobs = small(real_data, runs=None).real_jobs(Path("out"))
    assert [job.depth for job in jobs] == [56, 44, 32, 20]
    assert jobs[0].detectors[0] == "MSP"
    assert not small(real_data).jobs(Path("out"))
