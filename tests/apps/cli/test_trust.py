"""gradmeter fit, evaluate, judge and serve in processes of their own, from files on disk to verdicts."""

import json
import re
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from apps.cli.commands import ENVIRONMENT, gradmeter, in_this_process, main_without, started, unpainted_main
from apps.cli.quick import quick_main
from apps.workflows.digits import make
from forked import Forked
from gradmeter.apps.cli import main
from gradmeter.apps.cli.parameters import Score
from gradmeter.sources.samples import decode_name
from gradmeter.trust.meta_classifier import SCORES

pytestmark = pytest.mark.slow

MODEL = ("digits_network:network", "--weights", "weights.safetensors", "--classes", "0,1,2,3,4,5,6,7,8,9")
IMAGES = ("--image-size", "8", "--grey")
KNOWN = ("--known", "validation", "--unknown", "noise:uniform:200")
NAMED = ("--model", "digits_network:network")
QUICK = ("--repetitions", "100")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with digits and a network; `fitted` adds trust/, `evaluated` adds out/."""
    folder = tmp_path_factory.mktemp("place")
    make(folder)
    return folder


@pytest.fixture(scope="module")
def fitted(place: Path) -> subprocess.CompletedProcess[str]:
    return gradmeter("fit", *MODEL, *IMAGES, *KNOWN, "--risk", "0.08", "-o", "trust", *QUICK, cwd=place)


@pytest.fixture(scope="module")
def evaluated(place: Path, fitted: object) -> subprocess.CompletedProcess[str]:
    unknown = ("--unknown", "torn", "--unknown", "noise:uniform:200")
    return gradmeter("evaluate", "trust", *NAMED, "--known", "test", *unknown, "-o", "out", *QUICK, cwd=place)


def test_fit_says_at_once_how_good_it_is(fitted: subprocess.CompletedProcess[str], place: Path) -> None:
    assert fitted.returncode == 0, fitted.stderr
    assert fitted.stderr == ""
    lines = fitted.stdout.splitlines()
    assert re.match(r"\d\d\.\d % of 600 ", lines[0])
    assert " 100 unknown inputs" in lines[1]
    assert " 700 synthetic" in lines[1]
    assert "AUROC: " in fitted.stdout
    assert "AUPR" not in fitted.stdout  # it has a bias in small folds
    assert any(line.split()[:2] == ["noise:uniform", "P(correct)"] for line in lines)
    assert any(line.startswith("Wrong predictions: ") and "AUROC" in line and "softmax" in line for line in lines)
    (guarantee,) = [line for line in lines if "95 % confidence, at most 8 % " in line]
    assert re.search(r"\d+\.\d % of the known", guarantee)
    assert lines[-1] == "TrustModel: trust"
    assert {path.name[:9] for path in (place / "trust").iterdir()} == {"estimator", "readings", "trust.jso"}


def test_fit_for_programs(place: Path, fitted: object, tmp_path: Path) -> None:
    shutil.copytree(place / "trust", tmp_path / "t")  # its readings are used again
    arguments = ("fit", *MODEL, *IMAGES, *KNOWN, "--reads", "gradients", "-o", tmp_path / "t", *QUICK, "--json")
    process = gradmeter(*arguments, cwd=place)
    record = json.loads(process.stdout)
    assert record["learned_from"].pop("synthetic") == 14 * 50
    assert sum(record["learned_from"].values()) == 800
    assert 0 < record["known_loss"] < 0.0126
    assert 0 < record["presumed_unknown_share"] < 1
    assert record["known"]["labelled"] == 600
    assert record["known"]["accuracy"] == record["known"]["right"] / 600
    assert record["replaced"].startswith("--classifier gradmeter, --reads auto, --risk 0.08 ")
    assert record["no_synthetic"] is None
    assert record["guarantee"] is None
    rows = [row for row in record["differences"] if (row["measure"], row["column"]) == ("auroc", "noise:uniform")]
    assert [row["other"] for row in rows] == ["softmax", "entropy"]
    assert all(row["low"] <= row["value"] <= row["high"] and row["verdict"] == "better" for row in rows)


def test_a_risk_that_cannot_be_promised(place: Path, tmp_path: Path) -> None:
    command = ("fit", *MODEL, *IMAGES, *KNOWN, "--classifier", "ridge", "-o", tmp_path / "t", *QUICK, "--risk")
    process = gradmeter(*command, "0.001", cwd=place)
    assert process.returncode == 1
    assert process.stderr.startswith("gradmeter: --risk 0.001: 400 samples ")
    assert process.stderr.count("\n") == 1
    rows = gradmeter("judge", tmp_path / "t", "test/3", *NAMED, cwd=place).stdout.splitlines()
    assert all(row.split()[-1].startswith("P(correct)") for row in rows)
    again = gradmeter(*command, "0.08", cwd=place)
    assert again.returncode == 0, again.stderr
    known, unknown = again.stderr.splitlines()
    assert known.startswith("validation: 600 of 600 ")
    assert unknown.startswith("noise:uniform:200: 200 of 200 ")
    last = again.stdout.splitlines()[-1]
    assert last.startswith(f"TrustModel: {tmp_path / 't'} ")
    assert (
        "--classifier ridge, --reads auto, --risk 0.001 --confidence 0.95 --least-probability 0.5 "
        "--coverage-tolerance 0.005 --score p_correct"
    ) in last


def agreement(trust: Path, score: str, place: Path) -> float:
    """Return the share of verdicts that agree with the threshold on a score."""
    guarantee = json.loads((trust / "trust.json").read_text())["guarantee"]
    assert guarantee["score"] == score
    lines = gradmeter("judge", trust, "test/3", *NAMED, "--json", cwd=place).stdout.splitlines()
    rows = [json.loads(line) for line in lines]
    return sum(row["accepted"] == (row[score] >= guarantee["threshold"]) for row in rows) / len(rows)


def test_a_threshold_on_each_score(fitted: object, place: Path, tmp_path: Path) -> None:
    assert [*map(str, Score)] == [*SCORES]
    # Few known inputs are so unfamiliar that they are not accepted at any score.
    assert agreement(place / "trust", "p_correct", place) >= 0.95
    for score in SCORES[1:]:
        options = ("--reads", "forward", "--risk", "0.1", "--score", score, "-o", tmp_path / score, *QUICK)
        process = gradmeter("fit", *MODEL, *IMAGES, *KNOWN, *options, cwd=place, main=quick_main)
        assert process.returncode == 0, process.stderr
        assert agreement(tmp_path / score, score, place) >= 0.95


def test_evaluate_writes_a_report(evaluated: subprocess.CompletedProcess[str], place: Path) -> None:
    assert evaluated.returncode == 0, evaluated.stderr
    assert evaluated.stdout.splitlines()[-1].endswith(" out/report.html")
    for name in ("estimates.csv", "differences.csv", "figures/risk_coverage_all.svg", "figures/layers.png"):
        assert (place / "out" / name).stat().st_size > 0
    results = json.loads((place / "out/results.json").read_text())
    rows = pd.read_parquet(place / "out/judgements.parquet")
    taken = rows["correct"] | (rows["concept"] == "torn")
    expected = roc_auc_score(~rows["correct"][taken], -rows["p_correct"][taken])
    estimates = pd.read_csv(place / "out/estimates.csv").set_index(["measure", "column", "method"])
    assert estimates.loc[("auroc", "torn", "P(correct)"), "value"] == pytest.approx(expected)
    known = rows[rows["concept"] == "test"]
    assert results["test_error"] == pytest.approx(1 - known["correct"].mean())
    assert results["promise"]["wrong"]["errors"] / results["promise"]["wrong"]["accepted"] <= 0.08
    page = (place / "out/report.html").read_text()
    # Percent signs follow a no-break space.
    assert all(sentence.replace("'", "&#39;").replace(" %", "\u00a0%") in page for sentence in results["answer"])
    made = page.partition("How it was made</h2>")[2]
    assert all(f"<code>{place / name}</code>" in made for name in ("weights.safetensors", "trust"))
    assert page.count("<script") == 2
    assert "script-src &#39;sha256-" in page
    # Each figure in two versions, for wide and for narrow screens.
    assert page.count("data:image/svg+xml") == 2 * 7


def test_evaluate_two_side_by_side(fitted: object, place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "trust", tmp_path / "again", ignore=shutil.ignore_patterns("readings"))
    process = gradmeter(
        "evaluate",
        "trust",
        tmp_path / "again",
        *NAMED,
        "--known",
        "test",
        "-o",
        tmp_path / "two",
        *QUICK,
        cwd=place,
        main=unpainted_main,
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1].endswith("two/report.html")
    results = json.loads((tmp_path / "two/results.json").read_text())
    assert [trust["name"] for trust in results["trust_models"]] == ["trust", "again"]
    assert {(gap["low"], gap["high"]) for gap in results["differences"]} == {(0, 0)}
    assert (tmp_path / "two/again/report.html").is_file()


def test_evaluate_for_programs(evaluated: object, place: Path) -> None:
    (readings,) = (place / "out/readings").glob("test*.parquet")
    command = ("evaluate", "trust", *NAMED, "--known", readings, "-o", "again", *QUICK, "--json")
    process = gradmeter(*command, cwd=place, main=unpainted_main)
    record = json.loads(process.stdout)
    assert record["model"] == "digits_network:network"
    assert {one["column"] for one in record["estimates"]} == {"wrong"}


@pytest.mark.filterwarnings("default")  # Ray leaves files open, and forks while threads run
def test_serve_answers_as_judge_does_also_while_it_stops(
    fitted: object, place: Path, cluster: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster that already runs; test_browser.py serves without one."""
    pytest.importorskip("ray.serve", reason="the extra serve is not installed")
    images = sorted((place / "test/3").iterdir())[:40]
    lines = gradmeter("judge", "trust", "test/3", *NAMED, "--json", "--device", "cpu", cwd=place).stdout.splitlines()
    expected = {row.pop("id"): row for row in map(json.loads, lines)}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def judged(image: Path, route: str = "judge") -> Any:
        request = urllib.request.Request(f"http://127.0.0.1:{port}/{route}", image.read_bytes(), method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)

    command = ("serve", "trust", *NAMED, "--port", str(port), "--device", "cpu", "--examples", "test")
    with Forked(main, command, cwd=place, env={**ENVIRONMENT, **cluster}) as server:
        until = time.monotonic() + 120
        while not (line := server.output()).endswith("\n"):
            assert server.poll() is None, server.output(1)
            assert time.monotonic() < until
            time.sleep(0.02)
        assert f"http://127.0.0.1:{port}/judge" in line
        monkeypatch.syspath_prepend(place)
        taken = in_this_process("serve", "trust", *NAMED, "--port", port, cwd=place)
        assert taken.returncode == 2
        assert f"port {port} " in taken.stderr
        assert taken.stderr.count("\n") == 1
        details = judged(images[0], "judge/details")
        assert details["prediction"] == expected[images[0].name]["prediction"]
        assert {layer["measure"] for layer in details["layers"]} == {"distance"}  # gradients do not pay
        assert all(layer["quantiles"] == sorted(layer["quantiles"]) for layer in details["layers"])
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/model", timeout=60) as answer:
            assert len(json.load(answer)["examples"]) == 24
        with ThreadPoolExecutor(len(images)) as pool:
            futures = [pool.submit(judged, image) for image in images]
            next(as_completed(futures))
            server.send_signal(signal.SIGTERM)
        for image, future in zip(images, futures, strict=True):
            verdict, row = future.result(), expected[image.name]
            for name in ("prediction", "accepted", "reason"):
                assert verdict.pop(name) == row[name]
            assert verdict == pytest.approx({name: row[name] for name in verdict}, abs=1e-5)
        assert server.communicate(timeout=90) == (line, "Starting the server.\n"), "Ray must print nothing"
    assert server.returncode == 0


def test_judge_on_the_terminal(fitted: object, place: Path) -> None:
    name = sorted(path.name for path in (place / "test/3").iterdir())[0]
    process = gradmeter("judge", "trust", f"test/3/{name}", *NAMED, cwd=place)
    (line,) = process.stdout.splitlines()
    words = line.split()
    assert words[0] == name
    assert words[1] in "0123456789"
    assert words[2].startswith("p=0.") or words[2] == "p=1.0000"
    assert words[3].startswith("P(known)")
    assert words[4].startswith("P(correct)")
    assert words[5] in ("accept", "abstain")
    record = json.loads(gradmeter("judge", "trust", f"test/3/{name}", *NAMED, "--json", cwd=place).stdout)
    assert record["id"] == name
    assert record["accepted"] == (words[5] == "accept")


def test_abstentions_on_the_terminal_name_the_reason_on_a_short_line(fitted: object, place: Path) -> None:
    for folder, reason in (("test/8", "doubtful"), ("torn/left", "unfamiliar: ")):
        lines = gradmeter("judge", "trust", folder, *NAMED, cwd=place).stdout.splitlines()
        rows = gradmeter("judge", "trust", folder, *NAMED, "--json", cwd=place).stdout.splitlines()
        for line, row in zip(lines, map(json.loads, rows), strict=True):
            assert len(line) <= 100
            # The first of several layers.
            decision = "  accept" if row["accepted"] else f"  abstain ({row['reason'].partition(', ')[0]})"
            assert line.endswith(decision)
        assert any(f" abstain ({reason}" in line for line in lines)


def test_judge_on_what_cannot_be_read(fitted: object, place: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"no image")
    process = gradmeter("judge", "trust", tmp_path, *NAMED, cwd=place)
    assert (process.returncode, process.stdout) == (2, "")
    skipped_line, error = process.stderr.splitlines()
    assert skipped_line.startswith("skipped a.png: ")
    assert error.startswith(f"gradmeter: {tmp_path}: ")
    (tmp_path / "b.png").write_bytes(next((place / "test/3").iterdir()).read_bytes())
    lines = gradmeter("judge", "trust", tmp_path, *NAMED, "--json", cwd=place).stdout.splitlines()
    skipped, judged = sorted((json.loads(line) for line in lines), key=lambda record: str(record["id"]))
    assert skipped["id"] == "a.png"
    assert skipped["skipped"]
    assert judged["id"] == "b.png"


def test_odd_names_in_verdicts_and_reports(fitted: object, place: Path, tmp_path: Path) -> None:
    odd = ["a\nb", "[red]", ":x:", "\udcff", "\\xff", "\x1b[1m", "\u202e", 'a,"b', "$x$", "$\\frac$"]
    images = sorted((place / "torn/left").iterdir())[: len(odd)]
    folder = tmp_path / "$\\frac$ \udcff\u202e:x:"
    folder.mkdir()
    for name, image in zip(odd, images, strict=True):
        (folder / f"{name}.png").write_bytes(image.read_bytes())
    on_terminal = gradmeter("judge", "trust", folder, *NAMED, cwd=place)
    assert on_terminal.stderr == ""
    lines = on_terminal.stdout.split("\n")[:-1]
    assert len(lines) == len(odd)
    assert all(line.isprintable() for line in lines)
    out = tmp_path / "\udcfe\n.csv"
    assert gradmeter("judge", "trust", folder, *NAMED, "-o", out, cwd=place).returncode == 0
    with out.open("rb") as file:
        assert sorted(decode_name(name)[:-4] for name in pd.read_csv(file)["id"]) == sorted(odd)
    report = tmp_path / "\udcfd\n"
    process = gradmeter(
        "evaluate", "trust", *NAMED, "--known", "test", "--unknown", folder, "-o", report, *QUICK, cwd=place
    )
    assert process.returncode == 0, process.stderr
    page = (report / "report.html").read_text(encoding="utf-8")
    assert "$\\frac$ \\xff\\u202e:x:" in page
    assert "\u202e" not in page
    results = json.loads((report / "results.json").read_text(encoding="utf-8"))
    assert decode_name(results["sets"][1]["data"]) == str(folder)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_evaluate_is_refused_at_once_where_no_report_can_be_made(package: str, fitted: object, place: Path) -> None:
    command = ("evaluate", "trust", *NAMED, "--known", "test", "-o", "never")
    process = gradmeter(*command, cwd=place, main=partial(main_without, package))
    assert process.returncode == 2
    assert f"package {package}" in process.stderr
    assert 'pip install "gradmeter[report]"' in process.stderr
    assert not (place / "never").exists()


@pytest.mark.parametrize("name", ["verdicts.parquet", "verdicts.csv"])
def test_judge_to_files(name: str, fitted: object, place: Path) -> None:
    process = gradmeter("judge", "trust", "test", *NAMED, "-o", name, cwd=place)
    rows = pd.read_csv(place / name) if name.endswith("csv") else pd.read_parquet(place / name)
    assert process.stdout.startswith("Judged 897 samples.")
    assert f" {rows['accepted'].sum()} are accepted" in process.stdout
    assert process.stdout.endswith(f" {name}\n")
    assert len(rows) == 897
    # The name of the folder is the true class.
    accepted = rows[rows["accepted"]]
    assert (accepted["prediction"].astype(str) != accepted["id"].str[0]).mean() <= 0.08


def test_judge_killed_and_begun_again(fitted: object, place: Path) -> None:
    arguments = ("judge", "trust", "noise:uniform:4000", *NAMED, "-o", "long.csv")
    with started(*arguments, cwd=place) as process:
        deadline = time.monotonic() + 120
        while not (place / "long.csv.parts/_part-00000.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process.kill()
    assert not (place / "long.csv").exists()
    resumed = gradmeter(*arguments, cwd=place)
    assert resumed.returncode == 0, resumed.stderr
    assert pd.read_csv(place / "long.csv")["id"].nunique() == 4000
    assert not (place / "long.csv.parts").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("judge", "nowhere", "test"), "nowhere"),
        (("judge", "trust", "test"), "--model digits_network:network"),
        (("judge", "trust", "absent", *NAMED), "absent"),
        (("judge", "trust", "test", *NAMED, "--weights", "other.safetensors"), "other.safetensors"),
        (("evaluate", "trust", *NAMED, "--known", "test", "-o", "test"), "test"),
        (("evaluate", "trust", *NAMED, "--known", "noise:uniform"), "noise:uniform"),
        (("evaluate", "trust", *NAMED, "--known", "torn"), "left"),
        (("evaluate", "trust", "a", "b", *NAMED, "--known", "test"), "3 TRUST"),
        (("evaluate", "trust", "nowhere", *NAMED, "--known", "test", "-o", "x"), "nowhere"),
        (("evaluate", "trust", *NAMED, *NAMED, "--known", "test"), "--model is given 2 times for 1 TRUST"),
        (("fit", *MODEL, *IMAGES, "-o", "x"), "--known"),
        (("fit", *MODEL, *IMAGES, *KNOWN, "--classifier", "forest", "-o", "x"), "'forest'"),
        (("fit", *MODEL, *IMAGES, *KNOWN, "--risk", "1.5", "-o", "x"), "risk=1.5"),
        (("fit", *MODEL, *IMAGES, *KNOWN, "--risk", "0.1", "--confidence", "1", "-o", "x"), "confidence=1.0"),
        (("fit", *MODEL, *IMAGES, *KNOWN, "--risk", "0.1", "--least-probability", "1.5", "-o", "x"), "1.5; expected a"),
        (("fit", *MODEL, *IMAGES, *KNOWN, "--classifier", "glm", "--score", "p_known", "-o", "x"), "score='p_known'"),
        (("fit", *MODEL, *IMAGES, "--known", "validation", "-o", "trust"), "other DATA"),
        (("judge", "trust", "trust/readings/validation.parquet", *NAMED), "trust/readings/validation.parquet"),
        (("fit", *MODEL[:3], "--classes", "names.txt", *IMAGES, *KNOWN, "-o", "x"), "--classes names.txt"),
        (("fit", *MODEL[:3], "--classes", "a,b", *IMAGES, *KNOWN, "-o", "x"), "digits_network:network"),
        (("fit", *MODEL[:3], *IMAGES, "--known", "torn", "-o", "x"), "--classes"),
        (("fit", *MODEL, *IMAGES, "--known", "one", "-o", "x"), "50"),
    ],
)
def test_one_line_for_bad_input(arguments: tuple[str, ...], named: str, fitted: object, place: Path) -> None:
    (place / "one/3").mkdir(parents=True, exist_ok=True)
    if not any((place / "one/3").iterdir()):
        (place / "one/3/a.png").write_bytes(next((place / "test/3").iterdir()).read_bytes())
    process = gradmeter(*arguments, cwd=place)
    assert process.returncode == 2, process.stdout
    assert named in process.stderr
    assert process.stderr.count("\n") == 1
