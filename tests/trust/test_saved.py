"""Load a folder that gradmeter 0.1.0 wrote, with this version and the installed scikit-learn."""

import hashlib
import json
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from gradmeter import DataError, GradientMeter, TrustModel
from gradmeter.trust.main_file import write_main
from trust.trained import digits

pytestmark = pytest.mark.filterwarnings("ignore:.* was written with scikit-learn")

FOLDER = Path(__file__).parent / "saved/0.1"
LABELS = digits()[1]
# P(correct) of six digits, and the threshold, by version 0.1.0.
EXPECTED = (0.6904436, 0.9863369, 0.8523519, 0.9996986, 0.9772550, 0.7571180)
THRESHOLD = 0.0002137074


def images() -> Tensor:
    return digits()[0]


def network() -> nn.Module:
    """Return a nearest-mean classifier as a linear layer, with exactly the same weights on each machine."""
    means = torch.stack([(images()[digit == LABELS] * 16).sum(0).flatten().round() for digit in range(10)])
    means = (means / 2**10).float()  # exact: sums of integers, scaled by a power of two
    dense = nn.Linear(64, 10)
    with torch.no_grad():
        dense.weight.copy_(means)
        dense.bias.copy_(-(means * means).sum(1).mul(2**6).round() / 2**8)
    return nn.Sequential(nn.Flatten(), dense).eval()


def test_a_folder_of_version_0_1() -> None:
    trust = TrustModel.load(FOLDER, network())
    expected = torch.tensor(EXPECTED, dtype=torch.float64)
    torch.testing.assert_close(trust.predict_proba(images()[1200:1206]), expected, rtol=1e-3, atol=1e-4)
    assert trust.notes == {"made": "by gradmeter 0.1.0"}
    assert trust.guarantee is not None
    assert trust.guarantee.threshold == pytest.approx(THRESHOLD)


@pytest.mark.parametrize(
    "error", [MemoryError(), ImportError("_hist_gradient_boosting.so: failed to map segment from shared object")]
)
def test_too_little_memory_is_no_damage(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise error

    monkeypatch.setattr("gradmeter.trust.saving._meter", fail)
    with pytest.raises(DataError, match=r"not enough memory; if there is enough"):
        TrustModel.load(FOLDER, network())


def test_a_model_of_version_0_1_can_be_saved_again(tmp_path: Path) -> None:
    trust = TrustModel.load(FOLDER, network())
    trust.save(tmp_path / "trust")
    again = TrustModel.load(tmp_path / "trust", network())
    assert again.guarantee == trust.guarantee
    assert again.guarantee is not None
    assert again.guarantee.unknown_share is None


def test_the_default_meta_classifier_of_version_0_1_is_refused(tmp_path: Path) -> None:
    """Its classes no longer exist; this test saves those of this version as version 0.1 did, under its module names."""
    trust = TrustModel(GradientMeter(network()), reads="forward").fit((images()[:200], LABELS[:200]), synthetic=[])
    trust.save(tmp_path / "trust")
    path = tmp_path / "trust/trust.json"
    content = json.loads(path.read_text())
    del content["checksum"]
    content |= {"format": 1, "gradmeter": "0.1.0", "features": ["entropy", "1/l2"]}
    estimator = tmp_path / "trust" / content["estimator"]["file"]
    with zipfile.ZipFile(estimator) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["schema.json"] = files["schema.json"].replace(b"gradmeter.trust.", b"gradmeter.meta.")
    with zipfile.ZipFile(estimator, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    content["estimator"]["sha256"] = hashlib.sha256(estimator.read_bytes()).hexdigest()
    write_main(path, content)
    with pytest.raises(DataError, match=r"\b0\.1\b.*fit"):
        TrustModel.load(tmp_path / "trust", network())
