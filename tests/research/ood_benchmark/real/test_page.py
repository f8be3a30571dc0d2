from pathlib import Path

import pytest

from gradmeter.research.ood_benchmark.page import Made
from gradmeter.research.ood_benchmark.real.page import write_page
from gradmeter.research.ood_benchmark.real.reference import REFERENCE
from gradmeter.research.ood_benchmark.real.results import RealResults
from gradmeter.research.ood_benchmark.real.run import CONTROLLED_READS, reading, statement
from gradmeter.research.ood_benchmark.run import OURS, WRONG, few
from gradmeter.research.ood_benchmark.scores import score_path
from gradmeter.trust.meta_classifier import SCORES
from research.ood_benchmark.real.made_scores import METHODS, write

MADE = Made(("gradmeter compare --task cifar10 --networks NETWORKS --data DIR",), ("Made on a machine.",))


def rows(page: str, section: str) -> dict[str, list[str]]:
    """Return the rows of the tables of a section by their first cell."""
    text = page.split(f"\n{section}\n")[1].split("\n##")[0]
    cells = [[cell.strip() for cell in line.replace("\\|", "¦").split("|")[1:-1]] for line in text.splitlines()]
    return {row[0]: row for row in cells if len(row) > 2}


def test_nothing_to_show(tmp_path: Path) -> None:
    assert write_page(tmp_path, MADE) is None
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_all_networks(tmp_path: Path) -> None:
    judges = (few(200), few(1000), *(reading(reads) for reads in CONTROLLED_READS))
    copies = {statement(judge, name): METHODS[statement(OURS, name)] for judge in judges for name in SCORES}
    write(tmp_path, {**METHODS, "TemperatureScaling": 1.1, REFERENCE: 3.0, **copies})
    # Controls have the first draw only.
    for run in (1, 2, 4, 5, 7, 8, 10, 11):
        for reads in CONTROLLED_READS:
            score_path(tmp_path, "cifar10", run, reading(reads)).unlink()
    page_path = write_page(tmp_path, MADE)
    assert page_path == tmp_path / "real.md"
    page = page_path.read_text(encoding="utf-8")
    assert (tmp_path / "figures/real.svg").stat().st_size > 1000
    assert (tmp_path / "figures/real.png").stat().st_size > 1000
    reported = RealResults(tmp_path, range(6, 12))

    targets = rows(page, "## Targets")
    assert targets["P(correct), digits, AUROC"][-1] == "**missed**"
    reference, of_ours = reported.reference(), reported.mean(OURS, "CIFAR-100", "auroc").mean
    assert reference is not None
    assert reference > of_ours
    assert f"AUROC of {100 * reference:.2f}" in page
    assert f"and reaches {100 * of_ours:.2f}" in page
    ours = reported.mean(OURS, "letters", "auroc").mean
    separation = rows(page, "## Only reported: ResNet-44 and 56")
    assert f"{1e4 * reported.mean(OURS, WRONG, 'augrc').mean:.1f}" in separation["gradmeter, P(correct)"][1]
    chosen_on = rows(page, "## Settings were chosen on: ResNet-20 and 32")
    of_chosen = RealResults(tmp_path, range(6)).mean("MSP", WRONG, "auroc").mean
    assert f"{100 * of_chosen:.2f} / " in chosen_on["softmax (MSP)"][1]
    assert f"{100 * ours:.2f} / " in page
    assert "18 blocks" in page
    assert rows(page, "## Calibration")["TemperatureScaling"][1] == (
        f"{100 * reported.calibration('TemperatureScaling').ece:.2f}"
    )
    assert {"200 images", "1,000 images", "all"} <= rows(page, "## Few validation images").keys()
    assert {"default", *(f'reads="{reads}"' for reads in CONTROLLED_READS)} <= rows(page, "## What is read").keys()
    for depth in (20, 32, 44, 56):
        assert f"\n### ResNet-{depth}\n" in page
