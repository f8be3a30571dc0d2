"""gradmeter as a detector of pytorch-ood, so that its benchmarks and metrics run it beside others."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Self

from torch import Tensor, nn

from gradmeter.errors import InputError
from gradmeter.reading.meter import GradientMeter
from gradmeter.trust.model import TrustModel
from gradmeter.trust.synthetic import ImageSample

try:
    from pytorch_ood.api import DetectorInfo, GradientDetector, Paper, RequiresFittingException, Task
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"gradmeter.trust.adapters.pytorch_ood needs the package {error.name}, which is not installed; "
        'pip install "gradmeter[compare]"',
        name=error.name,
    ) from error


class GradmeterDetector(GradientDetector):  # type: ignore[misc]
    """Detector from the paper *Classification Uncertainty of Deep Neural Networks Based on Gradient Information*.

    The outlier score is 1 - P(the prediction is correct), as a meta classifier reads it from the gradient of every
    layer's weights and, by default, from the logits, the layers' outputs and the embedding. An unknown input's
    prediction is never correct; a known input that is predicted wrong scores high too.

    Args:
        model: any nn.Module that maps a batch to logits [N, C], in eval mode.
        classifier: as TrustModel takes it.

    Attributes:
        trust: the TrustModel that scores.

    Example:
        >>> detector = GradmeterDetector(model).fit(validation_loader)
        >>> CIFAR10_OpenOOD(root, transform).evaluate(detector, loader_kwargs={"batch_size": 128})
    """

    info = DetectorInfo(
        paper=Paper(
            title="Classification Uncertainty of Deep Neural Networks Based on Gradient Information",
            venue="ANNPR",
            year=2018,
            url="https://arxiv.org/abs/1805.08440",
        ),
        tasks={Task.CLASSIFICATION},
        ai_coded=True,
    )

    requires_fit = True

    def __init__(self, model: nn.Module, classifier: Any = "gradmeter") -> None:
        super().__init__()
        self.trust = TrustModel(GradientMeter(model), classifier)
        # Among the attributes is where pytorch-ood looks for what it moves to a device.
        self.model = model

    @classmethod
    def from_trust(cls, trust: TrustModel) -> Self:
        """A detector that scores by a TrustModel, fitted or not; `fit` fits this very one."""
        detector = cls(trust.meter.model)
        detector.trust = trust
        return detector

    def fit(self, data_loader: Iterable[tuple[Tensor, Tensor]]) -> Self:
        """Learn from data that the network did not learn from: a benchmark's training set will not do.

        Args:
            data_loader: batches (inputs, labels); labels below 0 mark unknown inputs, of which there may be none. It
                is gone through once.

        Raises:
            InputError: if none is known, or too few predictions are right, or too few wrong or unknown.
        """
        known, unknown, sample = [], [], ImageSample()
        for x, y in data_loader:
            labels, inputs = y.cpu(), x.to(self.device)
            is_known = labels >= 0
            if is_known.any():
                known.append((self.trust.meter(inputs[is_known]), labels[is_known]))
                sample.add(inputs[is_known], labels[is_known])
            if not is_known.all():
                unknown.append(self.trust.meter(inputs[~is_known]))
        if not known:
            raise InputError("the loader has no sample with a label of 0 or above; expected known inputs among them")
        made = sample.unknowns(self.device) if self.trust.learns_from_synthetic else ()
        # One kind of unknown inputs, however they are batched.
        self.trust.fit(known, [unknown] if unknown else (), synthetic=made)
        return self

    def predict(self, x: Tensor) -> Tensor:
        """Outlier scores of a batch, [N] float64 in [0, 1] on its device; the higher, the more likely unknown.

        Raises:
            RequiresFittingException: before `fit`.
        """
        if self.trust.judge is None:
            raise RequiresFittingException
        return (1 - self.trust.predict_proba(x.to(self.device))).to(x.device)
