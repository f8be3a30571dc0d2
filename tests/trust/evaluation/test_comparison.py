from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, roc_auc_score

from gradmeter.errors import InputError
from gradmeter.trust.evaluation import (
    area_under_generalised_risk_coverage,
    area_under_risk_coverage,
    bootstrap,
    brier_score,
    comparison,
    excess_area_under_risk_coverage,
    expected_calibration_error,
    fpr_at_tpr,
    risk_at_coverage,
    separation,
)
from gradmeter.trust.evaluation.comparison import ALL, MEASURES, WRONG, Comparison, Judged, compare
from gradmeter.trust.evaluation.resampling import Interval

CALIBRATION = {"brier", "nll", "ece"}


def judged(known=400, unknown=(70, 50), digits=1, seed=0, names=("letters", "noise")):
    """Return predictions with two methods that give probabilities and one that does not; few digits make ties."""
    random = np.random.default_rng(seed)
    concept = np.repeat(np.arange(len(unknown) + 1), [known, *unknown])
    correct = (concept == 0) & (random.random(concept.size) < 0.8)
    signal = 1.5 * ~correct + 0.4 * concept

    def probability(noise):
        score = signal + noise * random.normal(size=concept.size)
        return (1 / (1 + np.exp(score - 1))).round(digits + 1).clip(0.01, 0.99)

    stated = {"ours": probability(0.8), "softmax": probability(1.6)}
    uncertainty = {name: -values for name, values in stated.items()}
    uncertainty["energy"] = (signal + random.normal(size=concept.size)).round(digits)
    return Judged(correct, concept, names, uncertainty, stated)


def oracle(predictions, column, method):
    """Compute all measures of a column with scikit-learn and the functions for single samples."""
    number = {name: number for number, name in enumerate(predictions.unknowns, start=1)}.get(column)
    known = predictions.concept == 0
    members = {WRONG: known & ~predictions.correct, ALL: ~predictions.correct}.get(
        column, predictions.concept == number
    )
    score = predictions.uncertainty[method]
    inside, outside = score[predictions.correct], score[members]
    compared = np.concatenate([inside, outside])
    is_outside = np.repeat([0, 1], [inside.size, outside.size])
    # Known inputs with a wrong prediction belong to the population of each concept.
    population = known | members
    chosen = score[population], ~predictions.correct[population]
    measures = {
        "auroc": roc_auc_score(is_outside, compared),
        "aupr_in": average_precision_score(1 - is_outside, -compared),
        "aupr_out": average_precision_score(is_outside, compared),
        "fpr95_right": fpr_at_tpr(inside, outside, positive="inside"),
        "fpr95_outside": fpr_at_tpr(inside, outside, positive="outside"),
        "aurc": area_under_risk_coverage(*chosen),
        "e_aurc": excess_area_under_risk_coverage(*chosen),
        "augrc": area_under_generalised_risk_coverage(*chosen),
        **{f"risk_{percent}": risk_at_coverage(*chosen, percent / 100) for percent in (80, 90, 95)},
    }
    if method in predictions.probability:
        stated, correct = predictions.probability[method][population], predictions.correct[population]
        measures |= {
            "brier": brier_score_loss(correct, stated),
            "nll": log_loss(correct, stated),
            "ece": expected_calibration_error(stated, correct),
        }
    return measures


# --- values


@pytest.mark.parametrize("digits", [0, 1, 12])
def test_values_are_those_of_the_right_samples(digits):
    predictions = judged(digits=digits)
    comparison = compare(predictions, repetitions=1)
    expected = {
        (measure, column, method): value
        for column in (WRONG, "letters", "noise", ALL)
        for method in predictions.uncertainty
        for measure, value in oracle(predictions, column, method).items()
    }
    assert {measure for measure, _, _ in expected} == set(MEASURES)
    assert {key: estimate.value for key, estimate in comparison.estimates.items()} == pytest.approx(expected, abs=1e-12)


def test_differences_are_those_of_the_first_method_to_each_other():
    comparison = compare(judged(), repetitions=1)
    assert {key: gain.value for key, gain in comparison.differences.items()} == {
        (measure, column, other): comparison.estimates[measure, column, "ours"].value - estimate.value
        for (measure, column, other), estimate in comparison.estimates.items()
        if other != "ours"
    }


def test_only_probabilities_are_compared_in_calibration():
    predictions = judged()
    comparison = compare(
        replace(predictions, probability={"softmax": predictions.probability["softmax"]}), repetitions=1
    )
    assert {method for measure, _, method in comparison.estimates if measure in CALIBRATION} == {"softmax"}
    assert not CALIBRATION & {measure for measure, _, _ in comparison.differences}


def test_columns_without_samples_are_left_out():
    def columns(predictions):
        return list(dict.fromkeys(column for _, column, _ in compare(predictions, repetitions=2).estimates))

    predictions = judged(unknown=(70,), names=("letters", "nothing"))
    assert columns(predictions) == [WRONG, "letters", ALL]
    assert columns(judged(unknown=(), names=("nothing",))) == [WRONG]
    assert columns(replace(predictions, correct=predictions.concept == 0)) == ["letters"]


def test_a_certain_error_has_a_finite_likelihood():
    predictions = judged()
    comparison = compare(replace(predictions, probability={"ours": np.ones(predictions.correct.size)}), repetitions=20)
    nll = comparison.estimates["nll", WRONG, "ours"]
    assert nll.value == pytest.approx(-np.log(np.finfo(float).eps / 2) * predictions.wrong.sum() / 400)
    assert np.isfinite([nll.low, nll.high]).all()


# --- intervals


@pytest.mark.slow
def test_intervals_are_those_of_the_bootstrap():
    """Interval ends of 1,000 resamples vary by 0.085 standard deviations, a fiftieth of the interval's width."""
    predictions = judged()
    comparison = compare(predictions)
    known, letters = predictions.concept == 0, predictions.concept == 1
    rows = np.stack([*predictions.uncertainty.values(), predictions.correct], axis=1)

    def auroc(method):
        return lambda inside, outside: separation(inside[inside[:, 3] == 1, method], outside[:, method]).auroc

    def aurc(inside, outside):
        both = np.concatenate([inside, outside])
        return area_under_risk_coverage(both[:, 0], both[:, 3] == 0)

    groups = rows[known], rows[letters]
    expected = [
        (comparison.estimates["auroc", "letters", "ours"], bootstrap(auroc(0), *groups, seed=1)),
        (comparison.estimates["aurc", "letters", "ours"], bootstrap(aurc, *groups, seed=1)),
        (
            comparison.estimates["brier", WRONG, "ours"],
            bootstrap(lambda known: brier_score(-known[:, 0], known[:, 3] == 1), rows[known], seed=1),
        ),
        (
            comparison.differences["auroc", "letters", "energy"],
            bootstrap(lambda *both: auroc(0)(*both) - auroc(2)(*both), *groups, seed=1),
        ),
    ]
    for ours, reference in expected:
        assert ours.value == pytest.approx(reference.value, abs=1e-12)
        near = (reference.high - reference.low) / 10
        assert (ours.low, ours.high) == (
            pytest.approx(reference.low, abs=near),
            pytest.approx(reference.high, abs=near),
        )


def of_network(predictions, name, seed):
    """Return predictions of another network for the same inputs, with one method."""
    random = np.random.default_rng(seed)
    correct = (predictions.concept == 0) & (random.random(predictions.concept.size) < 0.7)
    stated = {name: random.beta(5, 1, correct.size) ** np.where(correct, 1, 3)}
    return Judged(correct, predictions.concept, predictions.unknowns, {name: -stated[name]}, stated)


def test_no_error_is_no_proof_that_there_are_none():
    """No resample has an error either; Clopper and Pearson's interval of no error among so many is that of SciPy."""
    correct, concept = np.ones(500, bool), np.repeat([0, 1], [450, 50])
    correct[:20] = correct[450:] = False
    contents = np.concatenate([np.arange(400), np.full(50, 399), np.arange(400, 450)])
    score = np.where(correct, 0.0, 1.0)
    predictions = Judged(correct, concept, ("noise",), {"ours": score}, {}, contents.astype(np.uint64))
    estimates = compare(predictions, repetitions=20).estimates
    for column, inputs in ((WRONG, 400), ("noise", 450), (ALL, 450)):
        risk = estimates["risk_80", column, "ours"]
        assert (risk.value, risk.low) == (0, 0)
        assert risk.high == pytest.approx(stats.binomtest(0, inputs * 8 // 10).proportion_ci().high)
        smaller = stats.binomtest(0, {WRONG: 20, "noise": 50, ALL: 70}[column]).proportion_ci()
        for measure, ends in (
            ("auroc", (1 - smaller.high, 1)),
            ("aupr_out", (1 - smaller.high, 1)),
            ("fpr95_right", (0, smaller.high)),
        ):
            estimate = estimates[measure, column, "ours"]
            assert (estimate.low, estimate.high) == pytest.approx(ends)
    assert estimates["risk_90", "noise", "ours"].value > 0


def test_a_difference_of_two_shares_of_0_or_1_is_not_certain():
    """Resamples of predictions that are all ranked right, or all wrong, have no spread."""
    correct = np.repeat([True, False], [40, 20])
    scores = {
        "right": np.where(correct, 0.0, 1.0),
        "also": np.where(correct, 0.0, 2.0),
        "wrong": np.where(correct, 1.0, 0.0),
    }
    predictions = Judged(correct, np.zeros(60, np.int64), (), scores, {})
    result = compare(predictions, repetitions=20)
    room = stats.binomtest(0, 20).proportion_ci().high
    for measure in ("auroc", "fpr95_right", "fpr95_outside"):
        worst = 0.0 if measure == "auroc" else 1.0
        estimate = result.estimates[measure, WRONG, "wrong"]
        ends = (0, room) if worst == 0 else (1 - room, 1)
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((worst, *ends))
        equal = result.differences[measure, WRONG, "also"]
        assert (equal.value, equal.low, equal.high) == pytest.approx((0, -room, room))
        largest = result.differences[measure, WRONG, "wrong"]
        ends = (1 - room, 1) if measure == "auroc" else (-1, room - 1)
        assert (largest.low, largest.high) == pytest.approx(ends)


def test_another_network_is_right_for_other_inputs():
    """The values are those of each network alone, the differences those of the same resamples."""
    first, second = (of_network(judged(), name, seed) for seed, name in enumerate(("first", "second")))
    result = compare(first, second, repetitions=50)
    for alone in (first, second):
        for key, interval in compare(alone, repetitions=50).estimates.items():
            assert result.estimates[key] == interval
    assert {other for _, _, other in result.differences} == {"second"}
    random = np.random.default_rng(0)
    groups = [np.flatnonzero(first.concept == number) for number in range(3)]
    draws = []
    for _ in range(50):
        rows = np.concatenate([group[random.integers(group.size, size=group.size)] for group in groups])
        draws.append(
            [
                roc_auc_score(~part.correct[rows], uncertainty[rows])
                for part in (first, second)
                for uncertainty in part.uncertainty.values()
            ]
        )
    count = min(np.bincount(part.correct).min() for part in (first, second))
    tail = stats.norm.cdf(stats.t.ppf(0.025, count - 1) * np.sqrt(count / (count - 1)))
    expected = np.quantile(np.subtract(*np.transpose(draws)), (tail, 1 - tail))
    difference = result.differences["auroc", ALL, "second"]
    assert (difference.low, difference.high) == pytest.approx(tuple(expected), abs=1e-12)
    assert difference.value == pytest.approx(
        roc_auc_score(~first.correct, first.uncertainty["first"])
        - roc_auc_score(~second.correct, second.uncertainty["second"])
    )


def test_other_networks_must_have_seen_the_same_inputs():
    first = of_network(judged(), "first", 0)
    with pytest.raises(InputError, match="concepts"):
        compare(first, of_network(judged(known=300), "second", 1))
    with pytest.raises(InputError, match="first, first"):
        compare(first, of_network(judged(), "first", 1))


@pytest.mark.slow
def test_intervals_cover_the_true_difference_with_the_stated_confidence():
    random, held = np.random.default_rng(0), 0
    truth = stats.norm.cdf(1.5 / np.sqrt(2)) - stats.norm.cdf(1 / np.sqrt(2))
    for _ in range(100):
        wrong = random.random(200) < 0.3
        shared = random.normal(size=200)
        scores = {
            name: distance * wrong + (shared + random.normal(size=200)) / np.sqrt(2)
            for name, distance in (("ours", 1.5), ("other", 1))
        }
        predictions = Judged(~wrong, np.zeros(200, np.int64), (), scores, {})
        gain = compare(predictions, repetitions=100).differences["auroc", WRONG, "other"]
        held += gain.low <= truth <= gain.high
    # 95 of 100 are expected, with a standard deviation of 2.2.
    assert 89 <= held < 100


def test_the_intervals_of_a_calibration_error_allow_for_its_bias():
    """P(correct) is 5 points too high; the error of 200 predictions is higher on average."""
    random, holds = np.random.default_rng(0), []
    for _ in range(60):
        probability = 0.1 + 0.9 * random.beta(6, 0.6, 200)
        correct = random.random(200) < probability - 0.05
        predictions = Judged(correct, np.zeros(200, np.int64), (), {"ours": -probability}, {"ours": probability})
        error = compare(predictions, repetitions=100).estimates["ece", WRONG, "ours"]
        assert 0 <= error.low <= error.value <= error.high
        holds.append(error.low <= 0.05 <= error.high)
    assert np.mean(holds) > 0.85


def test_each_concept_is_resampled_separately():
    """With joint resampling, the shares of the concepts would vary, and with them the means over all concepts."""
    concept = np.repeat([0, 1, 2], [40, 30, 20])
    stated = np.choose(concept, [1.0, 0.5, 0.75])
    predictions = Judged(concept == 0, concept, ("letters", "noise"), {"ours": -stated}, {"ours": stated})
    brier = compare(predictions, repetitions=50).estimates["brier", ALL, "ours"]
    assert brier.value == pytest.approx((30 * 0.25 + 20 * 0.5625) / 90)
    assert (brier.low, brier.high) == (pytest.approx(brier.value), pytest.approx(brier.value))


def test_wider_confidence_and_more_samples():
    def width(*sizes, **options):
        interval = compare(judged(*sizes), repetitions=150, **options).estimates["auroc", ALL, "ours"]
        return interval.high - interval.low

    usual = width()
    assert width(confidence=0.5) < 0.5 * usual
    assert width(1600, (280, 200)) < 0.7 * usual


def test_resamples_without_a_column_are_left_out():
    correct = np.ones(30, bool)
    correct[[3, 4]] = False
    predictions = Judged(correct, np.zeros(30, np.int64), (), {"ours": np.arange(30.0)}, {})
    interval = compare(predictions, repetitions=100).estimates["auroc", WRONG, "ours"]
    # 3 of 28 right predictions have a lower uncertainty.
    assert interval.value == pytest.approx(3 / 28)
    assert 0 <= interval.low < interval.value < interval.high < 0.4


def test_ties_only():
    predictions = judged()
    comparison = compare(
        replace(predictions, uncertainty={"ours": np.full(predictions.correct.size, 2.0)}), repetitions=20
    )
    assert {comparison.estimates["auroc", column, "ours"] for column in predictions.columns()} == {
        Interval(0.5, 0.5, 0.5)
    }


def test_many_thresholds_are_merged_for_the_intervals_only(monkeypatch):
    predictions = judged(2000, (300, 200), digits=12)
    fine = compare(predictions, repetitions=100)
    monkeypatch.setattr(comparison, "_THRESHOLDS", 1000)
    coarse = compare(predictions, repetitions=100)
    for kind in ("estimates", "differences"):
        for key, expected in getattr(fine, kind).items():
            interval = getattr(coarse, kind)[key]
            assert interval.value == expected.value
            # These measures depend on a single threshold, which may accept one of 400 wrong samples more or less.
            near = 0.02 * (expected.high - expected.low) + 0.003 * key[0].startswith(("fpr", "risk"))
            assert interval.low == pytest.approx(expected.low, abs=near), key
            assert interval.high == pytest.approx(expected.high, abs=near), key
    monkeypatch.setattr(comparison, "_THRESHOLDS", 2)
    coarsest = compare(predictions, repetitions=100)
    assert coarsest.estimates["auroc", WRONG, "ours"].value == fine.estimates["auroc", WRONG, "ours"].value
    assert coarsest.estimates["auroc", WRONG, "ours"].high < fine.estimates["auroc", WRONG, "ours"].low


def test_the_intervals_of_a_small_group_among_many_samples_hold_its_values():
    # On average, ten samples share a threshold; there are fewer unknown ones.
    random = np.random.default_rng(0)
    concept = np.repeat([0, 1], [200_000, 4])
    scores = {"ours": random.random(concept.size) + concept}
    comparison = compare(Judged(concept == 0, concept, ("noise",), scores, {}), repetitions=20)
    expected = {"auroc": 1.0, "aupr_in": 1.0, "aupr_out": 1.0, "fpr95_right": 0.0, "fpr95_outside": 0.0}
    for measure, value in expected.items():
        interval = comparison.estimates[measure, "noise", "ours"]
        resampled = interval.high if value else interval.low  # the other end is that of no error in four trials
        assert [interval.value, resampled] == pytest.approx([value] * 2, abs=1e-12), measure


def test_results_depend_on_the_seed_and_progress_is_reported():
    steps = []
    first = compare(judged(), repetitions=30, seed=3, on_progress=steps.append)
    assert steps == [1] * 30
    again, other = (compare(judged(), repetitions=30, seed=seed) for seed in (3, 4))
    assert first.estimates == again.estimates
    assert first.differences == again.differences
    assert first.confidence == 0.95
    assert first.estimates != other.estimates


# --- verdicts


def test_a_method_against_itself():
    predictions = judged()
    comparison = compare(
        replace(
            predictions,
            uncertainty={"ours": predictions.uncertainty["ours"], "same": predictions.uncertainty["ours"].copy()},
            probability={"ours": predictions.probability["ours"], "same": predictions.probability["ours"].copy()},
        ),
        repetitions=50,
    )
    assert len(comparison.differences) == 4 * len(MEASURES)
    assert set(comparison.differences.values()) == {Interval(0.0, 0.0, 0.0)}
    assert {comparison.verdict(*key) for key in comparison.differences} == {"no different"}


def test_rounding_is_no_difference():
    # Both methods are perfect; sums over one threshold and over many differ by rounding.
    random = np.random.default_rng(0)
    correct = np.repeat([True, False], [3000, 300])
    scores = {"ours": random.random(3300) + ~correct, "ties": 1.0 - correct}
    comparison = compare(Judged(correct, np.zeros(3300, np.int64), (), scores, {}), repetitions=100)
    for measure in ("auroc", "aupr_in", "aupr_out", "augrc"):
        difference = comparison.differences[measure, WRONG, "ties"]
        room = 0.0 if measure == "augrc" else 1 - comparison.estimates[measure, WRONG, "ours"].low
        assert difference == Interval(0.0, -room, room)


def test_copies_of_inputs_add_no_evidence():
    predictions = judged(known=200, unknown=(60,), names=("letters",), digits=6)
    rows = np.repeat(np.arange(260), 4)
    fields = {name: getattr(predictions, name)[rows] for name in ("correct", "concept")}
    for name in ("uncertainty", "probability"):
        fields[name] = {method: values[rows] for method, values in getattr(predictions, name).items()}
    once = compare(predictions, repetitions=50)
    copied = compare(replace(predictions, **fields, contents=rows.astype("u8")), repetitions=50)
    for measure, column, method in once.estimates:
        if measure in ("auroc", "fpr95_right", "brier", "nll"):
            expected, interval = (part.estimates[measure, column, method] for part in (once, copied))
            assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    with pytest.raises(InputError, match="contents: expected 260"):
        replace(predictions, contents=np.arange(3, dtype=np.uint64))


def test_predictions_of_different_folds_are_not_compared():
    random = np.random.default_rng(0)
    correct = random.random(600) < 0.8
    folds = random.integers(3, size=600)
    score = random.normal(size=600) + 1.5 * ~correct
    # Another classifier has judged each fold, and its scores have another level.
    predictions = Judged(correct, np.zeros(600, np.int64), (), {"ours": score + 2 * folds, "softmax": score}, {})
    assert compare(predictions, repetitions=100).verdict("auroc", WRONG, "softmax") == "worse"
    comparison = compare(replace(predictions, folds=folds), repetitions=100)
    assert comparison.differences["auroc", WRONG, "softmax"] == Interval(0.0, 0.0, 0.0)
    pairs = [np.count_nonzero(correct[folds == fold]) * np.count_nonzero(~correct[folds == fold]) for fold in range(3)]
    areas = [roc_auc_score(~correct[folds == fold], score[folds == fold]) for fold in range(3)]
    assert comparison.estimates["auroc", WRONG, "ours"].value == pytest.approx(np.average(areas, weights=pairs))
    with pytest.raises(InputError, match="folds: expected 600"):
        replace(predictions, folds=folds[1:])


def test_columns_are_in_their_order_also_if_the_first_fold_has_no_wrong_predictions():
    predictions = judged()
    folds = np.arange(520) % 2
    folds[predictions.wrong] = 1
    comparison = compare(replace(predictions, folds=folds), repetitions=2)
    assert list(dict.fromkeys(column for _, column, _ in comparison.estimates)) == [*predictions.columns()]
    assert list(dict.fromkeys(method for _, _, method in comparison.estimates)) == [*predictions.uncertainty]


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("errors", [1, 2, 9, 10])
def test_few_errors_show_no_difference(errors, repeated):
    wrong = np.repeat([True, False], [errors, 90])
    scores = {"ours": wrong + np.linspace(0, 0.5, len(wrong)), "other": np.zeros(len(wrong))}
    inputs = np.arange(len(wrong), dtype=np.uint64)
    if repeated:  # copies add no evidence
        wrong, inputs = np.tile(wrong, 3), np.tile(inputs, 3)
        scores = {name: np.tile(of_method, 3) for name, of_method in scores.items()}
    known = np.zeros(len(wrong), np.int64)
    comparison = compare(Judged(~wrong, known, (), scores, {}, inputs), repetitions=40)
    # One wrong prediction has no interval: resampling would vary the right ones alone. Of two that rank right, a third
    # may not.
    assert comparison.differences["auroc", WRONG, "other"].excludes_zero == (errors > 2)
    assert comparison.verdict("auroc", WRONG, "other") == ("better" if errors >= 10 else "no different")
    assert comparison.few == ({} if errors >= 10 else {WRONG: errors})


@pytest.mark.parametrize("measure", ["auroc", "aupr_out", "fpr95_right", "aurc", "augrc"])
def test_verdicts(measure):
    random = np.random.default_rng(0)
    correct = random.random(1000) < 0.7
    score = {
        name: 1.5 * ~correct + noise * random.normal(size=1000)
        for name, noise in (("ours", 1), ("bad", 3), ("good", 0.3), ("alike", 1))
    }
    comparison = compare(Judged(correct, np.zeros(1000, np.int64), (), score, {}), repetitions=200)
    verdicts = {other: comparison.verdict(measure, WRONG, other) for other in ("bad", "good", "alike")}
    assert verdicts == {"bad": "better", "good": "worse", "alike": "no different"}


@pytest.mark.parametrize(
    ("low", "high", "higher", "lower"),
    [
        (0.1, 0.3, "better", "worse"),
        (-0.3, -0.1, "worse", "better"),
        (-0.1, 0.1, "no different", "no different"),
        (0.0, 0.1, "no different", "no different"),
        (np.nan, np.nan, "no different", "no different"),
    ],
)
def test_verdicts_of_intervals(low, high, higher, lower):
    keys = [("auroc", WRONG, "other"), ("aurc", WRONG, "other")]
    comparison = Comparison({}, dict.fromkeys(keys, Interval((low + high) / 2, low, high)), 0.95)
    assert [comparison.verdict(*key) for key in keys] == [higher, lower]


def test_the_direction_of_each_measure_is_right():
    """Compare the order with all errors last to the order with all errors first."""
    correct = np.arange(100) < 80
    stated = np.where(correct, 0.8, 0.0) + np.linspace(0, 0.2, 100)
    scores = {"ours": -stated, "worst": stated}
    comparison = compare(
        Judged(correct, np.zeros(100, np.int64), (), scores, {"ours": stated, "worst": 1 - stated}), repetitions=20
    )
    assert {comparison.verdict(measure, WRONG, "worst") for measure in MEASURES} == {"better"}


def test_the_comparison_is_empty_if_all_predictions_are_right():
    right = replace(judged(), correct=np.ones(520, bool), concept=np.zeros(520, int))
    assert right.columns() == {}
    comparison = compare(right, repetitions=20)
    assert (comparison.estimates, comparison.differences) == ({}, {})


# --- errors


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"uncertainty": {"ours": np.zeros(519)}}, r"ours.*\b520\b.*\b519\b"),
        ({"probability": {"ours": np.zeros((520, 1))}}, r"ours.*\(520, 1\)"),
        ({"uncertainty": {"ours": np.full(520, np.nan)}}, r"ours.*\b520\b"),
        ({"concept": np.zeros(519, int)}, r"concept.*\b0 to 2\b"),
        ({"concept": np.full(520, 3)}, r"concept.*\b0 to 2\b"),
        ({"correct": np.zeros(520, bool)}, r"\b520\b"),
        ({"correct": np.ones(520, bool)}, "correct"),
        ({"correct": np.ones(520, int)}, r"correct.*int64.*\(520,\)"),
        ({"uncertainty": {}}, "uncertainty"),
        ({"unknowns": ("noise", "noise")}, "noise, noise"),
        ({"unknowns": ("noise", WRONG)}, "noise, wrong"),
        ({"unknowns": (ALL, "noise")}, "wrong or unknown, noise"),
    ],
)
def test_bad_predictions(fields, message):
    predictions = judged()
    with pytest.raises(InputError, match=message):
        replace(predictions, **fields)


@pytest.mark.parametrize("confidence", [0, 1, -0.1, 95, float("nan")])
def test_bad_confidence(confidence):
    with pytest.raises(InputError, match="confidence"):
        compare(judged(), confidence=confidence)


def test_bad_probabilities():
    predictions = judged()
    with pytest.raises(InputError, match=r"probability.*\b2 to 2\b"):
        compare(replace(predictions, probability={"ours": np.full(520, 2.0)}))
