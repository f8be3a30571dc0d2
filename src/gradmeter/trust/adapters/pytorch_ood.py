"""gradmeter as a detector of pytorch-ood, for its benchmarks and metrics."""

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
        f"gradmeter.trust.adapters.pytorch_ood needs the package {error.name}, which is not installed; run "
        'pip install "gradmeter[compare]"',
        name=error.name,
    ) from error


class GradmeterDetector(GradientDetector):  # type: ignore[misc]
    """Detector from the paper *Classification Uncertainty of Deep Neural Networks Based on Gradient Information*.

    The outlier score is 1 - P(the prediction is correct). A meta classifier predicts it from the gradient of each
    layer's weights and, by default, from the logits, the layers' outputs and the embedding. The prediction for an
    unknown input counts as wrong, so unknown inputs get high scores, and so do known inputs with a wrong prediction.

    Args:
        model: an nn.Module in eval mode that maps a batch to logits [N, C].
        classifier: the meta classifier, as in `TrustModel`.

    Attributes:
        trust: the TrustModel that gives the scores.

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
        # pytorch-ood moves the modules among the attributes to its device.
        self.model = model

    @classmethod
    def from_trust(cls, trust: TrustModel) -> Self:
        """Return a detector for a TrustModel, fitted or not; `fit` fits this TrustModel itself."""
        detector = cls(trust.meter.model)
        detector.trust = trust
        return detector

    def fit(self, data_loader: Iterable[tuple[Tensor, Tensor]]) -> Self:
        """Fit the meta classifier to data that the network was not trained on, such as validation data.

        Args:
            data_loader: batches (inputs, labels); negative labels mark unknown inputs, which are optional. It is
                iterated once.

        Raises:
            InputError: if there are no known inputs, too few right or wrong predictions, or batches of another form.
        """
        meter = self.trust.meter_to_fit()
        known, unknown, sample = [], [], ImageSample()
        for batch in data_loader:
            inputs, labels = _pair(batch)
            inputs, labels = inputs.to(self.device), labels.cpu()
            is_known = labels >= 0
            if is_known.any():
                known.append((meter(inputs[is_known]), labels[is_known]))
                sample.add(inputs[is_known], labels[is_known])
            if not is_known.all():
                unknown.append(meter(inputs[~is_known]))
        if not known:
            raise InputError("no sample in the loader has a label of at least 0; expected some known inputs")
        synthetic = sample.unknowns(self.device) if self.trust.learns_from_synthetic else ()
        # All unknown inputs are one kind.
        self.trust.fit(known, [unknown] if unknown else (), synthetic=synthetic)
        return self

    def predict(self, x: Tensor) -> Tensor:
        """Return outlier scores [N] float64 in [0, 1], on the device of the batch; high for wrong and unknown.

        Raises:
            RequiresFittingException: before `fit`.
        """
        if self.trust.judge is None:
            raise RequiresFittingException
        return (1 - self.trust.predict_proba(x.to(self.device))).to(x.device)


def _pair(batch: Any) -> tuple[Tensor, Tensor]:
    """Return the inputs and the labels [N] of a batch; raises `InputError` if it has another form."""
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not all(isinstance(part, Tensor) for part in batch):
        parts = ", ".join(type(part).__name__ for part in batch) if isinstance(batch, tuple | list) else ""
        raise InputError(f"a batch is a {type(batch).__name__} ({parts}); expected two tensors, (inputs, labels)")
    inputs, labels = batch
    if labels.shape != inputs.shape[:1]:
        raise InputError(
            f"labels have shape {tuple(labels.shape)} for {len(inputs):,} inputs; expected ({len(inputs):,},)"
        )
    return inputs, labels
