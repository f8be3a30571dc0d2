"""The postprocessor, called as OpenOOD's evaluator calls any."""

import copy
import importlib
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from gradmeter import GradientMeter, TrustModel
from gradmeter.errors import InputError
from gradmeter.trust.adapters.openood import GradmeterPostprocessor
from trust.trained import digits, noise, trained

pytestmark = pytest.mark.slow

IMAGES, LABELS = digits()


class Configuration(dict[str, Any]):
    """A dict whose values are also attributes, as OpenOOD's configuration is."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def configuration(**options: Any) -> Configuration:
    arguments = Configuration(options)
    return Configuration(
        dataset=Configuration(name="digits"),
        postprocessor=Configuration(name="gradmeter", APS_mode=False, postprocessor_args=arguments),
    )


def batches(images: Tensor, labels: Tensor) -> list[dict[str, Any]]:
    """Batches with the keys of OpenOOD's image lists."""
    return [
        {"data": data, "label": label, "index": torch.arange(len(label)), "data_aux": data, "pred": [""] * len(label)}
        for data, label in zip(images.split(70), labels.split(70), strict=True)
    ]


def unknown(images: Tensor) -> list[dict[str, Any]]:
    return batches(images, torch.full((len(images),), -1))


ID = {
    "train": batches(IMAGES[:300], LABELS[:300]),
    "val": batches(IMAGES[300:1000], LABELS[300:1000]),
    "test": batches(IMAGES[1000:1300], LABELS[1000:1300]),
}
OOD = {
    "val": unknown(noise(200)[:100]),
    "near": {"inverse": unknown(1 - IMAGES[:150])},
    "far": {"noise": unknown(noise(200)[100:])},
}


def evaluated(postprocessor: Any, net: nn.Module) -> dict[str, float]:
    """AUROC of known against unknown inputs and the accuracy, in the order of calls of OpenOOD's evaluator."""
    postprocessor.setup(net, ID, OOD)
    if postprocessor.APS_mode and not postprocessor.hyperparam_search_done:
        raise AssertionError("a postprocessor without hyperparameters must not be searched")
    net.eval()
    with torch.no_grad():
        known_predictions, known, labels = postprocessor.inference(net, ID["test"], False)
        results = {"accuracy": float((known_predictions == labels).mean())}
        for split in ("near", "far"):
            for name, loader in OOD[split].items():
                predictions, confidences, truth = postprocessor.inference(net, loader, progress=False)
                truth = -1 * np.ones_like(truth)
                joined = np.concatenate([known_predictions, predictions]), np.concatenate([labels, truth])
                assert all(array.dtype == np.int64 and array.shape == (300 + len(truth),) for array in joined)
                scores = np.concatenate([known, confidences])
                results[name] = float(roc_auc_score(joined[1] != -1, scores))
    return results


@pytest.fixture(scope="module")
def net() -> nn.Module:
    return trained()


@pytest.fixture(scope="module")
def fitted(net: nn.Module) -> GradmeterPostprocessor:
    postprocessor = GradmeterPostprocessor(configuration(reads="forward"))
    postprocessor.setup(net, ID, OOD)
    return postprocessor


def test_an_evaluation(fitted: GradmeterPostprocessor, net: nn.Module) -> None:
    results = evaluated(fitted, net)
    expected = float((net(IMAGES[1000:1300]).argmax(1) == LABELS[1000:1300]).double().mean())
    assert results["accuracy"] == pytest.approx(expected)
    assert results["noise"] > 0.95
    assert results["inverse"] > 0.9


def test_confidences_are_those_of_a_trust_model(fitted: GradmeterPostprocessor, net: nn.Module) -> None:
    trust = TrustModel(GradientMeter(net), reads="forward").fit((IMAGES[300:1000], LABELS[300:1000]))
    expected = trust.verdicts(IMAGES[1000:1070])
    predictions, confidences = fitted.postprocess(net, IMAGES[1000:1070])
    assert torch.equal(predictions, net(IMAGES[1000:1070]).argmax(1))
    assert np.allclose(confidences.numpy(), expected["p_known"].to_numpy(), rtol=1e-3, atol=1e-4)
    assert fitted.trust is not None
    assert fitted.trust.judge is not None
    assert fitted.trust.judge.unknown == 0


def test_setup_fits_once_for_each_network(fitted: GradmeterPostprocessor, net: nn.Module) -> None:
    trust = fitted.trust
    fitted.setup(net, ID, OOD)
    assert fitted.trust is trust
    with pytest.raises(InputError, match="Sequential"):
        fitted.postprocess(trained(), IMAGES[:5])
    with pytest.raises(InputError, match="setup"):
        GradmeterPostprocessor().postprocess(net, IMAGES[:5])


def test_setup_fits_again_for_other_weights(net: nn.Module) -> None:
    network = copy.deepcopy(net)
    postprocessor = GradmeterPostprocessor(configuration(reads="forward"))
    postprocessor.setup(network, ID, OOD)
    first = postprocessor.trust
    with torch.no_grad():
        network[-1].bias[0] += 0.5  # type: ignore[index]
    postprocessor.setup(network, ID, OOD)
    assert postprocessor.trust is not first
    with warnings.catch_warnings(action="error"):
        postprocessor.postprocess(network, IMAGES[:5])


def test_gradients_outliers_and_another_score(net: nn.Module) -> None:
    options = {"score": "p_correct", "classifier": "ridge", "reads": "gradients", "outliers": True}
    postprocessor = GradmeterPostprocessor(configuration(**options))
    postprocessor.setup(net, ID, OOD)
    assert postprocessor.trust is not None
    assert postprocessor.trust.judge is not None
    assert postprocessor.trust.judge.unknown == 100
    with torch.no_grad():
        _, confidences = postprocessor.postprocess(net, IMAGES[1000:1300])
    wrong = (net(IMAGES[1000:1300]).argmax(1) != LABELS[1000:1300]).numpy()
    assert roc_auc_score(~wrong, confidences.numpy()) > 0.8


@pytest.mark.parametrize(
    ("options", "loaders", "message"),
    [
        ({"score": "p_known", "classifier": "ridge"}, (ID, OOD), "p_known"),
        ({}, ({"train": ID["train"]}, OOD), "id_loader_dict has train"),
        ({}, (None, OOD), "id_loader_dict has NoneType"),
        ({"outliers": True}, (ID, {}), "ood_loader_dict has nothing"),
    ],
)
def test_what_setup_refuses(options: dict[str, Any], loaders: Any, message: str, net: nn.Module) -> None:
    with pytest.raises(InputError, match=message):
        GradmeterPostprocessor(configuration(reads="forward", **options)).setup(net, *loaders)


@pytest.mark.parametrize(
    ("batches", "message"),
    [
        ([], "no batches"),
        ([(IMAGES[:3], LABELS[:3])], "tuple"),
        ([{"data": IMAGES[:3]}], "dict with data"),
        ([{"data": [IMAGES[:3]], "label": LABELS[:3]}], "data of a batch is list"),
    ],
)
def test_batches_that_are_not_of_openood(
    batches: list[Any], message: str, fitted: GradmeterPostprocessor, net: nn.Module
) -> None:
    with pytest.raises(InputError, match=message):
        fitted.inference(net, batches, progress=False)
    with pytest.raises(InputError, match=message):
        GradmeterPostprocessor(configuration(reads="forward")).setup(net, {"val": batches}, OOD)


def test_labels_may_be_a_list(fitted: GradmeterPostprocessor, net: nn.Module) -> None:
    *_, labels = fitted.inference(net, [{"data": IMAGES[:3], "label": [1, 2, 3]}], progress=False)
    assert labels.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "config", [{}, {"postprocessor": None}, "gradmeter", {"postprocessor": {"postprocessor_args": ["score"]}}]
)
def test_configurations_of_another_form(config: Any) -> None:
    with pytest.raises(InputError, match="postprocessor_args"):
        GradmeterPostprocessor(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"score": "softmax"}, "'softmax'"), ({"dim": 3}, "'dim'"), ({"outliers": "False"}, "'False'")],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GradmeterPostprocessor(configuration(**options))


@pytest.fixture
def reloaded(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that imports the adapter again; afterwards the module is as before."""
    name = "gradmeter.trust.adapters.openood"
    monkeypatch.delitem(sys.modules, name)
    yield lambda: importlib.import_module(name)
    importlib.import_module("gradmeter.trust.adapters").openood = sys.modules.get(name)  # type: ignore[attr-defined]


def test_it_is_a_postprocessor_of_openood_if_that_is_installed(reloaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    package, module = types.ModuleType("openood"), types.ModuleType("openood.postprocessors")
    module.BasePostprocessor = type("BasePostprocessor", (), {})  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "openood", package)
    monkeypatch.setitem(sys.modules, "openood.postprocessors", module)
    postprocessor = reloaded().GradmeterPostprocessor()
    assert isinstance(postprocessor, module.BasePostprocessor)
    assert (postprocessor.config, postprocessor.score) == (None, "p_known")


def test_a_package_that_openood_lacks(reloaded: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openood", types.ModuleType("openood"))
    module = types.ModuleType("openood.postprocessors")

    def missing(name: str) -> Any:
        raise ModuleNotFoundError("No module named 'faiss'", name="faiss")

    module.__getattr__ = missing  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "openood.postprocessors", module)
    with pytest.raises(ModuleNotFoundError, match="faiss"):
        reloaded()
