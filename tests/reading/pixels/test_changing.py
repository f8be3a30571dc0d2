"""Readings of networks that do something else for another image, or after a change between two calls."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gradmeter import PixelMeter, UnsupportedModelError
from gradmeter.reading.pixels import meter as meter_module
from oracles.networks import randomise
from oracles.pixels import pixel_statistics
from reading.pixels.networks import IMAGES, assert_pixels, segmenter


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
def test_a_path_that_depends_on_the_image() -> None:
    """One that a later image takes, and one that only some images of a batch take."""

    def after(logits: Tensor) -> Tensor:
        return logits.flip(3) if float(logits.detach().mean()) < 0 else logits

    network = segmenter(nn.Conv2d(6, 4, 1), after)
    with torch.no_grad():
        network.head.bias += 10.0
    meter = PixelMeter(network)
    meter(IMAGES)
    with torch.no_grad():
        network.head.bias -= 20.0
    assert_pixels(meter(IMAGES), "head", pixel_statistics(network, IMAGES, "head"))


class Experts(nn.Module):
    """Each image goes to one of two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.day, self.night = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(3, 4, 1)

    def forward(self, images: Tensor) -> Tensor:
        chosen = (self.day if float(image.mean()) > 0 else self.night for image in images)
        return torch.cat([layer(image.unsqueeze(0)) for layer, image in zip(chosen, images, strict=True)])


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
def test_a_layer_that_an_image_does_not_use_has_no_gradient() -> None:
    network, bright = Experts().eval(), IMAGES.abs()
    meter = PixelMeter(network)
    meter(bright)
    images = torch.cat([bright[:1], -bright[:1]])
    assert_pixels(meter(images), "day", pixel_statistics(network, images, "day"))
    assert (meter(-bright)["day", "l2"] == 0).all()


def prior(logits: Tensor) -> Tensor:
    return logits + torch.tensor([0.1, 0.2, -0.1, 0.0]).reshape(4, 1, 1)


class Changing(nn.Module):
    """Something that may change between two calls, behind the last layer."""

    def __init__(self, after: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.scale, self.size, self.after = 2.0, 2, after

    def forward(self, logits: Tensor) -> Tensor:
        return self.after(F.interpolate(logits * self.scale, scale_factor=self.size))


@pytest.mark.parametrize("after", [lambda logits: logits, prior], ids=["alone", "added to"])
def test_a_network_that_changed_since_the_last_call(after: Callable[[Tensor], Tensor]) -> None:
    """A factor and an upsampling were those of the first call."""
    changing = Changing(after)
    network = segmenter(nn.Conv2d(6, 4, 1), changing)
    meter = PixelMeter(network)
    meter(IMAGES)
    changing.scale = 2.2
    assert_pixels(meter(IMAGES), "head", pixel_statistics(network, IMAGES, "head"))
    changing.size = 1
    assert_pixels(meter(IMAGES), "head", pixel_statistics(network, IMAGES, "head"))


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
def test_a_factor_that_only_one_image_of_the_batch_has() -> None:
    """That of the first and last one was taken for it."""
    images = torch.cat([IMAGES[:1], IMAGES[:1] / 10, IMAGES[1:]])

    def contrast(logits: Tensor) -> Tensor:
        return logits.std((2, 3), keepdim=True).mean(1, keepdim=True)

    sizes = contrast(segmenter(nn.Conv2d(6, 4, 1))(images)).detach().flatten()
    largest = sizes[[0, 2]].min() / 3
    assert sizes[1] < 0.9 * largest

    def after(logits: Tensor) -> Tensor:
        return prior(logits * (contrast(logits.detach()) / largest.to(logits)).clamp(max=1))

    network = segmenter(nn.Conv2d(6, 4, 1), after)
    assert_pixels(PixelMeter(network)(images), "head", pixel_statistics(network, images, "head"))


class Branching(nn.Module):
    """A branch that is taken, or not, by an attribute."""

    def __init__(self, forward: Callable[["Branching", Tensor], Tensor]) -> None:
        super().__init__()
        self.body, self.extra = nn.Conv2d(3, 6, 3, padding=1), nn.Conv2d(6, 6, 1)
        self.head, self.second, self.third = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 4, 1), nn.Conv2d(3, 4, 1)
        self.branch, self._forward = False, forward

    def features(self, images: Tensor) -> Tensor:
        return torch.relu(self.body(images))

    def forward(self, images: Tensor) -> Tensor:
        return self._forward(self, images)


def less_its_mean(network: Branching, images: Tensor) -> Tensor:
    logits = network.head(network.features(images))
    return logits - (logits.mean((2, 3), keepdim=True) if network.branch else logits.new_ones(1, 4, 1, 1))


def read_by_a_second_head(network: Branching, images: Tensor) -> Tensor:
    features = network.features(images)
    return network.head(features) + network.second(features if network.branch else torch.cat([images, images], 1))


def logits_read_by_another_head(network: Branching, images: Tensor) -> Tensor:
    logits = network.head(network.features(images))
    return logits + network.third(logits[:, :3] if network.branch else images)


def called_twice(network: Branching, images: Tensor) -> Tensor:
    features = torch.relu(network.extra(network.features(images)))
    return network.head(torch.relu(network.extra(features)) if network.branch else features)


class Scaled(torch.autograd.Function):
    """A factor whose derivative is 1, which it is in fact only while the factor is."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, factor: float) -> Tensor:
        return logits * factor

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        return gradients[0], None


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
def test_an_operation_with_a_derivative_of_its_own() -> None:
    """The factor of the forward pass was taken for the derivative."""
    factors = [1.0]

    def after(logits: Tensor) -> Tensor:
        scaled: Tensor = Scaled.apply(logits, factors[0])
        return scaled

    network, images = segmenter(nn.Conv2d(6, 4, 1), after), IMAGES[..., :4, :5]
    meter = PixelMeter(network)
    for factors[0] in (1.0, 3.0):
        assert_pixels(meter(images), "head", pixel_statistics(network, images, "head"))


def without_gradients(network: Branching, images: Tensor) -> Tensor:
    features = network.features(images)
    with torch.set_grad_enabled(not network.branch):
        second = network.second(features)
    return network.head(features) + second


def in_inference_mode(network: Branching, images: Tensor) -> Tensor:
    features = network.features(images)
    with torch.inference_mode(network.branch):
        second = network.second(features)
    return network.head(features) + second


@pytest.mark.parametrize("forward", [without_gradients, in_inference_mode])
def test_gradients_that_were_disabled_since_the_last_call(forward: Any) -> None:
    """A layer whose gradient is 0 had that of the first call."""
    network = randomise(Branching(forward)).eval()
    images = IMAGES[..., :4, :5]
    meter = PixelMeter(network, ["head", "second"])
    assert_pixels(meter(images), "second", pixel_statistics(network, images, "second"))
    network.branch = True
    with pytest.raises(UnsupportedModelError, match="'second' is too far from the logits"):
        meter(images)


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
@pytest.mark.parametrize("samples", [2, 1])
@pytest.mark.parametrize(
    ("forward", "layers"),
    [
        (less_its_mean, ["head"]),
        (read_by_a_second_head, ["body", "head", "second"]),
        (logits_read_by_another_head, ["head", "third"]),
        (called_twice, ["extra", "head"]),
    ],
)
def test_another_branch_since_the_last_call(forward: Any, layers: list[str], samples: int) -> None:
    """The structure was that of the first call."""
    network = randomise(Branching(forward)).eval()
    images = IMAGES[..., :4, :5]
    meter = PixelMeter(network, layers)
    for branch in (False, True, False):
        network.branch = branch
        given = images[: 2 if branch else samples]
        readings = meter(given)
        for layer in layers:
            assert_pixels(readings, layer, pixel_statistics(network, given, layer))


def test_what_is_known_of_a_network_that_does_the_same_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    network = segmenter(nn.Conv2d(6, 4, 1))
    meter = PixelMeter(network, ["body", "head"])
    meter(IMAGES)
    monkeypatch.setattr(meter, "_find", lambda batch: pytest.fail("the structure is found again"))
    for images in (IMAGES[:1], IMAGES, 2 * IMAGES):
        meter(images)


@pytest.mark.filterwarnings("ignore::gradmeter.errors.SlowLayerWarning")
@pytest.mark.parametrize("layer", ["body", "head"])
def test_a_few_pixels_are_compared_with_a_backward_pass(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong about a fast way, the slow one is then taken."""
    for name in ("last_layer", "local_layer"):
        monkeypatch.setattr(meter_module, name, with_a_wrong_factor(getattr(meter_module, name)))
    network, images = segmenter(nn.Conv2d(6, 4, 1)), IMAGES[..., :4, :5]
    meter = PixelMeter(network, layer)
    for given in (images, images[:1]):
        assert_pixels(meter(given), layer, pixel_statistics(network, given, layer))


def with_a_wrong_factor(way: Callable[..., Any]) -> Callable[..., Any]:
    """A fast way with another weight, or another path, than the network's."""

    def wrong(*arguments: Any) -> Any:
        *first, path = arguments
        return way(*first, [replace(path[0], factor=2.0)] if isinstance(path, list) else replace(path, factor=2.0))

    return wrong


def test_images_of_another_size_are_compared_only_if_the_network_does_something_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = segmenter(nn.Conv2d(6, 4, 1))
    meter, compared = PixelMeter(network), []
    monkeypatch.setattr(meter, "_confirm", lambda *arguments: compared.append(True))
    for width in (11, 7, 5):
        meter(IMAGES[..., :width])
    assert len(compared) == 1
    network.after = torch.neg
    meter(IMAGES)
    assert len(compared) == 2
