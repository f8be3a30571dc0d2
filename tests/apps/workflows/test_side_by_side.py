"""Two TrustModels on the same data."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from accessibility import grave_faults
from apps.cli.commands import leave_blank
from apps.workflows.digits import recipe
from gradmeter.apps.workflows.evaluate import evaluate
from gradmeter.apps.workflows.fit import Fitted, fit
from gradmeter.apps.workflows.open_trust import open_trust
from gradmeter.apps.workflows.side_by_side import Candidate, SideBySide, _share, evaluate_two, short_names
from gradmeter.apps.workflows.side_by_side_report import answer, write_side_by_side
from gradmeter.errors import InputError, OutputError
from gradmeter.report import figures
from gradmeter.report.figures import saving
from gradmeter.runs.measuring.purpose import CLASSES
from gradmeter.trust.evaluation.comparison import ALL, WRONG

pytestmark = pytest.mark.slow

MODEL = "digits_network:network"
QUICK = {"repetitions": 100}


def candidate(name: str, folder: str) -> Candidate:
    return Candidate(name, *open_trust(Path(folder), model=MODEL))


@pytest.fixture(scope="module")
def home(place: Path, fitted: Fitted, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with another judge of the network, forward/, and a judge of another network, other/."""
    folder = tmp_path_factory.mktemp("two")
    generator = torch.Generator().manual_seed(0)
    weights = load_file(place / "weights.safetensors")
    noisy = {name: value + 0.08 * torch.randn(value.shape, generator=generator) for name, value in weights.items()}
    save_file(noisy, folder / "noisy.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        fit(recipe(place), "validation", [], folder / "forward", reads="forward", risk=0.08, **QUICK)
        other = replace(recipe(place), weights=folder / "noisy.safetensors")
        fit(other, "validation", [], folder / "other", meta_classifier="ridge", reads="forward", risk=0.2, **QUICK)
    return folder


@pytest.fixture(scope="module")
def judges(home: Path, place: Path) -> SideBySide:
    """The comparison of two judges of one network, written to home / "judges" without figures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        pair = candidate("trust", "trust"), candidate("forward", str(home / "forward"))
        result = evaluate_two(pair, "test", ["torn"], home / "judges", **QUICK)
        # Tests look at the figures of the other comparison only.
        patch.setattr(figures, "save_for_screens", lambda draw, stem: None)
        write_side_by_side(result, home / "judges", command="gradmeter evaluate trust forward")
        return result


@pytest.fixture(scope="module")
def networks(home: Path, place: Path) -> SideBySide:
    """The comparison of judges of two networks, written to home / "networks"."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        pair = candidate("forward", str(home / "forward")), candidate("other", str(home / "other"))
        result = evaluate_two(pair, "test", ["torn"], home / "networks", **QUICK)
        # Tests look at the figures of the comparison only, not at those of the evaluation of each.
        paint, folder = saving.save, home / "networks/figures"
        patch.setattr(
            saving, "save", lambda figure, stem: (paint if stem.parent == folder else leave_blank)(figure, stem)
        )
        write_side_by_side(result, home / "networks", command="gradmeter evaluate forward other")
        return result


@pytest.mark.parametrize("which", ["judges", "networks"])
def test_the_inputs_are_the_same_and_each_is_judged_by_its_own_network(
    which: str, request: pytest.FixtureRequest
) -> None:
    result: SideBySide = request.getfixturevalue(which)
    assert result.same_network == (which == "judges")
    first, second = (evaluation.rows.to_pandas().set_index(["concept", "id"]) for evaluation in result.evaluations)
    assert result.left_out == 0
    assert first["correct"].equals(second["correct"]) == result.same_network
    for name, rows, judged in zip(result.names, (first, second), result.judged, strict=True):
        ordered = rows.loc[first.index]
        np.testing.assert_array_equal(judged.probability[name], ordered["p_correct"])
        np.testing.assert_array_equal(judged.correct, ordered["correct"])
        expected = roc_auc_score(~ordered["correct"], -ordered["p_correct"])
        assert result.comparison.estimates["auroc", ALL, name].value == pytest.approx(expected)
    difference = result.comparison.differences["auroc", ALL, result.names[1]]
    assert difference.low <= difference.value <= difference.high


@pytest.mark.parametrize("which", ["judges", "networks"])
def test_shares_are_those_of_the_verdicts(which: str, request: pytest.FixtureRequest) -> None:
    result: SideBySide = request.getfixturevalue(which)
    shares = {share.name: share for share in result.shares}
    assert len(shares) == 4
    for side, evaluation in zip(("first", "second"), result.evaluations, strict=True):
        rows = evaluation.rows.to_pandas()
        known, accepted = rows["concept"] == "test", rows["accepted"]
        expected = {
            "Right predictions for known inputs": rows["correct"][known].mean(),
            "Accepted known inputs": accepted[known].mean(),
            "Errors among accepted known inputs": (~rows["correct"])[known & accepted].mean(),
            "Accepted inputs of torn": accepted[~known].mean(),
        }
        for name, value in expected.items():
            interval = getattr(shares[name], side)
            assert interval.value == pytest.approx(value)
            assert interval.low <= value <= interval.high
    for share in shares.values():
        assert share.difference.value == pytest.approx(share.first.value - share.second.value)


def test_intervals_of_differences_are_paired(judges: SideBySide) -> None:
    """Judges of one network agree on most inputs, so the difference varies less than that of independent shares.

    For independent shares it would be 1.22 times as wide; from 100 repetitions it varies by some 10 %.
    """
    right, accepted = judges.shares[:2]
    assert right.first.low < right.first.high
    assert (right.difference.low, right.difference.high) == (0, 0)
    first, second, difference = (
        interval.high - interval.low for interval in (accepted.first, accepted.second, accepted.difference)
    )
    assert difference < np.hypot(first, second)
    known = (judges.evaluations[0].rows.to_pandas()["concept"] == "test").sum()
    deviation = np.sqrt(accepted.differing / known - accepted.difference.value**2) / np.sqrt(known)
    assert difference == pytest.approx(2 * norm.ppf(0.975) * deviation, rel=0.15)


@pytest.mark.parametrize(("rows", "inputs", "is_clear"), [(4, 4, False), (9, 9, False), (10, 10, True), (12, 3, False)])
def test_a_share_that_differs_on_few_inputs_is_not_clear(rows: int, inputs: int, *, is_clear: bool) -> None:
    right, contents = np.ones((300, 2), np.bool_), np.arange(300, dtype=np.uint64)
    right[:rows, 1] = False
    contents[:rows] %= inputs
    share = _share("right", right, np.ones_like(right), contents, repetitions=500)
    assert (share.differing, share.is_clear) == (inputs, is_clear)


def test_one_network_is_measured_once(judges: SideBySide, networks: SideBySide, home: Path) -> None:
    assert (home / "judges/trust/readings").is_dir()
    assert not (home / "judges/forward/readings").exists()
    assert (home / "networks/forward/readings").is_dir()
    assert (home / "networks/other/readings").is_dir()


@pytest.mark.parametrize("change", [{"classes": None}, {"name": "mine:network"}])
def test_a_network_that_was_opened_in_two_ways_is_measured_for_each(
    change: dict[str, Any], home: Path, at_place: Path, tmp_path: Path
) -> None:
    first, second = candidate("trust", "trust"), candidate("forward", str(home / "forward"))
    other = replace(second, classifier=replace(second.classifier, **change))
    result = evaluate_two((first, other), "test", [], tmp_path / "out", **QUICK)
    assert result.left_out == 0
    assert result.shares[0].first == result.shares[0].second  # of right predictions


def test_the_page_links_to_both_reports(networks: SideBySide, home: Path) -> None:
    folder = home / "networks"
    page = (folder / "report.html").read_text(encoding="utf-8")
    for name in networks.names:
        assert f'href="{name}/report.html"' in page
        assert (folder / name / "report.html").is_file()
    results = json.loads((folder / "results.json").read_text())
    assert [trust["name"] for trust in results["trust_models"]] == ["forward", "other"]
    assert results["answer"] == answer(networks)
    assert "of forward against" in results["answer"][0]
    assert {record["method"] for record in results["estimates"]} == {"forward", "other"}
    for name in ("estimates.csv", "differences.csv", "figures/risk_coverage_all.svg"):
        assert (folder / name).stat().st_size > 0


def test_it_can_be_repeated(judges: SideBySide, home: Path, at_place: Path) -> None:
    pair = candidate("trust", "trust"), candidate("forward", str(home / "forward"))
    again = evaluate_two(pair, "test", ["torn"], home / "judges", **QUICK)
    assert again.comparison.estimates == judges.comparison.estimates
    assert again.shares == judges.shares


def test_a_folder_of_something_else_is_not_overwritten(
    judges: SideBySide, home: Path, at_place: Path, tmp_path: Path
) -> None:
    pair = candidate("trust", "trust"), candidate("forward", str(home / "forward"))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    (tmp_path / "results").mkdir()
    (tmp_path / "results/results.json").write_text('{"estimates": []}')
    for folder in ("mine", "results"):
        with pytest.raises(OutputError, match=folder):
            evaluate_two(pair, "test", [], tmp_path / folder, **QUICK)
    with pytest.raises(OutputError, match=r"results\.json"):
        evaluate(pair[0].trust, pair[0].classifier, "test", [], home / "judges", **QUICK)


def test_networks_of_other_classes_are_refused(home: Path, at_place: Path, tmp_path: Path) -> None:
    first = candidate("trust", "trust")
    renamed = replace(first, name="renamed", classifier=first.classifier.named(tuple("abcdefghij")))
    with pytest.raises(InputError, match=r"trust has the classes \(0, 1.*renamed has \(a, b"):
        evaluate_two((first, renamed), "test", [], tmp_path / "out", **QUICK)
    pair = [replace(first, classifier=first.classifier.named((*"abcdefghi", name))) for name in ("\u00e9", "e\u0301")]
    with pytest.raises(InputError, match=r'"\\u00e9".*"e\\u0301"'):
        evaluate_two((pair[0], pair[1]), "test", [], tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()


def test_networks_of_other_numbers_of_classes_are_refused(home: Path, at_place: Path, tmp_path: Path) -> None:
    first, second = candidate("trust", "trust"), candidate("forward", str(home / "forward"))
    del second.trust.notes[CLASSES]  # they would name the classes
    wider = replace(second.classifier, classes=None)
    vars(wider)["trial"] = torch.nn.functional.pad(second.classifier.trial, (0, 2))
    with pytest.raises(InputError, match=r"\b10\b.*\b12\b"):
        evaluate_two((first, replace(second, classifier=wider)), "test", [], tmp_path / "out", **QUICK)
    assert not (tmp_path / "out").exists()


def test_a_judge_without_a_guarantee_has_no_decisions(
    fitted: Fitted, home: Path, at_place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(figures, "save_for_screens", lambda draw, stem: None)
    first, second = candidate("trust", "trust"), candidate("forward", str(home / "forward"))
    second.trust.guarantee = None
    result = evaluate_two((first, second), "test", [], tmp_path / "out", **QUICK)
    assert [share.name for share in result.shares] == ["Right predictions for known inputs"]
    assert WRONG in {column for _, column, _ in result.comparison.estimates}
    assert "forward has no risk guarantee." in answer(result)
    assert write_side_by_side(result, tmp_path / "out", command="").is_file()


def test_the_answer_says_which_judge_has_seen_the_data(judges: SideBySide) -> None:
    first, second = judges.evaluations
    assert "Warning" not in " ".join(answer(judges))
    warned = answer(replace(judges, evaluations=(first, replace(second, seen={"test": 3}))))
    assert [judges.names[1] in line for line in warned if line.startswith("Warning")] == [True]


def test_names_are_short_and_unique(tmp_path: Path) -> None:
    paths = [tmp_path / "a/trust", tmp_path / "b/trust", tmp_path / "figures", Path(".")]
    assert short_names(paths[:2]) == ["trust", "trust (2)"]
    assert short_names(paths[2:3]) == ["figures (2)"]
    assert short_names(paths[3:]) == [Path.cwd().name]


@pytest.mark.parametrize(("width", "colours"), [(375, "dark"), (1280, "light")])
def test_the_page_in_a_browser(networks: SideBySide, home: Path, axe: str, width: int, colours: str) -> None:
    """Offline, without console messages, other requests, sideways scrolling and grave faults of accessibility."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium or Chrome on the path")
    address, messages, requests = (home / "networks/report.html").as_uri(), [], []
    with sync_api.sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=colours, offline=True)
        page = context.new_page()
        page.on("console", lambda message: messages.append(message.text))
        page.on("pageerror", lambda error: messages.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert grave_faults(page, axe) == []
        browser.close()
    assert messages == []
    assert {url for url in requests if not url.startswith("data:")} == {address}
