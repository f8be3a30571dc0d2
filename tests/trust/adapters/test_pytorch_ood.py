import importlib
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import pytorch_ood.benchmark.img.cifar10 as cifar10
import torch
from pytorch_ood.api import Detector, RequiresFittingException, Task
from pytorch_ood.detector import MaxSoftmax
from pytorch_ood.metrics import OODMetrics
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, TensorDataset
from torchvision.transforms import Compose, Grayscale, Resize, ToTensor

from gradmeter import GradientMeter, TrustModel
from gradmeter.errors import InputError
from gradmeter.trust.adapters.pytorch_ood import GradmeterDetector
from trust.quick import fit_quickly
from trust.trained import digits, noise, trained, untrained

pytestmark = pytest.mark.slow

IMAGES, LABELS = digits()


def mixed(rows: slice, unknown: Tensor) -> "DataLoader[tuple[Tensor, ...]]":
    """Return batches of digits and unknown images, with negative labels; the last batches have digits only."""
    inputs = torch.cat([unknown, IMAGES[rows]])
    labels = torch.cat([-1 - torch.arange(len(unknown)) % 2, LABELS[rows]])
    return DataLoader(TensorDataset(inputs, labels), batch_size=70)


@pytest.fixture(scope="module")
def detector() -> GradmeterDetector:
    return GradmeterDetector(trained()).fit(mixed(slice(300, 1000), noise(100)))


def test_it_is_a_trust_model_fitted_on_known_and_unknown(detector: GradmeterDetector) -> None:
    assert detector.trust.reads == "auto"
    assert detector.trust.choice is not None
    trust = TrustModel(GradientMeter(trained()), reads=detector.trust.choice.reads)
    trust.fit((IMAGES[300:1000], LABELS[300:1000]), unknowns=[noise(100)])
    expected = 1 - trust.predict_proba(IMAGES[1000:1100])
    assert trust.judge is not None
    assert detector.trust.judge is not None
    assert detector.trust.judge.unknown == trust.judge.unknown == 100
    scores = detector.predict(IMAGES[1000:1100])
    torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-5)
    assert scores.shape == (100,)
    assert scores.is_floating_point()
    assert scores.device == IMAGES.device
    with torch.inference_mode():
        torch.testing.assert_close(detector(IMAGES[1000:1100]), scores)


def test_scores_separate_digits_from_noise(detector: GradmeterDetector) -> None:
    def results(detector: Detector) -> dict[str, float]:
        metrics = OODMetrics()
        with torch.no_grad():
            for images, labels in mixed(slice(1000, 1300), noise(300)[100:]):
                metrics.update(detector(images), labels)
        return metrics.compute()  # type: ignore[no-any-return]

    ours, softmax = results(detector), results(MaxSoftmax(trained()))
    # The digits include wrong predictions, which count as outliers as noise does.
    assert ours["AUROC"] > 0.88 > softmax["AUROC"]
    assert ours["AUPR-OUT"] > 0.75 > softmax["AUPR-OUT"]
    assert ours["FPR95TPR"] < 0.35 < softmax["FPR95TPR"]


class Known(Dataset[tuple[Tensor, int]]):
    """Digits that neither the network nor the detector was fitted to, instead of CIFAR-10."""

    def __init__(self, root: str, *, download: bool, transform: Any, train: bool) -> None:
        self.rows = slice(300, 1000) if train else slice(1000, 1200)

    def __len__(self) -> int:
        return len(IMAGES[self.rows])

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return IMAGES[self.rows][index], int(LABELS[self.rows][index])


class Unknown(Dataset[tuple[Tensor, int]]):
    """Inverted digits, instead of the data sets that would be downloaded."""

    def __init__(self, root: str, *, download: bool, transform: Any, target_transform: Any) -> None:
        self.target_transform = target_transform

    def __len__(self) -> int:
        return 50

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return 1 - IMAGES[1200 + index], self.target_transform(0)


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> cifar10.CIFAR10_ODIN:
    """The benchmark of the ODIN paper, with its noise and small data sets in memory."""
    monkeypatch.setattr(cifar10, "CIFAR10", Known)
    for name in ("TinyImageNetCrop", "TinyImageNetResize", "LSUNResize", "LSUNCrop"):
        monkeypatch.setattr(cifar10, name, type(name, (Unknown,), {}))
    return cifar10.CIFAR10_ODIN("nowhere", Compose([Grayscale(), Resize((8, 8)), ToTensor()]))


def test_it_runs_in_a_benchmark(detector: GradmeterDetector, benchmark: cifar10.CIFAR10_ODIN) -> None:
    results = benchmark.evaluate([detector, MaxSoftmax(trained())], loader_kwargs={"batch_size": 200})
    assert [result["Dataset"] for result in results[::2]] == benchmark.ood_names
    assert [result["Detector"] for result in results] == ["GradmeterDetector", "MaxSoftmax"] * 6
    ours, softmax = ({result["Dataset"]: result["AUROC"] for result in results[first::2]} for first in (0, 1))
    assert ours["UniformNoise"] > 0.8 > softmax["UniformNoise"]
    negatives = torch.cat([IMAGES[1000:1200], 1 - IMAGES[1200:1250]])
    p_correct = detector.trust.predict_proba(negatives).numpy()
    expected = roc_auc_score([0] * 200 + [1] * 50, -p_correct)
    assert ours["LSUNCrop"] == pytest.approx(expected, abs=1e-3)


def test_a_given_trust_model() -> None:
    trust = TrustModel(GradientMeter(trained(), "uniform"), "lasso")
    detector = GradmeterDetector.from_trust(trust)
    assert detector.trust is trust
    with pytest.raises(RequiresFittingException):
        detector.predict(IMAGES[:2])
    trust.fit((IMAGES[300:1000], LABELS[300:1000]))
    torch.testing.assert_close(detector.predict(IMAGES[:5]), 1 - trust.predict_proba(IMAGES[:5]))


def test_every_fit_reads_all_that_it_may_need(monkeypatch: pytest.MonkeyPatch) -> None:
    fit_quickly(monkeypatch)
    detector = GradmeterDetector(trained()).fit(mixed(slice(300, 1000), noise(20)))
    choice, scores = detector.trust.choice, detector.predict(IMAGES[1000:1100])
    assert choice is not None
    assert choice.reads == "forward"
    assert choice.gains  # gradients were compared
    detector.fit(mixed(slice(300, 1000), noise(20)))
    assert detector.trust.choice == choice
    torch.testing.assert_close(detector.predict(IMAGES[1000:1100]), scores)


def test_options_reach_the_meta_classifier() -> None:
    with pytest.raises(InputError, match="'forest'"):
        GradmeterDetector(trained(), "forest").fit(mixed(slice(300, 500), noise(20)))


def test_the_loader_is_iterated_once() -> None:
    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        yield noise(30), torch.full((30,), -1)
        yield IMAGES[300:600], LABELS[300:600]

    judge = GradmeterDetector(trained()).fit(batches()).trust.judge
    assert judge is not None
    assert (judge.right + judge.wrong, judge.unknown) == (300, 30)


def test_it_moves_with_its_network(detector: GradmeterDetector) -> None:
    """The device "meta" holds no values, but is available without an accelerator."""
    network = untrained()
    moved: Any = GradmeterDetector(network).to("meta")
    assert isinstance(moved, Detector)
    assert {parameter.device.type for parameter in network.parameters()} == {"meta"}
    assert moved.device.type == "meta"


def test_invalid_arguments(detector: GradmeterDetector) -> None:
    with pytest.raises(RequiresFittingException):
        GradmeterDetector(trained())(IMAGES[:2])
    with pytest.raises(InputError, match=r"\b0\b"):
        GradmeterDetector(trained()).fit([(noise(20), torch.full((20,), -1))])
    few = [(IMAGES[300:330], LABELS[300:330])]
    with pytest.raises(InputError, match=r"\b50\b"):
        GradmeterDetector(trained()).fit(few)
    with pytest.raises(InputError, match=r"\b0\b.*\b10\b"):
        GradmeterDetector(trained(), "ridge_cv").fit(few)
    with pytest.raises(InputError, match=r"'0'"):
        GradmeterDetector(nn.Sequential(nn.BatchNorm2d(1), trained()).train()).fit(mixed(slice(300, 400), noise(20)))


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ((IMAGES[:9], LABELS[:9], LABELS[:9]), "Tensor, Tensor, Tensor"),
        ((IMAGES[:9], LABELS[:9].tolist()), "Tensor, list"),
        ({"data": IMAGES[:9]}, "dict"),
        ((IMAGES[:9], LABELS[:8]), r"\(8,\) for 9 inputs"),
        ((IMAGES[:9], LABELS[:9, None]), r"\(9, 1\) for 9 inputs"),
    ],
)
def test_batches_of_another_form(batch: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        GradmeterDetector(trained()).fit([batch])


def test_metadata() -> None:
    info = GradmeterDetector.info
    assert info.paper is not None
    assert info.paper.title in (GradmeterDetector.__doc__ or "")
    assert info.paper.url == "https://arxiv.org/abs/1805.08440"
    assert info.tasks == {Task.CLASSIFICATION}
    assert GradmeterDetector.requires_fit


def test_pytorch_ood_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("pytorch_ood")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pytorch_ood", None)
    monkeypatch.delitem(sys.modules, "gradmeter.trust.adapters.pytorch_ood")
    with pytest.raises(
        ModuleNotFoundError,
        match=r"\bpytorch_ood\b.*gradmeter\[compare\]",
    ):
        importlib.import_module("gradmeter.trust.adapters.pytorch_ood")
