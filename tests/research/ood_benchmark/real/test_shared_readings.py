from pathlib import Path

import pytest
import torch

from gradmeter import GradientMeter, TrustModel
from gradmeter.research.cifar_resnets import load_cifar_resnet
from gradmeter.research.ood_benchmark.real.images import load_images
from gradmeter.research.ood_benchmark.real.passes import Passes, attack
from gradmeter.research.ood_benchmark.real.run import CONTROLLED_READS, SharedReadings
from gradmeter.research.ood_benchmark.scores import KNOWN
from trust.quick import fit_quickly

pytestmark = pytest.mark.slow


@pytest.mark.exhaustive
def test_verdicts_by_shared_readings_are_those_of_the_images(real_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit_quickly(monkeypatch)
    network, images = load_cifar_resnet(real_data / "networks", 20), load_images(real_data, 0.2)
    passes = Passes(network, images, attack(network, images) / 255)
    readings = SharedReadings(network, passes)
    validation = images.rows(images.draws[0].validation)
    for reads in CONTROLLED_READS:
        trust = TrustModel(GradientMeter(network), reads=reads)
        trust.fit((validation.images, validation.labels))
        shared = readings.of(trust)
        assert len(shared[KNOWN]) == len(images.tested)
        for name, pixels in ((KNOWN, images.known.images[images.tested]), ("letters", images.unknowns["letters"])):
            direct = trust.verdicts(pixels)
            verdicts = trust.verdicts(shared[name])
            for column in ("p_correct", "p_known", "p_correct_if_known"):
                ours, expected = (torch.from_numpy(t[column].to_numpy().copy()) for t in (verdicts, direct))
                torch.testing.assert_close(ours, expected, rtol=1e-3, atol=1e-5)
