"""Readings of the study's network against autograd, one upsampled pixel at a time."""

import copy

import numpy as np
import torch
import torch.nn.functional as F

from gradmeter.research.street.network import StreetNet
from gradmeter.research.street.reading import LABELS, LAYERS, PixelFeatures, SceneReader
from oracles.networks import randomise


def test_the_gradients_are_those_of_the_pixels_of_the_images() -> None:
    network = randomise(StreetNet(4), 0).eval()
    images = torch.rand(2, 3, 24, 30, generator=torch.Generator().manual_seed(1))
    scenes = SceneReader(network)(images)
    assert scenes.pixels.logits.shape == (2, 4, 24, 30)
    exact = copy.deepcopy(network).double()
    logits = F.interpolate(exact(images.double()), (24, 30), mode="bilinear")
    for label in LABELS:
        readings = scenes.pixels.for_pseudo_label(label)
        for image, y, x in ((0, 0, 0), (1, 11, 17), (1, 23, 29)):
            of_pixel = logits[image, :, y, x]
            losses = -F.log_softmax(of_pixel, 0)
            loss = losses[of_pixel.argmax()] if label == "predicted" else losses.mean()
            for layer in LAYERS:
                weights = [*exact.get_submodule(layer).parameters()]
                gradients = torch.autograd.grad(loss, weights, retain_graph=True)
                norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
                torch.testing.assert_close(readings[layer, "l2"][image, y, x], norm, rtol=1e-3, atol=1e-9)


def test_the_features_are_those_of_all_pixels_in_order() -> None:
    network = randomise(StreetNet(4), 0).eval()
    scenes = SceneReader(network)(torch.rand(2, 3, 24, 30))
    features = PixelFeatures.of(scenes)
    assert len(features) == 2 * 24 * 30
    assert scenes.inputs.shape[2:] == (24, 30)
    largest = scenes.pixels.logits.amax(1).flatten().numpy()
    np.testing.assert_allclose(features.forward[:, 6], -largest, rtol=1e-6)
