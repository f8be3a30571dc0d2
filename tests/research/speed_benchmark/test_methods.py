"""Every method on small networks: its norms equal those of one backward pass per sample."""

import copy
import warnings
from importlib.metadata import PackageNotFoundError, version

import pytest
import torch

from gradmeter.research.speed_benchmark.methods import METHODS, REFERENCE
from gradmeter.research.speed_benchmark.models import Model
from oracles.gradients import expected_readings
from research.speed_benchmark.tiny import IMAGES, SCALED, TINY

NORMS = ("gradmeter", "loop", "vmap", "opacus", "backpack", "gradient-metrics")
REGISTERED = set(METHODS)  # before a fixture adds methods
WITHOUT_NORMS = ("plain", "best-plain", "forward", "grad-uncertainty", "gradnorm")


def run(model: Model, name: str) -> torch.Tensor | None:
    method = METHODS[name]
    if method.distribution is not None:
        try:
            version(method.distribution)
        except PackageNotFoundError:
            pytest.skip(f"{method.distribution} is not installed")
    network, inputs = model.build()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the measured packages
        prepared = method.prepare(copy.deepcopy(network), inputs)
        prepared.run(inputs)
        return prepared.run(inputs)


def expected(model: Model) -> torch.Tensor:
    network, inputs = model.build()
    _, values = expected_readings(network, inputs)
    return torch.from_numpy(values[:, -1, 1])


@pytest.mark.parametrize("name", NORMS)
def test_norms_are_those_of_one_sample_at_a_time(name: str) -> None:
    norms = run(TINY, name)
    assert norms is not None
    torch.testing.assert_close(norms.double(), expected(TINY), rtol=1e-5, atol=0)


@pytest.mark.parametrize("name", [name for name in NORMS if name != "opacus"])
def test_norms_with_batchnorm(name: str) -> None:
    norms = run(IMAGES, name)
    assert norms is not None
    torch.testing.assert_close(norms.double(), expected(IMAGES), rtol=1e-4, atol=0)


@pytest.mark.parametrize("name", WITHOUT_NORMS)
def test_other_methods_return_no_norms(name: str) -> None:
    assert run(IMAGES, name) is None


@pytest.mark.parametrize("name", ["opacus", "backpack"])
def test_a_network_that_a_package_cannot_handle_is_an_error(name: str) -> None:
    model, name_in_error = (IMAGES, "BatchNorm") if name == "opacus" else (SCALED, "layer_scale")
    with pytest.raises((LookupError, NotImplementedError), match=name_in_error):
        run(model, name)


def test_every_registered_method_is_tested() -> None:
    assert {*NORMS, *WITHOUT_NORMS} == REGISTERED
    assert REFERENCE in REGISTERED


def test_plain_passes_leave_the_gradient_of_the_whole_batch() -> None:
    network, inputs = IMAGES.build()
    gradients = []
    for name in ("plain", "best-plain", "loop"):
        copied = copy.deepcopy(network)
        prepared = METHODS[name].prepare(copied, inputs)
        prepared.run(inputs)
        prepared.run(inputs)
        gradients.append([parameter.grad for parameter in copied.parameters()])
    torch.testing.assert_close(gradients[0], gradients[1])
    assert gradients[2][0].shape == gradients[0][0].shape
    assert not torch.allclose(gradients[2][0], gradients[0][0]), "the loop clears gradients after every sample"


def test_the_note_names_the_best_tile() -> None:
    network, inputs = IMAGES.build()
    assert METHODS["best-plain"].prepare(network, inputs).note.startswith("tiles of ")
