"""A small network with its TrustModel, exported once for all tests of this folder."""

from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import pytest
import torch
from torch import Tensor

from gradmeter import GradientMeter, TrustModel
from gradmeter.apps.onnx.exporting import export
from gradmeter.apps.onnx.graph import is_supported
from gradmeter.apps.onnx.judged_model import JudgedModel
from gradmeter.sources.models import Classifier
from gradmeter.sources.models.preprocessing import ResizeAndNormalise, Stacked
from gradmeter.sources.samples import ImageKind
from gradmeter.trust.candidates import ConfidenceCurve
from gradmeter.trust.confidence import SecondLook, softmax_log_odds
from trust.quick import fit_quickly
from trust.trained import digits, loader, noise, trained

needs_exporter = pytest.mark.skipif(not is_supported(), reason=f"PyTorch {torch.__version__} writes no branches")

CLASSES = tuple("0123456789")


@cache
def trust() -> TrustModel:
    """A TrustModel with a guarantee, which gives the fifth of the inputs that is most doubtful a second look."""
    network = trained()
    with pytest.MonkeyPatch.context() as patch:
        fit_quickly(patch)
        fitted = TrustModel(GradientMeter(network), reads="forward").fit(loader(300, 900))
    assert fitted.judge is not None
    heads = fitted.judge.classifier
    readings = GradientMeter(network).for_trust_model(gradients=False)(digits()[0][300:900])
    block = fitted.judge.features.block(readings)
    features = heads._known_features(
        block.values, heads._distances(block.values), heads._outputs(block.values), heads.known_.strengths
    )
    above = float(np.quantile(softmax_log_odds(readings.log_scale.numpy()), 0.8))
    wrong = (readings.predictions != digits()[1][300:900]).numpy()
    look = SecondLook(above)
    heads.known_.members_ = [ConfidenceCurve(look).fit(features.scored(look), wrong)]
    fitted.meter = fitted.meter.for_trust_model(gradients=False, second_look=above)
    fitted.set_risk(0.08, loader(900, 1400))
    return fitted


def classifier(network: torch.nn.Module | None = None) -> Classifier:
    batch = Stacked(ResizeAndNormalise(8, (0.0,), (1.0,)))
    return Classifier("digits", network or trust().meter.model, CLASSES, ImageKind("L", 8), batch)


@cache
def exported() -> Path:
    out = Path(mkdtemp()) / "judged.onnx"
    export(trust(), classifier(), out)
    return out


@cache
def opened() -> JudgedModel:
    return JudgedModel.open(exported(), threads=1)


def images() -> Tensor:
    """Digits, turned digits and noise."""
    new = digits()[0][1400:1600]
    return torch.cat([new, new[:60].transpose(2, 3), noise(60)])
