import numpy as np
import pytest
import torch
from PIL import Image

from gradmeter.errors import InputError
from gradmeter.sources.models.preprocessing import ImageOptions, ResizeAndNormalise, Stacked
from sources.samples.pictures import gradient


def test_an_image_of_the_right_size_is_only_normalised() -> None:
    pixels = gradient(6, 6)
    prepare = ResizeAndNormalise(6, (0.5, 0.4, 0.3), (0.2, 0.1, 0.3))
    prepared = prepare(Image.fromarray(pixels))
    expected = (pixels / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.1, 0.3]
    np.testing.assert_allclose(prepared.numpy(), expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)


def test_others_are_resized_and_cropped_in_the_middle() -> None:
    prepared = ResizeAndNormalise(8, (0.0,), (1.0,))(Image.fromarray(gradient(32, 16)[..., 0]))
    assert prepared.shape == (1, 8, 8)
    # Red increases from left to right; the crop keeps its middle half.
    assert prepared[0, :, 0].mean() == pytest.approx(0.25, abs=0.06)
    assert prepared[0, :, -1].mean() == pytest.approx(0.75, abs=0.06)


def test_batches() -> None:
    prepare = Stacked(ResizeAndNormalise(4, (0.0,), (1.0,)))
    images = [Image.fromarray(np.full((4, 4), shade, np.uint8)) for shade in (0, 255)]
    assert torch.equal(prepare(images).mean((1, 2, 3)), torch.tensor([0.0, 1.0]))


def test_what_is_given_is_spread_over_the_channels() -> None:
    assert ImageOptions().changed() == {}
    assert ImageOptions(8, (0.5,), (0.1, 0.2, 0.3)).changed() == {
        "size": 8,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.1, 0.2, 0.3),
    }
    assert ImageOptions(mean=(0.5,), grey=True).changed() == {"mean": (0.5,)}
    assert (ImageOptions(grey=True).mode, ImageOptions().mode) == ("L", "RGB")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 0}, "size 0"),
        ({"mean": (1.0, 2.0)}, "mean has 2 .* 3 channels"),
        ({"std": (1.0, 2.0, 3.0), "grey": True}, "std has 3"),
        ({"mean": (123.675, 116.28, 103.53)}, "mean 123.675,.* divide"),
        ({"std": (58.395, 57.12, 57.375)}, "std 58.395,.* divide"),
        ({"std": (0.0,)}, "std 0"),
    ],
)
def test_bad_options(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ImageOptions(**options)  # type: ignore[arg-type]
