"""PixelReadings by name, concatenated and as arrays."""

import io

import numpy as np
import pytest
import torch

from gradmeter import InputError, PixelReadings
from gradmeter.reading.statistics import METRICS


def readings(images: int = 2, seed: int = 0, height: int = 3) -> PixelReadings:
    generator = torch.Generator().manual_seed(seed)

    def part(name: str, further: dict[str, PixelReadings]) -> PixelReadings:
        values = torch.randn(images, 2, len(METRICS), height, 4, generator=generator, dtype=torch.float64)
        log_scale = torch.randn(images, height, 4, generator=generator, dtype=torch.float64)
        return PixelReadings(logits, log_scale, ("low", "high"), values, name, further)

    logits = torch.randn(images, 5, height, 4, generator=generator)
    return part("predicted", {"uniform": part("uniform", {})})


def test_by_name() -> None:
    given = readings()
    assert torch.equal(given["high", "l1"], given.values[:, 1, 0])
    assert torch.equal(given.for_pseudo_label("uniform")["low", "max"], given.further["uniform"].values[:, 0, 3])
    assert given.for_pseudo_label("predicted").further == {}
    assert len(given) == 2
    assert repr(given) == "PixelReadings(2 images, 3 x 4, 5 classes, low, high)"
    for key in (("none", "l1"), ("low", "none")):
        with pytest.raises(InputError, match="none"):
            given[key]
    with pytest.raises(InputError, match=r"'low'; expected a layer and a statistic, as in readings\['high', 'l1'\]$"):
        given["low"]  # type: ignore[index]
    with pytest.raises(InputError, match="expected"):
        given.for_pseudo_label("expected")


def test_concatenated() -> None:
    parts = [readings(1, 1), readings(3, 2)]
    joined = PixelReadings.concatenate(parts)
    assert len(joined) == 4
    for name in joined.pseudo_labels:
        values = torch.cat([part.for_pseudo_label(name).values for part in parts])
        assert torch.equal(joined.for_pseudo_label(name).values, values)
    assert torch.equal(joined.predictions, torch.cat([part.predictions for part in parts]))


@pytest.mark.parametrize(
    "parts", [[], [readings(), readings(height=2)], [readings(), readings().for_pseudo_label("uniform")]]
)
def test_readings_of_several_kinds(parts: list[PixelReadings]) -> None:
    with pytest.raises(InputError):
        PixelReadings.concatenate(parts)


def test_arrays_survive_npz() -> None:
    given = readings()
    file = io.BytesIO()
    np.savez(file, **given.to_numpy())  # type: ignore[arg-type]
    file.seek(0)
    with np.load(file) as arrays:
        assert len(arrays.files) == 2 + 2 * (1 + 2 * len(METRICS))
        np.testing.assert_array_equal(arrays["low/l2"], given["low", "l2"].numpy())
        np.testing.assert_array_equal(arrays["uniform:high/std"], given.further["uniform"]["high", "std"].numpy())
        np.testing.assert_array_equal(arrays["prediction"], given.logits.argmax(1).numpy())
