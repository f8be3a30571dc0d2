"""Given labels as draws from a calibrated classifier's classes, some of which are replaced by wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit, logsumexp, softmax

from gradmeter.stages import stage
from gradmeter.trust.labels.inputs import Labels, Values

# The inverse temperature of a lone expert is about 1: standard deviation of its logarithm; a larger one where the
# calibration may be bent, and the scale of the weights of the curves that bend it.
_TEMPERATURE, _ANY_TEMPERATURE, _BENDING = 0.5, 1.0, 0.5
# Standard deviation of the log odds of shares, other than the rate, around even odds. Few foreign samples are as likely
# as any number: that the network predicts no class without labels must not speak for a rate of 0, where there are none.
_SHARES = 3.0
_SEARCH = {"maxiter": 200, "ftol": 1e-9, "gtol": 1e-6}
# Shares of wrong labels that the search starts from; the best result counts.
_STARTS = (0.03, 0.4)
# The shares of unlabelled and rare classes are first estimated with the probabilities as they are, and then this often
# with the fitted temperature.
_ROUNDS = 4
# Entries of the arrays [rows, C] that are computed together: they stay in the processor's cache.
_ENTRIES = 2**16
_TINY = 1e-9
# The curve that bends margins up doubles one of this size.
_LARGE_MARGIN = 10.0
_LEAST = 1e-300


@dataclass(frozen=True, eq=False)
class Classes:
    """What is known of C classes before the fit.

    Attributes:
        confusion: [C, C] probability that a wrong label of a sample of class t (a row) is class g, if it is one that
            the network confuses with t; 0 on the diagonal and for classes without labels.
        labelled: [C] whether a class occurs as a label.
        foreign: [C] whether no sample should be of the class: it has no label.
        rare: [C] whether far fewer samples than a C-th have this label, but some.
        shares: [C] share of each class, for experts that take all classes to be as likely; None for experts that know
            the shares.
    """

    confusion: Values
    labelled: NDArray[np.bool_]
    foreign: NDArray[np.bool_]
    rare: NDArray[np.bool_]
    shares: Values | None = None

    @property
    def log_shares(self) -> Values:
        """[C] logarithms of the shares, or zeros for experts that know them."""
        return np.zeros(len(self.labelled)) if self.shares is None else np.log(self.shares)

    @property
    def others(self) -> int:
        """The number of wrong labels that a sample of a labelled class can have."""
        return max(int(self.labelled.sum()) - 1, 1)

    @property
    def groups(self) -> NDArray[np.float64]:
        """[C, 3] whether a class is foreign, rare, or neither."""
        return np.stack([self.foreign, self.rare, ~(self.foreign | self.rare)], axis=1).astype(np.float64)


@dataclass(frozen=True, eq=False)
class NoiseModel:
    """A fitted model of given labels.

    The class t of a sample has the probability p(t) = softmax(sum of weights times experts), corrected for the shares
    of classes that differ from those where the network learned (Saerens, Latinne and Decaestecker 2002). Its label is
    wrong with some probability; then it is any other class, or with probability `confused` one that the network
    confuses with t. Samples of foreign classes always have a wrong label.

    Attributes:
        classes: see `Classes`.
        weights: [K] of the experts.
        rate: share of wrong labels.
        confused: share of the wrong labels that follow the network's confusion.
        rare: share of the rare classes among samples that are not foreign.
        foreign: share of the foreign samples among those with a wrong label.
        loss: negative log likelihood with the priors.
    """

    classes: Classes
    weights: Values
    rate: float
    confused: float
    rare: float
    foreign: float
    loss: float

    def log_odds(self, experts: Sequence[Values], labels: Labels) -> Values:
        """Return the log odds [n] that labels are wrong.

        Args:
            experts: [n, C] each, log evidence for every class.
            labels: [n] labels that occur.
        """
        at = np.arange(len(labels))
        shares = _Shares(self.classes, self.rate, self.rare, self.foreign)
        logits = sum(weight * expert for weight, expert in zip(self.weights, experts, strict=True))
        logits = logits + self.classes.log_shares + self.classes.groups @ np.log(shares.ratios)
        given = logits[at, labels].copy()
        wrong = np.where(self.classes.foreign, 0.0, np.log(shares.wrong))
        logits = logits + wrong
        logits[at, labels] = -np.inf
        with np.errstate(divide="ignore"):
            confused = logsumexp(logits + np.log(self.classes.confusion[:, labels].T), axis=1)
        any_other = logsumexp(logits, axis=1) - np.log(self.classes.others)
        odds: Values = (
            np.logaddexp(np.log1p(-self.confused) + any_other, np.log(self.confused) + confused)
            - given
            - np.log1p(-shares.wrong)
        )
        return odds


class _Shares:
    """Shares of groups of classes, by the rate, the share of rare classes and that of foreign ones.

    Attributes:
        ratios: [3] share of foreign, rare and other classes, divided by their parts of all classes.
        wrong: share of wrong labels among samples that are not foreign.
        of_ratios: [3, 3] derivatives of the logarithms of `ratios` (columns) by the log odds of rate, rare and foreign.
        of_wrong: [3] derivatives of `wrong` by the same.
    """

    def __init__(self, classes: Classes, rate: float, rare: float, foreign: float) -> None:
        parts = classes.groups.mean(axis=0).clip(_TINY)
        outside = rate * foreign
        inside = 1 - outside
        self.ratios = np.array([outside, inside * rare, inside * (1 - rare)]) / parts
        self.wrong = float(np.clip(rate * (1 - foreign) / inside, _LEAST, 1 - _TINY))
        by_rate, by_foreign = -outside * (1 - rate) / inside, -outside * (1 - foreign) / inside
        self.of_ratios = np.array(
            [
                [1 - rate, by_rate, by_rate],
                [0.0, 1 - rare, -rare],
                [1 - foreign, by_foreign, by_foreign],
            ]
        )
        self.of_wrong = np.array(
            [
                rate * (1 - rate) * (1 - foreign) / inside**2,
                0.0,
                -foreign * (1 - foreign) * rate * (1 - rate) / inside**2,
            ]
        )


@stage("fitting the noise model")
def fit_noise(
    experts: Sequence[Values], labels: Labels, classes: Classes, *, copies: float = 1.0, like: NoiseModel | None = None
) -> tuple[NoiseProblem, NoiseModel]:
    """Fit a model by maximum likelihood, and return it with its problem.

    A network that learned where the classes had other shares than here takes rare classes to be likelier than they are,
    and one that learned where they had the same does not. The labels tell which.

    Args:
        experts: [n, C] each, log evidence for every class that does not depend on the sample's own label.
        labels: [n] given labels.
        classes: see `Classes`.
        copies: see `NoiseProblem`.
        like: a model whose shares are taken over, so that only the weights are fitted.
    """
    problem = NoiseProblem(experts, labels, classes, copies=copies)
    if like is not None:
        start = problem.parameters(like)
        start = np.concatenate([np.full(len(experts), 1 / len(experts)), start[-4:]])
        return problem, problem.fitted(start, fixed=(problem.RATE, problem.CONFUSED, problem.RARE, problem.FOREIGN))
    fit = _fitted(problem)
    if not classes.rare.any():
        return fit
    as_learned = replace(classes, rare=np.zeros_like(classes.rare))
    other = _fitted(NoiseProblem(experts, labels, as_learned, copies=copies))
    return min(fit, other, key=lambda fit: fit[0].loss_of_labels(fit[1]))


def _fitted(problem: NoiseProblem) -> tuple[NoiseProblem, NoiseModel]:
    """Return the model of the least loss and its problem, in which the inputs tell the shares by the fitted weights."""
    model = min((problem.fitted(problem.start(rate)) for rate in _STARTS), key=lambda model: model.loss)
    for _ in range(_ROUNDS if (model.classes.rare | model.classes.foreign).any() else 0):
        problem = problem.with_fixed_weights(model.weights)
        model = _refitted(problem, model)
    return problem, model


def _refitted(problem: NoiseProblem, model: NoiseModel) -> NoiseModel:
    """Return the model of the least loss; the search starts from another model, too."""
    starts = (problem.parameters(model), *(problem.start(rate) for rate in _STARTS))
    return min((problem.fitted(start) for start in starts), key=lambda fitted: fitted.loss)


def fit_with_one_error(problem: NoiseProblem, model: NoiseModel, most: float) -> NoiseModel:
    """Return the model that is likeliest if one label more is wrong, with at most this share of wrong labels.

    Args:
        problem: what the model was fitted to.
        model: the likeliest one.
        most: the largest share.
    """
    likeliest = _refitted(problem.with_one_error(), model)
    return replace(likeliest, rate=min(likeliest.rate, max(most, model.rate)))


class NoiseProblem:
    """The penalised negative log likelihood of given labels, as a function of the parameters of a `NoiseModel`.

    The labels tell little of samples of classes that have none; the network's probabilities alone say how many there
    are. So the likelihood is that of the labels given the inputs, times that of the inputs by the shares of classes,
    with fixed weights, so that the inputs do not change the temperature.

    The parameters are the weights, and the log odds of the rate, of confused labels, of rare and of foreign classes.

    Args:
        experts: see `fit_noise`.
        labels: see `fit_noise`.
        classes: see `Classes`.
        fixed_weights: [K] weights with which the inputs tell the shares of classes; by default equal ones.
        curves: number of the last experts that only bend the calibration of the first, see `with_curves`.
        copies: how many labels count as one in the likelihood: those of copies of an input add no evidence.
        one_error: whether one label more is taken to be wrong.
    """

    RATE, CONFUSED, RARE, FOREIGN = -4, -3, -2, -1
    """Places of parameters."""

    def __init__(
        self,
        experts: Sequence[Values],
        labels: Labels,
        classes: Classes,
        fixed_weights: Values | None = None,
        *,
        curves: int = 0,
        copies: float = 1.0,
        one_error: bool = False,
    ) -> None:
        self._experts, self._labels, self._classes = experts, labels, classes
        self._fixed_weights, self._curves, self._copies = fixed_weights, curves, copies
        self._one_error = one_error
        self._groups = classes.groups
        self._confused_with_given = np.ascontiguousarray(classes.confusion[:, labels].T)
        step = max(1, _ENTRIES // len(classes.labelled))
        self._tiles = [slice(start, start + step) for start in range(0, len(labels), step)]
        weights = self._equal_weights() if fixed_weights is None else fixed_weights
        # [n, 3] probability of each group of classes.
        self._of_inputs = np.concatenate([self._probabilities(weights, tile) @ self._groups for tile in self._tiles])

    @property
    def has_foreign(self) -> bool:
        """Whether classes have no label, so that none of their samples can have a right one."""
        return bool(self._classes.foreign.any())

    def with_curves(self) -> NoiseProblem:
        """Return the problem of a lone expert with two more, which bend its calibration, and a wider prior on it.

        The margins of an expert are how much more evidence the likeliest class has than each other one. One curve bends
        large margins down, as for a network that is certain and wrong, the other one bends them up.
        """
        margins = self._experts[0].max(axis=1, keepdims=True) - self._experts[0]
        weights = self._equal_weights() if self._fixed_weights is None else self._fixed_weights
        curved = (*self._experts, -np.log1p(margins), -(margins**2) / _LARGE_MARGIN)
        fixed = np.concatenate([weights, [0.0, 0.0]])
        return NoiseProblem(curved, self._labels, self._classes, fixed, curves=2, copies=self._copies)

    def with_one_error(self) -> NoiseProblem:
        """Return the problem in which one label more is wrong."""
        return NoiseProblem(
            self._experts, self._labels, self._classes, self._fixed_weights, copies=self._copies, one_error=True
        )

    def with_fixed_weights(self, weights: Values) -> NoiseProblem:
        """Return the problem in which the inputs tell the shares of classes by these weights."""
        return NoiseProblem(self._experts, self._labels, self._classes, weights, copies=self._copies)

    def start(self, rate: float) -> Values:
        """Return parameters to start from."""
        parts = self._groups.mean(axis=0)
        shares = [rate, 0.5, parts[1] / max(parts[1] + parts[2], _TINY), 0.5]
        return np.concatenate([self._equal_weights(), logit(np.clip(shares, 1e-6, 1 - 1e-6))])

    def parameters(self, model: NoiseModel) -> Values:
        """Return the parameters of a model."""
        shares = np.array([model.rate, model.confused, model.rare, model.foreign])
        return np.concatenate([model.weights, logit(shares.clip(1e-9, 1 - 1e-9))])

    def fitted(self, start: Values, fixed: tuple[int, ...] = ()) -> NoiseModel:
        """Return the model of the least loss.

        Args:
            start: parameters that the search starts from.
            fixed: places of parameters that keep their value.
        """
        start = start.copy()
        bounds: list[tuple[float, float]] = [(1e-3, 1e3)] * len(self._experts) + [(-15.0, 15.0)] + [(-8.0, 8.0)] * 3
        places = list(fixed)
        if not self._classes.rare.any():
            places.append(self.RARE)
        if self.FOREIGN not in places and not self.has_foreign:
            places.append(self.FOREIGN)
            start[self.FOREIGN] = logit(_TINY)
        for place in places:
            bounds[place] = (start[place], start[place])
        result = minimize(self, start, jac=True, method="L-BFGS-B", bounds=bounds, options=_SEARCH)
        rate, confused, rare, foreign = (float(share) for share in expit(result.x[-4:]))
        loss = float(result.fun) * len(self._labels)
        return NoiseModel(self._classes, result.x[: len(self._experts)], rate, confused, rare, foreign, loss)

    def loss_of_labels(self, model: NoiseModel) -> float:
        """Return the negative log likelihood of the labels given the inputs."""
        shares = _Shares(self._classes, model.rate, model.rare, model.foreign)
        loss = 0.0
        for tile in self._tiles:
            likely = self._probabilities(model.weights, tile) * (self._groups @ shares.ratios)
            to_given = self._to_given(self._to_given_if_wrong(model.confused, tile), shares, tile)
            likelihood = (likely * to_given).sum(axis=1) + _LEAST
            loss -= float((np.log(likelihood) - np.log(likely.sum(axis=1))).sum())
        return loss

    def __call__(self, parameters: Values) -> tuple[float, Values]:
        """Return the loss and its gradient, both per label."""
        rate, confused, rare, foreign = (float(share) for share in expit(parameters[-4:]))
        weights, shares = parameters[: len(self._experts)], _Shares(self._classes, rate, rare, foreign)
        sums = np.sum([self._sums(weights, confused, shares, tile) for tile in self._tiles], axis=0)
        loss, of_groups, of_wrong, of_confused, of_weights = sums[0], sums[1:4], sums[4], sums[5], sums[6:]
        of_shares = shares.of_ratios @ of_groups + shares.of_wrong * of_wrong
        gradient = -np.array([*of_weights, of_shares[0], of_confused * confused * (1 - confused), *of_shares[1:]])
        penalty, of_penalty = self._penalty(parameters)
        loss, gradient = float(loss) / self._copies, gradient / self._copies
        return (loss + penalty) / len(self._labels), (gradient + of_penalty) / len(self._labels)

    def _sums(self, weights: Values, confused: float, shares: _Shares, tile: slice) -> Values:
        """Return the loss [1] of some labels, and the derivatives of the log likelihood.

        These are by the logarithms of the shares of groups [3], by the share of wrong labels [1], by `confused` [1] and
        by the weights [K].
        """
        labels, others, groups = self._labels[tile], self._classes.others, self._groups
        at = np.arange(len(labels))
        p = self._probabilities(weights, tile)
        likely = p * (groups @ shares.ratios)
        total = likely.sum(axis=1)
        if_wrong = self._to_given_if_wrong(confused, tile)
        given = likely[at, labels]
        inside = likely * ~self._classes.foreign
        wrong_inside = np.einsum("nc,nc->n", inside, if_wrong)
        slopes = self._to_given(if_wrong, shares, tile)
        slopes *= likely
        likelihood = slopes.sum(axis=1) + _LEAST
        of_confused = (likely * self._wrong(shares)) * (self._confused_with_given[tile] - 1 / others)
        of_confused[at, labels] = 0.0
        slopes /= likelihood[:, None]
        before = self._of_inputs[tile] * shares.ratios
        total_before = before.sum(axis=1)
        of_logits = slopes - likely / total[:, None]
        of_groups = of_logits @ groups + before / total_before[:, None]
        of_logits -= p * of_logits.sum(axis=1, keepdims=True)
        return np.array(
            [
                -(np.log(likelihood) - np.log(total) + np.log(total_before)).sum(),
                *of_groups.sum(axis=0),
                ((wrong_inside - given) / likelihood).sum(),
                (of_confused.sum(axis=1) / likelihood).sum(),
                *(np.einsum("nc,nc->", of_logits, expert[tile]) for expert in self._experts),
            ]
        )

    def _to_given_if_wrong(self, confused: float, tile: slice) -> Values:
        """Return the probability [n, C] of the given label if the class is each other one and the label is wrong."""
        to_given: Values = confused * self._confused_with_given[tile] + (1 - confused) / self._classes.others
        to_given[np.arange(len(to_given)), self._labels[tile]] = 0.0
        return to_given

    def _to_given(self, if_wrong: Values, shares: _Shares, tile: slice) -> Values:
        """Return the probability [n, C] of the given label if the class is each one, from that of a wrong label."""
        to_given = if_wrong * self._wrong(shares)
        to_given[np.arange(len(to_given)), self._labels[tile]] = 1 - shares.wrong
        return to_given

    def _wrong(self, shares: _Shares) -> Values:
        """Return the share [C] of wrong labels among the samples of each class."""
        return np.where(self._classes.foreign, 1.0, shares.wrong)

    def _probabilities(self, weights: Values, tile: slice) -> Values:
        evidence = (weight * expert[tile] for weight, expert in zip(weights, self._experts, strict=True))
        p: Values = softmax(sum(evidence, self._classes.log_shares), axis=1)
        return p

    def _equal_weights(self) -> Values:
        return np.full(len(self._experts), 1 / len(self._experts))

    def _penalty(self, parameters: Values) -> tuple[float, Values]:
        """Return the negative logarithm of the priors, and its gradient."""
        slopes = np.zeros(len(parameters))
        penalty = 0.0
        if self._one_error:
            penalty -= float(log_expit(parameters[self.RATE]))
            slopes[self.RATE] = -expit(-parameters[self.RATE])
        for place in (self.CONFUSED, self.RARE, self.FOREIGN):
            deviation = max(float(parameters[place]), 0.0) if place == self.FOREIGN else float(parameters[place])
            penalty += 0.5 * (deviation / _SHARES) ** 2
            slopes[place] = deviation / _SHARES**2
        if len(self._experts) == 1 + self._curves:
            logarithm, scale = float(np.log(parameters[0])), _ANY_TEMPERATURE if self._curves else _TEMPERATURE
            penalty += 0.5 * (logarithm / scale) ** 2
            slopes[0] = logarithm / scale**2 / parameters[0]
        for place in range(len(self._experts) - self._curves, len(self._experts)):
            penalty += 0.5 * float(parameters[place] / _BENDING) ** 2
            slopes[place] = parameters[place] / _BENDING**2
        return penalty, slopes
