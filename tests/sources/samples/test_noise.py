import numpy as np
import pytest

from gradmeter.errors import InputError
from gradmeter.sources.samples.noise import Noise


def stack(text: str, side: int, mode: str) -> np.ndarray:
    source = Noise(text, side, mode)
    return np.stack([np.asarray(source.read(index).content) for index in range(len(source))]) / 255


def test_uniform() -> None:
    values = stack("noise:uniform:20", 32, "RGB")
    assert values.shape == (20, 32, 32, 3)
    assert values.mean() == pytest.approx(0.5, abs=0.01)
    assert values.std() == pytest.approx(12**-0.5, abs=0.01)
    assert not np.array_equal(values[0], values[1])
    assert np.array_equal(values, stack("noise:uniform:20", 32, "RGB"))


def test_normal_is_clipped_as_any_image_is() -> None:
    values = stack("noise:normal:20", 32, "L")
    assert values.shape == (20, 32, 32)
    assert (values == 0).mean() == pytest.approx(0.5, abs=0.02)
    assert (values == 1).mean() == pytest.approx(0.1587, abs=0.02)


def test_names() -> None:
    source = Noise("noise:uniform", 4)
    assert len(source) == 1000
    assert (source.id(3), source.labelled, source.read(3).label) == ("uniform-000003", False, None)
    assert source.fingerprint() != Noise("noise:normal", 4).fingerprint() != Noise("noise:normal:7", 4).fingerprint()


@pytest.mark.parametrize(
    "text",
    [
        *("noise:", "noise:pink", "noise:uniform:0", "noise:uniform:-1", "noise:uniform:1:2"),
        # More than a length in Python, and more digits than Python parses.
        *("noise:uniform:1000000001", f"noise:uniform:{10**20}", f"noise:normal:{'9' * 5000}"),
    ],
    ids=lambda text: text[:30],
)
def test_bad_names(text: str) -> None:
    with pytest.raises(InputError, match=f"^{text}: .*noise:uniform"):
        Noise(text, 4)
