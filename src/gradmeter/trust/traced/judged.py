"""A network with its judge as one module, from an input to the verdict."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from gradmeter.errors import GradmeterError, InputError
from gradmeter.reading.network import logits_in, unwrapped
from gradmeter.reading.probes.mirror import MIRROR, MIRROR_LOGIT
from gradmeter.reading.traced import GradientReadings, TracedForward, TracedGradients
from gradmeter.trust.features import SCORES, FeatureAxes
from gradmeter.trust.meta_classifier import P_CORRECT, P_CORRECT_IF_KNOWN, P_KNOWN
from gradmeter.trust.model import TrustModel
from gradmeter.trust.risk import Guarantee
from gradmeter.trust.traced.arithmetic import exact
from gradmeter.trust.traced.features import TracedFeatures, TracedReadings
from gradmeter.trust.traced.heads import TracedHeads, TracedJudgement
from gradmeter.trust.traced.outputs import Outputs
from gradmeter.trust.two_heads import TwoHeads


class Verdicts(NamedTuple):
    """Verdicts on N inputs.

    Attributes:
        prediction: [N] int64, the predicted class.
        probabilities: [N, C] float32, the softmax.
        p_known: [N] float32, P(the input is of the kind that the network has learned).
        p_correct_if_known: [N] float32, P(correct | known).
        p_correct: [N] float32, P(the prediction is correct).
        accepted: [N] bool, whether the prediction is accepted under the guarantee; all False without one.
        unfamiliar: [N] bool, whether a low P(known), not a low P(correct | known), is the main cause of a low score.
        unfamiliar_layers: [N, 3] int64, the numbers of up to three layers in which the input is farthest from known
            ones, then -1; `JudgedNetwork.layers` has their names.
    """

    prediction: Tensor
    probabilities: Tensor
    p_known: Tensor
    p_correct_if_known: Tensor
    p_correct: Tensor
    accepted: Tensor
    unfamiliar: Tensor
    unfamiliar_layers: Tensor


class JudgedNetwork(nn.Module):
    """A network that returns the verdicts of a TrustModel on its predictions.

    It computes what `TrustModel.verdicts` does, with tensors alone, so that `torch.export` can trace it with a batch
    size that varies. The second look at doubtful images is a branch: a batch without a doubtful image takes one forward
    pass, every other batch two.

    Args:
        trust: a fitted TrustModel that reads the forward pass only; its meta classifier is `TwoHeads`.
        inputs: [n, ...] some inputs as the network takes them; at least two different ones.

    Attributes:
        layers: what the numbers of `Verdicts.unfamiliar_layers` stand for.

    Raises:
        GradmeterError: if `trust` is not fitted.
        InputError: if the meta classifier, or what it reads, cannot be traced.
        UnsupportedModelError: if the network cannot be read as in `fit`.
    """

    def __init__(self, trust: TrustModel, inputs: Tensor) -> None:
        super().__init__()
        heads, features = _traceable(trust)
        self._guarantee = trust.guarantee
        self.features = TracedFeatures(features)
        self.heads = TracedHeads(heads)
        self.layers = tuple(self.heads.layers)
        network = unwrapped(trust.meter.model)
        forward = TracedForward(network, inputs, self.features.layers, embedding=self.features.embedding)
        # The features of the meter's first pseudo-label do not name it.
        self._labels = {label: label or trust.meter.pseudo_labels[0] for label in self.features.pseudo_labels}
        self.reader: TracedForward | TracedGradients = forward
        if self._labels:
            labels, layers = [*self._labels.values()], self.features.gradient_layers
            self.reader = TracedGradients(forward, inputs, labels, layers, biases=trust.meter.biases)
        self._above = trust.meter.second_look
        if inputs.dim() != 4 or not inputs.is_floating_point() or self._above == torch.inf:
            self._above = None

    def forward(self, inputs: Tensor) -> Verdicts:
        """Judge N inputs."""
        features, outputs, views = self.read(inputs)
        judgement = self.heads(features, outputs, views)
        return Verdicts(
            outputs.prediction,
            outputs.probabilities.float(),
            judgement.p_known.float(),
            judgement.p_correct_if_known.float(),
            judgement.p_correct.float(),
            _accepted(judgement, self._guarantee),
            _unfamiliar(judgement, self._guarantee),
            judgement.origins,
        )

    def read(self, inputs: Tensor) -> tuple[Tensor, Outputs, Tensor]:
        """Return the features of N inputs [N, features], functions of their logits, and the logits of both views."""
        readings, gradients = self.reader(inputs), {}
        if isinstance(readings, GradientReadings):
            gradients = {label: readings.gradients[name] for label, name in self._labels.items()}
            readings = readings.forward
        outputs = Outputs.of(readings.logits)
        views = self._views(inputs, outputs)
        read = TracedReadings(
            outputs,
            readings.activations,
            self.features.layers,
            readings.embedding.double(),
            views,
            gradients,
            self.features.gradient_layers,
        )
        return self.features(read), outputs, views

    def _views(self, inputs: Tensor, outputs: Outputs) -> Tensor:
        """The logits [N, C], averaged with those of the mirror image as `gradmeter.reading.probes.Mirror` does."""
        if self._above is None:
            return outputs.logits
        is_doubtful = outputs.wrong_log_odds > exact(self._above)

        def look(images: Tensor, logits: Tensor) -> Tensor:
            # A traced network is called in no measurement, and in PyTorch 2.10 a branch cannot enter its autocast.
            mirrored: Tensor = logits_in(self.reader.network(images.flip(3))).double()
            return (mirrored + logits) / 2

        def keep(images: Tensor, logits: Tensor) -> Tensor:
            return logits.clone()

        both = torch.cond(is_doubtful.any(), look, keep, (inputs, outputs.logits))
        return torch.where(is_doubtful[:, None], both, outputs.logits)


def _traceable(trust: TrustModel) -> tuple[TwoHeads, FeatureAxes]:
    """Return the meta classifier of a TrustModel, and its features.

    Raises:
        GradmeterError: if it is not fitted.
        InputError: if it cannot be traced.
    """
    if trust.judge is None:
        raise GradmeterError("the TrustModel is not fitted; call fit(validation_loader) first")
    heads, axes = trust.judge.classifier, trust.judge.features.axes
    if not isinstance(heads, TwoHeads):
        raise InputError("the TrustModel has another meta classifier than 'gradmeter'; expected that one: fit with it")
    scores = [axes.features[column] for column in axes.of(SCORES)]
    others = [str(score) for score in scores if score.statistic not in (MIRROR, MIRROR_LOGIT)]
    if others:
        raise InputError(f"the TrustModel reads {others[0]!r}, which takes further passes; fit without this probe")
    return heads, axes


def _accepted(judgement: TracedJudgement, guarantee: Guarantee | None) -> Tensor:
    """Return whether predictions are accepted, [N]."""
    if guarantee is None:
        return torch.zeros_like(judgement.familiar)
    score: Tensor = getattr(judgement, guarantee.score)
    return (score >= exact(guarantee.threshold)) & judgement.familiar


def _unfamiliar(judgement: TracedJudgement, guarantee: Guarantee | None) -> Tensor:
    """Return what `Judgement.unfamiliar_first` does, [N]."""
    score = P_CORRECT if guarantee is None else guarantee.score
    if score == P_KNOWN:
        return torch.ones_like(judgement.familiar)
    if score == P_CORRECT_IF_KNOWN:
        return ~judgement.familiar
    return ~judgement.familiar | (judgement.p_correct < judgement.p_correct_if_known**2)
