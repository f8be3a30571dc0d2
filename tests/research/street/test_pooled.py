import re

import numpy as np
import pytest
from sklearn.metrics import r2_score

from gradmeter.research.street.pooled import Pooled, Resampling
from gradmeter.research.street.segments import R2, Regressed
from gradmeter.research.street.tables import bold_gain
from gradmeter.trust.evaluation.binned import AUROC, GroupedScores, Histograms, ScoreCounts


def histograms(seed: int, shift: float, blocks: int = 12) -> Histograms:
    random, counts = np.random.default_rng(seed), GroupedScores()
    for block in range(blocks):
        outside = random.random(200) < 0.3
        counts.add(block, ScoreCounts.of(shift * outside + random.normal(size=200), outside))
    return counts.histograms()


def test_r2_is_scikit_learn_s() -> None:
    random = np.random.default_rng(0)
    target, group = random.random(300), np.repeat(np.arange(6), 50)
    predicted = target + random.normal(0, 0.2, 300)
    regressed = Regressed.of(target, predicted, group)
    assert regressed.measures()[R2][0] == pytest.approx(r2_score(target, predicted))
    weights = np.array([[2, 0, 1, 0, 0, 3.0]])
    rows = np.repeat(np.arange(300), weights[0].astype(int)[group])
    assert regressed.measures(weights)[R2][0] == pytest.approx(r2_score(target[rows], predicted[rows]))
    with np.errstate(all="raise"):
        assert np.isnan(regressed.measures(np.zeros((1, 6)))[R2][0])


def test_values_are_means_over_networks_and_gains_are_paired() -> None:
    networks = [{"good": histograms(seed, 2.0), "poor": histograms(seed, 1.0)} for seed in range(3)]
    pooled = Pooled(networks, Resampling.draw(12, 3))
    of_networks = pooled.of_networks(AUROC, "good")
    assert of_networks == [network["good"].measures()[AUROC][0] for network in networks]
    gain = pooled.gain(AUROC, "good", "poor")
    differences = np.subtract(of_networks, pooled.of_networks(AUROC, "poor"))
    assert gain.value == pytest.approx(differences.mean())
    assert gain.low < gain.value < gain.high
    assert (gain.ahead, gain.verdict) == (3, "adds")
    # The same noise is in both scores, so the interval of the difference is far smaller than that of a score.
    assert gain.high - gain.low < 0.03
    same = pooled.gain(AUROC, "good", "good")
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_the_interval_covers_scenes_and_networks() -> None:
    """Compare it with the standard error of means over blocks, and with the spread over networks."""
    shifts = (0.5, 1.0, 2.5)
    networks = [{"a": histograms(seed, shift), "b": histograms(9, 0.0)} for seed, shift in enumerate(shifts)]
    both = Pooled(networks, Resampling.draw(12, 3)).gain(AUROC, "a", "b")
    resampling = Resampling.draw(12, 3)
    fixed = Resampling(resampling.blocks, np.ones_like(resampling.networks))
    scenes = Pooled(networks, fixed).gain(AUROC, "a", "b")
    assert both.high - both.low > 2 * (scenes.high - scenes.low)


def test_resamples_are_as_large_as_the_original() -> None:
    resampling = Resampling.draw(30, 3, repetitions=2000)
    assert (resampling.blocks.sum(axis=1) == 30).all()
    assert (resampling.networks.sum(axis=1) == 3).all()
    assert resampling.blocks.mean(axis=0) == pytest.approx(1, abs=0.1)


def one_kind_in(count: int, blocks: int = 12) -> Histograms:
    """Return histograms whose first blocks alone have samples outside."""
    whole = histograms(0, 1.0, blocks)
    return Histograms(whole.inside, whole.outside * (np.arange(blocks) < count)[:, None])


def test_a_gain_has_no_interval_if_many_resamples_lack_one_kind() -> None:
    """An interval of NaN excludes nothing."""
    for blocks, verdict, text in ((1, "no interval", r"\+\d.*\(no interval\)"), (6, "does not", r"\+\d.* \[.*\d\]")):
        counts = one_kind_in(blocks)
        turned = Histograms(counts.inside[:, ::-1], counts.outside[:, ::-1])
        pooled = Pooled([{"good": counts, "poor": turned if blocks == 1 else counts}], Resampling.draw(12, 1))
        gain = pooled.gain(AUROC, "good", "poor")
        assert gain.verdict == verdict
        assert np.isnan(gain.low) == (blocks == 1)
        assert re.fullmatch(text, bold_gain(gain))
