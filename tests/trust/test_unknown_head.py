import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from gradmeter.errors import InputError
from gradmeter.trust.kind_shares import kind_log_odds
from gradmeter.trust.unknown_head import KNOWN, UnknownHead


def fitted(distances: np.ndarray, outputs: np.ndarray, unknown: np.ndarray) -> UnknownHead:
    """Fit to one kind of unknown inputs."""
    return UnknownHead().fit(distances, outputs, np.where(unknown, 0, KNOWN))


def ratio(head: UnknownHead, distances: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Return the log likelihood ratio of the only kind."""
    return head.log_ratios(distances, outputs)[:, 0]


def inputs(known: int, unknown: int, seed: int = 0, *, shift: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return distances and an output; unknown inputs have a larger first distance, by `shift`, and a smaller output."""
    random = np.random.default_rng(seed)
    is_unknown = np.repeat([False, True], [known, unknown])
    distances, outputs = random.normal(3, 1, (known + unknown, 2)), random.normal(0, 1, (known + unknown, 1))
    distances[:, 0] += shift * is_unknown
    outputs[:, 0] -= shift / 2 * is_unknown
    return distances, outputs, is_unknown


def test_it_is_the_log_likelihood_ratio() -> None:
    """The expected ratio is that of the normal distributions."""
    head = fitted(*inputs(40_000, 40_000))
    distances, outputs, _ = inputs(500, 500, seed=1)
    expected = norm.logpdf(distances[:, 0], 4) - norm.logpdf(distances[:, 0], 3)
    expected += norm.logpdf(outputs[:, 0], -0.5) - norm.logpdf(outputs[:, 0], 0)
    np.testing.assert_allclose(ratio(head, distances, outputs), expected, atol=0.1)


def test_it_does_not_depend_on_how_many_unknown_inputs_there_were() -> None:
    distances, outputs, unknown = inputs(2000, 2000)
    once = np.flatnonzero(~unknown)
    few = np.concatenate([once, np.flatnonzero(unknown)[:400]])
    ratios = [
        ratio(fitted(distances[rows], outputs[rows], unknown[rows]), distances, outputs)
        for rows in (np.arange(4000), few)
    ]
    np.testing.assert_allclose(*ratios, atol=0.35)
    assert abs(np.mean(ratios[0] - ratios[1])) < 0.1


def test_each_kind_has_a_ratio_of_its_own() -> None:
    """The ratio does not depend on the values or the number of the other kinds."""
    random = np.random.default_rng(4)
    known, far, near = random.normal(3, 1, (5000, 1)), random.normal(8, 1, (500, 1)), random.normal(3.5, 1, (5000, 1))
    kinds = np.repeat([KNOWN, 0, 7], [5000, 500, 5000])
    head = UnknownHead().fit(np.concatenate([known, far, near]), np.empty((10_500, 0)), kinds)
    at = np.linspace(2, 8, 7)[:, None]
    parts = [
        fitted(np.concatenate([known, kind]), np.empty((5000 + len(kind), 0)), np.arange(5000 + len(kind)) >= 5000)
        for kind in (far, near)
    ]
    expected = np.stack([ratio(part, at, np.empty((7, 0))) for part in parts], axis=1)
    ratios = head.log_ratios(at, np.empty((7, 0)))[:, :2]
    # Only the standardisation, and with it the penalty, depends on all kinds.
    np.testing.assert_allclose(ratios, expected, rtol=0.15, atol=0.1)
    assert ratios[-1, 0] > 4 > ratios[-1, 1]


def test_farther_inputs_are_never_more_likely_known() -> None:
    """This holds even if the unknown inputs in training were nearer, because future ones may differ."""
    distances, outputs, unknown = inputs(2000, 2000, shift=-1)
    head = fitted(distances, outputs, unknown)
    at, nothing = np.full((20, 2), 3.0), np.zeros((20, 1))
    farther = at + np.linspace(0, 5, 20)[:, None]
    assert (np.diff(ratio(head, farther, nothing)) >= 0).all()
    # The weight of an output may have either sign.
    assert (np.diff(ratio(head, at, np.linspace(0, 5, 20)[:, None])) > 0).all()
    assert (np.diff(ratio(fitted(*inputs(2000, 2000)), at, np.linspace(0, 5, 20)[:, None])) < 0).all()


@pytest.mark.parametrize("kinds", [1, 9, 10])
def test_with_few_kinds_no_output_calls_a_far_input_known(kinds: int) -> None:
    """A large output is a sign of known inputs here."""
    distances, outputs, unknown = inputs(500, 500)
    numbers = np.where(unknown, np.arange(1000) % kinds, KNOWN)
    head = UnknownHead().fit(distances, outputs, numbers)
    ratios = head.log_ratios(np.full((1, 2), 9.0), np.full((1, 1), 1000.0))
    assert ratios.shape == (1, kinds + (kinds < 10))
    assert (ratios.max() > 3) == (kinds < 10)


def test_few_known_inputs_give_no_steep_odds() -> None:
    distances, outputs, unknown = inputs(40, 40, shift=20)
    few = ratio(fitted(distances, outputs, unknown), distances, outputs)
    assert np.abs(few).max() < 8
    assert roc_auc_score(unknown, few) == 1
    many = ratio(fitted(*inputs(4000, 40, shift=20)), distances, outputs)
    assert np.abs(many).max() > 1.5 * np.abs(few).max()


def test_without_unknown_inputs_farther_inputs_are_less_known() -> None:
    distances, outputs, unknown = inputs(500, 0)
    head = fitted(distances, outputs, unknown)
    assert head.distances_only_
    steps = np.linspace(0, 5, 20)[:, None] + np.full((20, 2), 3.0)
    ratios = ratio(head, steps, np.zeros((20, 1)))
    assert (np.diff(ratios) > 0).all()
    # Outputs are not used: the signs of their weights are not known.
    assert np.array_equal(ratio(head, steps, RANDOM.normal(size=(20, 1))), ratios)
    assert ratios[0] < 0.2 < ratios[-1]


RANDOM = np.random.default_rng(5)


def test_with_unknown_inputs_the_outputs_are_used() -> None:
    distances, outputs, unknown = inputs(2000, 2000)
    head = fitted(distances, outputs, unknown)
    assert not head.distances_only_
    alone = fitted(distances, np.empty((4000, 0)), unknown)
    new = inputs(2000, 2000, seed=3)
    with_outputs = roc_auc_score(new[2], ratio(head, *new[:2]))
    assert with_outputs > roc_auc_score(new[2], ratio(alone, new[0], np.empty((4000, 0)))) + 0.02


@pytest.mark.parametrize("unknown", [0, 3])
def test_constant_columns(unknown: int) -> None:
    distances, outputs, is_unknown = inputs(60, unknown)
    distances[:, 1], outputs[:] = 2, 0.1
    ratios = ratio(fitted(distances, outputs, is_unknown), distances, outputs)
    assert np.isfinite(ratios).all()


def test_few_inputs_keep_no_kind_that_is_easy_to_tell_near_the_known_ones() -> None:
    """The known inputs lose 1 %; then P(known) of new inputs of an easy kind is near 0, and known ones keep theirs."""
    head = fitted(*inputs(200, 50, shift=5.0))
    distances, outputs, unknown = inputs(2000, 2000, seed=1, shift=5.0)
    ratios = ratio(head, distances, outputs)
    p_known = expit(-ratios - kind_log_odds(ratios[~unknown, None], 0.01))
    assert np.median(p_known[unknown]) < 0.001
    assert p_known[~unknown].mean() == pytest.approx(0.99, abs=0.003)


def test_the_strength_is_chosen_for_each_kind() -> None:
    """A kind that resembles the known inputs would get odds that are too steep."""
    random = np.random.default_rng(2)
    known, easy = random.normal(3, 1, (200, 8)), random.normal(6, 1, (50, 8))
    near = random.normal(3.1, 1, (50, 8))
    kinds = np.repeat([KNOWN, 0, 1], [200, 50, 50])
    head = UnknownHead().fit(np.concatenate([known, easy, near]), np.empty((300, 0)), kinds)
    assert head.factors_[0] > head.factors_[1] == 1


@pytest.mark.parametrize("known", [800, 4000])
def test_many_inputs_set_the_strength(known: int) -> None:
    assert fitted(*inputs(known, 100, shift=5.0)).factors_.tolist() == [1]


def test_given_factors_are_used() -> None:
    distances, outputs, unknown = inputs(200, 50, shift=5.0)
    kinds = np.where(unknown, 0, KNOWN)
    weak, strong = (UnknownHead(np.array([factor])).fit(distances, outputs, kinds) for factor in (0.1, 100.0))
    assert weak.factors_.tolist() == [0.1]
    assert np.linalg.norm(weak.coef_) < np.linalg.norm(strong.coef_) / 2


def test_inputs_that_a_network_does_not_tell_apart_are_refused() -> None:
    why = "traced or exported network, or in one that sorts the inputs of a batch, or they are the same for all inputs"
    with pytest.raises(InputError, match=why):
        UnknownHead().fit(np.empty((60, 0)), np.zeros((60, 1)), np.full(60, KNOWN))


def test_a_kind_of_very_few_inputs_keeps_the_smallest_strength() -> None:
    assert fitted(*inputs(200, 3, shift=5.0)).factors_.tolist() == [1]
