"""The interactive part of an evaluation's report, in a real browser, offline."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from browsing import BROWSER, offline, running
from gradmeter.apps.workflows.evaluate import Evaluation
from gradmeter.apps.workflows.evaluation_report import write_evaluation
from gradmeter.apps.workflows.exploration import verdicts_of
from gradmeter.trust.evaluation.comparison import ALL, WRONG

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the path")]

SLIDE = """at => {
    const slider = document.getElementById('threshold')
    slider.value = at
    slider.dispatchEvent(new Event('input', {bubbles: true}))
}"""


@pytest.fixture(scope="module")
def folder(evaluation: Evaluation, place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return write_evaluation(evaluation, tmp_path_factory.mktemp("report"), command="gradmeter evaluate").parent


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running(sync_api) as started:
        yield started


@pytest.fixture
def visit(browser: Any, folder: Path) -> Iterator[Callable[..., Any]]:
    with offline(browser, (folder / "report.html").as_uri()) as open_page:
        yield open_page


def numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in re.findall(r"[\d,]*\.?\d+", text)]


def counts(page: Any) -> dict[str, int]:
    rows = page.locator("#group-counts tbody tr").all()
    return {row.locator("th").inner_text(): int(row.locator("td").nth(1).inner_text().replace(",", "")) for row in rows}


def test_at_first_the_numbers_are_those_of_the_results(visit: Callable[..., Any], folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    page = visit()
    for population, column in (("known", WRONG), ("all", ALL)):
        page.locator(f"input[value={population}]").check()
        check = results["promise"][column]
        assert numbers(page.locator("#accepted-share").inner_text())[1:] == [check["accepted"], check["samples"]]
        assert numbers(page.locator("#accepted-risk").inner_text())[1:] == [check["errors"]]
    assert counts(page) == {group["group"]: group["accepted"] for group in results["groups"]}
    assert numbers(page.locator("#threshold-value").inner_text()) == [
        pytest.approx(results["promise"][WRONG]["guarantee"]["threshold"], abs=1e-4)
    ]


def test_the_slider_counts_what_each_threshold_accepts(
    visit: Callable[..., Any], evaluation: Evaluation, folder: Path
) -> None:
    points, rows = verdicts_of(evaluation).points(), evaluation.rows.to_pandas()
    page = visit()
    for at in (0, len(points.thresholds) // 3, points.marked, len(points.thresholds) - 1):
        page.evaluate(SLIDE, at)
        accepted = rows["familiar"] & (rows["p_correct"] >= points.thresholds[at])
        known = rows["concept"] == "test"
        assert counts(page) == {
            "right": (accepted & rows["correct"]).sum(),
            "wrong": (accepted & known & ~rows["correct"]).sum(),
            "torn": (accepted & (rows["concept"] == "torn")).sum(),
            "noise:uniform": (accepted & (rows["concept"] == "noise:uniform")).sum(),
        }
        assert numbers(page.locator("#accepted-share").inner_text())[1:] == [(accepted & known).sum(), known.sum()]
        errors = (accepted & known & ~rows["correct"]).sum()
        assert numbers(page.locator("#accepted-risk").inner_text())[-1] == errors
        chosen, mark = page.locator("#curve .chosen"), page.locator("#curve .mark").get_attribute("d")
        assert (mark.startswith(f"M{chosen.get_attribute('cx')} ")) == (at == points.marked)
        assert ("only" in page.locator("#guarantee-status").inner_text()) == (at != points.marked)
    page.locator("#reset").click()
    assert page.locator("#threshold").input_value() == str(points.marked)
    assert page.locator("#reset").is_disabled()


def test_the_keyboard_moves_the_slider(visit: Callable[..., Any]) -> None:
    page = visit()
    before = page.locator("#threshold").input_value()
    page.locator("#threshold").focus()
    page.keyboard.press("ArrowRight")
    assert int(page.locator("#threshold").input_value()) == int(before) + 1
    assert "accepted" in page.locator("#threshold").get_attribute("aria-valuetext")


def test_unknown_inputs_that_are_not_covered_have_no_guarantee(visit: Callable[..., Any]) -> None:
    page = visit()
    assert "8 %" in page.locator("#guarantee-status").inner_text()
    page.locator("input[value=all]").check()
    assert "does not cover" in page.locator("#guarantee-status").inner_text()


def cards(page: Any) -> list[dict[str, Any]]:
    found = []
    for card in page.locator("#browse-samples li").all():
        text = card.inner_text()
        found.append(
            {
                "wrong": card.locator("b.bad").count() > 0 or not re.search(r"^\d$", text.split("\n")[0]),
                "p_correct": float(re.search(r"P\(correct\) [<>]?([\d.]+)", text)[1]),
                "verdict": text.strip().split("\n")[-1],
            }
        )
    return found


def test_the_browser_orders_and_filters(visit: Callable[..., Any], evaluation: Evaluation) -> None:
    rows = evaluation.rows.to_pandas()
    page = visit()
    wrong = rows[rows["accepted"] & ~rows["correct"]]["p_correct"].sort_values(ascending=False)
    assert len(wrong) > 24
    first = cards(page)
    np.testing.assert_allclose([card["p_correct"] for card in first], wrong[:24], atol=1e-4)
    assert {card["verdict"] for card in first} == {"accepted"}
    page.locator("#browse-more").click()
    assert len(cards(page)) == 48
    for verdict, number in (("accepted", rows["accepted"].sum()), ("rejected", (~rows["accepted"]).sum())):
        page.locator("#browse-verdict").select_option(verdict)
        assert f"of {number:,} " in page.locator("#browse-count").inner_text()

    page.locator("#browse-group").select_option(label="torn")
    page.locator("#browse-verdict").select_option("unfamiliar")
    page.locator("#browse-order").select_option("most")
    reasons = rows["reason"].fillna("")
    torn = rows[(rows["concept"] == "torn") & reasons.str.startswith("unfamiliar")].sort_values(
        "p_correct", ascending=False, kind="stable"
    )
    shown = cards(page)
    np.testing.assert_allclose([card["p_correct"] for card in shown], torn["p_correct"][:24], atol=1e-4)
    assert {card["verdict"] for card in shown} <= {*torn["reason"]}
    assert f"of {len(torn)} " in page.locator("#browse-count").inner_text()

    page.locator("#browse-verdict").select_option("")
    page.locator("#browse-order").select_option("least")
    page.locator("#browse-score").select_option("P(known)")
    lowest = rows[rows["concept"] == "torn"]["p_known"].sort_values()[:24]
    texts = page.locator("#browse-samples li").all_inner_texts()
    p_known = [float(re.search(r"P\(known\) [<>]?([\d.]+)", text)[1]) for text in texts]
    np.testing.assert_allclose(p_known, lowest, atol=1e-4)
    assert page.evaluate("[...document.querySelectorAll('#browse-samples img')].every(i => i.naturalWidth === 8)")


def test_verdicts_follow_the_slider(visit: Callable[..., Any]) -> None:
    page = visit()
    page.evaluate(SLIDE, 10_000)
    page.locator("#browse-verdict").select_option("accepted")
    page.wait_for_timeout(200)
    assert len(cards(page)) < 24
    page.evaluate(SLIDE, 0)
    page.wait_for_timeout(200)
    assert len(cards(page)) == 24


def test_without_scripts_everything_but_the_controls_is_there(visit: Callable[..., Any], folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    page = visit(scripts=False)
    assert counts(page) == {group["group"]: group["accepted"] for group in results["groups"]}
    for hidden in ("#threshold", "#browse-samples", "a[href='#browse']"):
        assert not page.locator(hidden).is_visible()
    text = page.locator("main").inner_text()
    for sentence in results["answer"]:
        assert sentence.replace(" %", "\u00a0%") in text
    assert page.locator("section[aria-labelledby=extremes] img").count() == 60


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page(visit: Callable[..., Any], width: int) -> None:
    page = visit(width, colours="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_controls_are_not_printed(visit: Callable[..., Any]) -> None:
    page = visit()
    page.emulate_media(media="print")
    for control in ("#threshold", "#reset", "#browser-controls"):
        assert not page.locator(control).is_visible()
    assert page.locator("#group-counts").is_visible()
    assert page.locator("#accepted-share").is_visible()


def test_the_policy_runs_no_other_script(browser: Any, folder: Path, tmp_path: Path) -> None:
    text = (folder / "report.html").read_text(encoding="utf-8")
    changed = text.replace("</footer>", "</footer><script>document.title = 'ran'</script><img src=x onerror=x>")
    (tmp_path / "report.html").write_text(changed, encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.title() != "ran"
    assert page.locator("#threshold").is_visible()
