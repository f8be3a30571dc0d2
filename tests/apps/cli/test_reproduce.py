"""The study end to end: its files, its continuation after any interruption, and what it refuses."""

import csv
import json
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from apps.cli.commands import in_this_process, unpainted_study_main
from forked import Forked
from gradmeter import Readings
from gradmeter.research.study import reproduce as study
from gradmeter.research.study.report.results import FIGURES

pytestmark = pytest.mark.slow

Reproduce = Callable[..., Any]
Begin = Callable[..., Forked]
Finished = tuple[Path, Any]

SETS = ("validation", "test", "letters", "cifar10", "uniform", "normal")
KNOWN = ("cifar10", "uniform", "normal")
NUMBERS = ("differences", "matched_base_rate", "penalties", "ablation", "lasso_weights", "networks")


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def numbers(folder: Path) -> dict[str, bytes]:
    """Return every file that must not depend on interruptions and the number of workers."""
    paths = [folder / "claims.csv", *folder.glob("tables/*"), *folder.glob("results/*"), *folder.glob("readings/*/*")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def wait_for(path: Path, process: Forked) -> None:
    end = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None, f"ended before it wrote {path.name}"
        assert time.monotonic() < end, f"{path.name} never came"
        time.sleep(0.01)


def test_a_study_writes_all_that_it_should(finished: Finished) -> None:
    folder, answer = finished
    assert answer.code == 0, answer.err
    expected = {
        "manifest.json",
        "claims.csv",
        "results.md",
        "report.html",
        "networks/meta.safetensors",
        *(f"tables/{name}.csv" for name in NUMBERS),
        *(f"tables/table{table}.{ending}" for table in (1, 2, 3, 4) for ending in ("csv", "md", "tex")),
        *(
            f"figures/{stem}{screen}.{ending}"
            for stem in FIGURES
            for screen in ("", "-narrow")
            for ending in ("svg", "png")
        ),
        *(f"networks/{run}{which}.safetensors" for run in ("00", "01") for which in ("", "-best")),
        *(
            f"results/{run}{part}"
            for run in ("00", "01")
            for part in (".csv", "-neural.csv", "-gradmeter.csv", "-regressions.json")
        ),
        "results/00-exploration.json",
        *(f"readings/{run}/{name}.parquet" for run in ("00", "01") for name in SETS),
        *(f"readings/{run}/known-{name}.parquet" for run in ("00", "01") for name in KNOWN),
    }
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == expected


def test_outside_a_terminal_it_says_one_line(finished: Finished) -> None:
    folder, answer = finished
    assert answer.out.count("\n") == 1
    assert answer.out.endswith(f" {folder / 'report.html'}\n")
    assert answer.err == ""


def test_rows_without_a_counterpart_are_left_out_and_named(finished: Finished) -> None:
    folder, _ = finished
    table = rows(folder / "tables/table3.csv")
    assert {row["row"] for row in table} == {"wrong", "cifar10", "normal", "uniform", "all"}
    assert {row["column"] for row in table} == {"entropy", "softmax", "nn_a", "nn_b", "nn_c", "gradmeter"}
    assert set(json.loads((folder / "manifest.json").read_text())["absent"]) == {"omniglot", "notmnist"}
    for page in ("results.md", "report.html"):
        text = (folder / page).read_text(encoding="utf-8")
        assert "no omniglot.npz in the data folder" in text
        assert "no notmnist.npz in the data folder" in text
    untested = {row["claim"] for row in rows(folder / "claims.csv") if row["verdict"] == "not testable on this data"}
    assert untested == {"C10", "C11", "C12"}, "those about NN (d)"


def test_sizes_and_the_papers_numbers_stand_in_the_tables(finished: Finished) -> None:
    folder, _ = finished
    table = rows(folder / "tables/table1.csv")
    assert ",".join(table[0]) == "measure,row,column,mean,sem,runs,n,base_rate,paper,paper_scanned"
    found = next(r for r in table if (r["measure"], r["row"], r["column"]) == ("auroc", "softmax", "letters"))
    assert (found["paper"], found["runs"]) == ("87.62", "2")
    count, rate = float(found["n"]), float(found["base_rate"])
    assert count * rate == pytest.approx(200, rel=0.05), "200 letters; a product of means over the runs"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["sizes"] == {"train": 882, "validation": 294, "test": 824}
    assert manifest["options"]["runs"] == 2
    assert manifest["versions"].keys() >= {"python", "torch", "numpy", "scikit-learn"}
    assert len(manifest["data_hashes"]["digits"]) == 64
    assert 0 < manifest["timings"]["total"] < 600


def test_readings_are_readable_by_the_library(finished: Finished) -> None:
    readings = Readings.read_parquet(finished[0] / "readings/01/uniform.parquet")
    assert readings.layers == ("conv1", "conv2", "conv3", "dense", "all")


def without_run(number: int, finished: Path, folder: Path, kept: str = "") -> Path:
    """Copy a finished study without the files of one run but one, nor those that all runs share."""
    shutil.copytree(finished, folder)
    of_run = {path for path in folder.glob(f"*/{number:02}*") if path.name != kept}
    for path in {*of_run, *folder.glob("results/*-neural.csv"), *folder.glob("networks/meta*")}:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    for name in ("tables", "figures"):
        shutil.rmtree(folder / name)
    for name in ("claims.csv", "results.md", "report.html"):
        (folder / name).unlink()
    manifest = json.loads((folder / "manifest.json").read_text())
    del manifest["finished"]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


@pytest.mark.exhaustive
def test_killed_again_and_again_it_ends_with_the_very_same_numbers(
    reproduce: Reproduce, begin: Begin, archives: Path, finished: Finished, options: tuple[str, ...], tmp_path: Path
) -> None:
    folder = without_run(0, finished[0], tmp_path / "tiny")
    command = ("--data", archives, "--out", folder, *options, "--workers", 1)
    moments = {
        "training": "networks/00.training",
        "measuring": "readings/00/validation.parquet",
        "fitting": "readings/00/known-normal.parquet",
        "the neural networks": "results/00.csv",
        "judging them": "networks/meta.safetensors",
        "tables": "tables/table1.csv",
    }
    for path in moments.values():
        with begin(*command) as process:
            wait_for(folder / path, process)
            process.kill()
        assert "finished" not in json.loads((folder / "manifest.json").read_text())
    answer = reproduce(*command, main=unpainted_study_main)
    assert answer.code == 0, answer.err
    assert numbers(folder) == numbers(finished[0]), "with one worker or two, interrupted or not"
    assert not list(folder.rglob("*.partial"))
    assert not list(folder.rglob("*.training"))


def test_a_finished_study_is_recognised(
    reproduce: Reproduce, archives: Path, finished: Finished, options: tuple[str, ...]
) -> None:
    folder, first = finished
    before = {path: path.stat().st_mtime_ns for path in folder.glob("**/*.csv")}
    answer = reproduce("--data", archives, "--out", folder, *options, "--workers", 2)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.endswith(f" {folder / 'report.html'}\n")
    assert answer.out != first.out  # says that there was nothing to do
    assert {path: path.stat().st_mtime_ns for path in folder.glob("**/*.csv")} == before


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (("--seed", 1), "seed was 0, is 1"),
        (("--padding", "same"), "padding was valid, is same"),
        (("--no-biases",), "biases was yes, is no"),
    ],
)
def test_other_options_are_refused_by_name(
    more: tuple[object, ...],
    named: str,
    reproduce: Reproduce,
    archives: Path,
    finished: Finished,
    options: tuple[str, ...],
) -> None:
    folder, _ = finished
    before = numbers(folder)
    answer = reproduce("--data", archives, "--out", folder, *options, *more)
    assert answer.code == 2
    assert named in answer.err
    assert "--fresh" in answer.err
    assert answer.err.count("\n") == 1
    assert numbers(folder) == before


def test_ctrl_c_says_how_to_go_on_and_fresh_keeps_what_is_not_the_studys(
    begin: Begin, archives: Path, finished: Finished, options: tuple[str, ...], tmp_path: Path
) -> None:
    folder = shutil.copytree(finished[0], tmp_path / "tiny")
    (folder / "notes.txt").write_text("mine")
    command = ("--data", archives, "--out", folder, *options, "--seed", 1, "--fresh", "--workers", 1)
    with begin(*command, own_group=True) as process:
        wait_for(folder / "networks/00.training", process)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == ""
    # Python's resource tracker sometimes warns of a semaphore that was already removed when the workers ended.
    lines = [line for line in err.splitlines() if "resource_tracker" not in line and "warnings.warn(" not in line]
    assert lines == ["Interrupted. Run the same command again to continue."]
    assert (folder / "notes.txt").read_text() == "mine"
    assert not (folder / "tables").exists()
    assert not (folder / "report.html").exists()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["options"]["seed"] == 1
    assert "finished" not in manifest


@pytest.mark.exhaustive
@pytest.mark.filterwarnings("default")  # Ray leaves files open, and forks while threads run
def test_a_run_on_ray_has_the_same_numbers(
    finished: Finished,
    archives: Path,
    options: tuple[str, ...],
    cluster: object,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first run was performed on this machine. Figures are drawn here in any case; a fit takes half of a run."""
    monkeypatch.setattr(study, "illustrate", lambda *arguments, **options: None)
    folder = without_run(1, finished[0], tmp_path / "on-ray", kept="01-gradmeter.csv")
    words = ("reproduce", "--data", archives, "--out", folder, *options, "--engine", "ray", "--workers", 1)
    answer = in_this_process(*words, cwd=tmp_path)
    assert answer.returncode == 0, answer.stderr
    assert numbers(folder) == numbers(finished[0])
    assert json.loads((folder / "manifest.json").read_text())["engine"] == "ray"
