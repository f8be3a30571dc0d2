"""The report of `gradmeter labels` in a real browser, offline."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from accessibility import grave_faults
from apps.cli.commands import in_this_process
from apps.workflows.label_folder import plant
from browsing import BROWSER, offline, running

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

pytestmark = [pytest.mark.slow, pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on the path")]

OPTIONS = ("--weights", "weights.safetensors", "--image-size", 8, "--grey", "--classes", "0,1,2,3,4,5,6,7,8,9")


@pytest.fixture(scope="module")
def folder(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which labels with many errors were checked, with gradients."""
    folder = tmp_path_factory.mktemp("labels")
    for name in ("weights.safetensors", "digits_network.py"):
        shutil.copy(place / name, folder / name)
    plant(place / "validation", folder / "digits", 180)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        command = ("labels", "digits_network:network", "digits", *OPTIONS, "--reads", "gradients", "-q")
        finished = in_this_process(*command, cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return folder


@pytest.fixture(scope="module")
def doubtful(folder: Path) -> pd.DataFrame:
    """The rows of the table that have a reason, the most suspicious first."""
    table = pq.read_table(folder / "labels.parquet").to_pandas()
    return table[table["reason"].notna()].sort_values("rank")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with running(sync_api) as started:
        yield started


@pytest.fixture
def visit(browser: Any, folder: Path) -> Iterator[Callable[..., Any]]:
    with offline(browser, (folder / "labels.review/report.html").as_uri()) as open_page:
        yield open_page


def ids(page: Any) -> list[str]:
    cards = page.locator("#browse-samples > li:visible")
    return cards.evaluate_all("cards => cards.map(card => card.title)")


def test_the_most_suspicious_labels_come_first(visit: Callable[..., Any], doubtful: pd.DataFrame) -> None:
    assert len(doubtful) > 120
    page = visit()
    assert ids(page) == doubtful["id"][:100].tolist()
    assert page.locator("#browse-count").inner_text() == f"100 of {len(doubtful)} shown."
    page.locator("#browse-more").click()
    assert ids(page) == doubtful["id"].tolist()
    assert not page.locator("#browse-more").is_visible()


def test_filters_and_orders(visit: Callable[..., Any], doubtful: pd.DataFrame) -> None:
    page = visit()
    page.locator("#browse-reason").select_option(label="ambiguous")
    assert ids(page) == doubtful["id"][doubtful["reason"] == "ambiguous"].tolist()
    page.locator("#browse-reason").select_option(label="all")
    page.locator("#browse-p").select_option("0.001")
    certain = doubtful[doubtful["p_label"] <= 0.001]
    assert 0 < len(certain) < len(doubtful)
    assert f"of {len(certain)} shown" in page.locator("#browse-count").inner_text()
    page.locator("#browse-p").select_option("1")
    page.locator("#browse-label").select_option(label="3")
    page.locator("#browse-order").select_option("least")
    assert ids(page) == doubtful["id"][doubtful["label"] == "3"].tolist()[::-1]
    page.locator("#browse-label").select_option(label="all")
    page.locator("#browse-order").select_option("label")
    assert ids(page) == doubtful.sort_values(["label", "suggestion", "rank"])["id"][:100].tolist()


def test_a_card_tells_all_about_its_label(visit: Callable[..., Any], doubtful: pd.DataFrame) -> None:
    page = visit()
    for number, row in enumerate(doubtful[:10].itertuples()):
        card = page.locator("#browse-samples > li").nth(number)
        text = card.inner_text()
        assert f"{row.rank}. {row.label} → {row.suggestion}?" in text
        assert row.reason in text
        for layer in row.layers[:3]:
            assert layer in text
        near = re.search(r"20 neighbours: (\d+) with", text)
        assert near
        labels = card.locator(".near div span").all_inner_texts()
        assert len(labels) == 4
        assert {*labels} <= {*"0123456789"}
    assert any(len(layers) for layers in doubtful["layers"][:10])
    assert page.evaluate("[...document.querySelectorAll('#browse-samples img')].every(i => i.naturalWidth === 8)")


def test_the_names_of_neighbours_have_the_whole_width_of_the_card(visit: Callable[..., Any]) -> None:
    near = visit().locator(".near").first
    widths = near.evaluate("near => [...near.children].map(neighbour => neighbour.offsetWidth)")
    assert len(widths) == 4
    assert sum(widths) > 0.9 * near.evaluate("near => near.clientWidth")


def test_without_scripts_a_hundred_labels_are_there(visit: Callable[..., Any], doubtful: pd.DataFrame) -> None:
    page = visit(scripts=False)
    assert ids(page) == doubtful["id"][:100].tolist()
    assert page.locator("#browse-count").inner_text() == f"The first 100 of {len(doubtful)}."
    assert not page.locator("#browser-controls").is_visible()
    assert not page.locator("#browse-more").is_visible()


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_is_wider_than_the_page(visit: Callable[..., Any], width: int) -> None:
    page = visit(width, colours="dark")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_what_is_shown_is_printed(visit: Callable[..., Any]) -> None:
    page = visit()
    page.locator("#browse-reason").select_option(label="ambiguous")
    shown = ids(page)
    page.emulate_media(media="print")
    assert not page.locator("#browser-controls").is_visible()
    assert ids(page) == shown


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_accessibility(visit: Callable[..., Any], axe: str, colours: str) -> None:
    assert grave_faults(visit(colours=colours), axe) == []


def test_the_policy_runs_no_other_script(browser: Any, folder: Path, tmp_path: Path) -> None:
    text = (folder / "labels.review/report.html").read_text(encoding="utf-8")
    changed = text.replace("</footer>", "</footer><script>document.title = 'ran'</script><img src=x onerror=x>")
    (tmp_path / "report.html").write_text(changed, encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "report.html").as_uri())
    assert page.title() != "ran"
    assert page.locator("#browser-controls").is_visible()
    page.close()
