from pathlib import Path

import numpy as np
import pytest

from gradmeter.report import figures
from gradmeter.research.study import illustrations
from gradmeter.research.study.classifiers import tasks
from gradmeter.research.study.data import Draw
from gradmeter.research.study.data.collection import PAPER_NAMES
from gradmeter.research.study.illustrations import illustrate
from gradmeter.research.study.judging import fit_regressions
from gradmeter.research.study.outcome import Outcome
from gradmeter.research.study.report.results import FIGURES
from gradmeter.trust import neural
from gradmeter.trust.neural import train_networks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def drawn(outcome: Outcome, draw: Draw, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    """Return the folder of the figures, and the first argument of each figure by its name."""
    given: dict[str, object] = {}
    folder = tmp_path_factory.mktemp("figures")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neural, "_MAX_EPOCHS", 2)
        for name in ("gallery", "violins", "roc", "precision_recall", "risk_coverage", "stress"):
            draws = getattr(figures, name)
            patch.setattr(
                illustrations.figures,
                name,
                lambda data, *rest, draws=draws, name=name, **options: (
                    given.update({name: data}),
                    draws(data, *rest, **options),
                )[1],
            )
        fitted = fit_regressions(outcome, whole_gradient=False, on_fit=lambda name, share: None)
        bank = train_networks([task.meta_data(outcome, whole_gradient=False) for task in tasks(outcome)], 1, seed=0)
        illustrate(folder, draw, outcome, fitted, bank, PAPER_NAMES, whole_gradient=False)
    return folder, given


def test_every_figure_is_written_for_both_screens_and_in_both_formats(drawn: tuple[Path, dict[str, object]]) -> None:
    assert {path.name for path in drawn[0].iterdir()} == {
        f"{stem}{screen}.{end}" for stem in FIGURES for screen in ("", "-narrow") for end in ("svg", "png")
    }


def test_the_gallery_shows_every_concept(drawn: tuple[Path, dict[str, object]], draw: Draw) -> None:
    gallery = drawn[1]["gallery"]
    assert isinstance(gallery, dict)
    assert list(gallery) == ["EMNIST digits", "EMNIST letters", "CIFAR-10", "uniform noise"]
    np.testing.assert_array_equal(gallery["CIFAR-10"], draw.unknowns["cifar10"].to_tensor()[:12, 0].numpy())


def test_violins_show_the_minimum_with_its_own_sign(drawn: tuple[Path, dict[str, object]], outcome: Outcome) -> None:
    violins = drawn[1]["violins"]
    assert isinstance(violins, dict)
    assert list(violins) == ["Entropy", "Euclidean norm", "Minimum"]
    assert list(violins["Minimum"]) == ["correct", "wrong", "letters", "cifar10", "uniform"]
    minimum = outcome.test["all", "min"].numpy()
    np.testing.assert_array_equal(violins["Minimum"]["wrong"], minimum[outcome.test_wrong])
    assert len(violins["Entropy"]["correct"]) == (~outcome.test_wrong).sum()


def test_curves_cover_every_column_and_the_available_scores(drawn: tuple[Path, dict[str, object]]) -> None:
    for name in ("roc", "precision_recall"):
        panels = drawn[1][name]
        assert isinstance(panels, dict)
        assert list(panels) == ["Wrongly classified", "EMNIST letters", "CIFAR-10", "uniform noise", "All unknown"]
        # NN (d) needs Omniglot, which this run does not have.
        for curves in panels.values():
            assert list(curves) == ["Softmax baseline", "Entropy", "Euclidean norm", "LASSO"]


def test_risk_ends_at_the_test_error(drawn: tuple[Path, dict[str, object]], outcome: Outcome) -> None:
    risks = drawn[1]["risk_coverage"]
    assert isinstance(risks, dict)
    for coverage, risk in risks.values():
        assert coverage[-1] == 1
        assert risk[-1] == pytest.approx(outcome.test_wrong.mean())


def test_stress_shows_the_extremes_of_the_euclidean_norm(
    drawn: tuple[Path, dict[str, object]], outcome: Outcome, draw: Draw
) -> None:
    rows = drawn[1]["stress"]
    assert isinstance(rows, list)
    assert len(rows) == 4
    norms = outcome.test["all", "l2"].numpy()
    images = draw.test.to_tensor()[:, 0].numpy()
    np.testing.assert_array_equal(rows[0].least[0], images[norms.argmin()])
    np.testing.assert_array_equal(rows[0].most[0], images[norms.argmax()])
    assert rows[0].most_labels[0] == outcome.test.predictions[norms.argmax()]
