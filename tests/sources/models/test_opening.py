import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from timm.data import create_transform, resolve_model_data_config
from torch import nn
from torchvision.models import get_model
from torchvision.models.squeezenet import SqueezeNet1_1_Weights

from gradmeter import GradientMeter
from gradmeter.errors import DataError, GradmeterWarning, InputError, UnsupportedModelError
from gradmeter.sources.models import Classifier, ImageOptions, open_model
from gradmeter.sources.models.timm_models import with_timm_preprocessing
from gradmeter.sources.samples import ImageKind, open_source
from gradmeter.sources.samples.array_kind import ArrayField, ArrayKind
from gradmeter.sources.samples.noise import Noise
from sources.samples.pictures import gradient

IMAGES = [Image.fromarray(gradient(300, 200)), Image.fromarray(gradient(180, 180)[::-1])]
NAMES = ["bird", "cat", "dog"]


def saved(network: nn.Module, folder: Path, classes: list[str] | None = NAMES) -> Path:
    path = folder / "weights.safetensors"
    tensors = {name: value.contiguous() for name, value in network.state_dict().items()}
    save_file(tensors, path, metadata={} if classes is None else {"classes": json.dumps(classes)})
    return path


def answers(classifier: Classifier, images: list[Image.Image]) -> torch.Tensor:
    assert not classifier.network.training
    return GradientMeter(classifier.network)(classifier.batch(images)).logits  # type: ignore[arg-type]


# --- timm


def test_timm(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=3).eval()
    classifier = open_model("timm:test_resnet", saved(network, tmp_path))
    assert classifier.name == "timm:test_resnet"
    assert classifier.classes == tuple(NAMES)
    config = resolve_model_data_config(network)
    transform = create_transform(**config, is_training=False)
    inputs = torch.stack([transform(image) for image in IMAGES])
    assert torch.equal(classifier.batch(IMAGES), inputs)  # type: ignore[arg-type]
    torch.testing.assert_close(answers(classifier, IMAGES), network(inputs), rtol=1e-4, atol=1e-5)


def test_weights_with_classes_for_a_timm_network_that_is_published_without(tmp_path: Path) -> None:
    """As those of DINOv2 and CLIP are."""
    network = timm.create_model("eva02_tiny_patch14_224", num_classes=3).eval()
    classifier = open_model("timm:eva02_tiny_patch14_224", saved(network, tmp_path))
    images = torch.zeros(1, 3, 224, 224)
    assert torch.equal(classifier.network(images), network(images))


def test_timm_networks_without_classes() -> None:
    """The features that they return must not be taken for logits."""
    network = timm.create_model("test_resnet", num_classes=0)
    with pytest.raises(InputError, match=r"^features "):
        with_timm_preprocessing("features", network, None, ImageOptions())


def test_timm_noise_is_not_resized(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=3)
    classifier = open_model("timm:test_resnet", saved(network, tmp_path))
    assert classifier.image is not None
    noise = Noise("noise:uniform:2", classifier.image.side)
    batch = classifier.batch([noise.read(index).content for index in range(2)])
    std = resolve_model_data_config(network)["std"][0]
    assert batch.std() == pytest.approx(12**-0.5 / std, rel=0.05)  # type: ignore[union-attr]


def test_timm_with_other_preprocessing(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=3, in_chans=1)
    options = ImageOptions(28, (0.1307,), (0.3081,), grey=True)
    classifier = open_model("timm:test_resnet", saved(network, tmp_path), options)
    assert classifier.image is not None
    assert classifier.image.mode == "L"
    batch = classifier.batch([Image.new("L", (28, 28), 255)])
    assert batch.shape == (1, 1, 28, 28)  # type: ignore[union-attr]
    assert batch.mean() == pytest.approx((1 - 0.1307) / 0.3081, rel=1e-5)  # type: ignore[union-attr]


def test_timm_names() -> None:
    with pytest.raises(InputError, match="'resnet18x'"):
        open_model("timm:resnet18x")
    with pytest.raises(InputError, match=r"'esnet18'.*\bresnet18\b"):
        open_model("timm:esnet18")
    with pytest.raises(InputError, match=r"resnet18\.nosuch.*\bresnet18\.a1_in1k\b"):
        open_model("timm:resnet18.nosuch", Path("absent.pt"))


# --- torchvision


def test_torchvision(tmp_path: Path) -> None:
    network = get_model("squeezenet1_1", num_classes=3).eval()
    classifier = open_model("torchvision:squeezenet1_1", saved(network, tmp_path, None))
    assert classifier.classes is None
    transform = SqueezeNet1_1_Weights.DEFAULT.transforms()
    inputs = torch.stack([transform(image) for image in IMAGES])
    assert torch.equal(classifier.batch(IMAGES), inputs)  # type: ignore[arg-type]
    torch.testing.assert_close(answers(classifier, IMAGES), network(inputs), rtol=1e-4, atol=1e-5)
    assert classifier.image == ImageKind("RGB", 256)


def test_torchvision_with_another_size(tmp_path: Path) -> None:
    path = saved(get_model("squeezenet1_1", num_classes=3), tmp_path)
    classifier = open_model("torchvision:squeezenet1_1", path, ImageOptions(112, (0.0,), (1.0,)))
    batch = classifier.batch([Image.new("RGB", (128, 128), (255, 255, 255))])
    assert batch.shape == (1, 3, 112, 112)  # type: ignore[union-attr]
    assert batch.mean() == 1  # type: ignore[union-attr]
    assert classifier.image == ImageKind("RGB", 128)


@pytest.mark.parametrize("has_heads", [False, True])
@pytest.mark.parametrize(
    ("options", "rescales"),
    [
        (ImageOptions(), True),
        (ImageOptions(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)), True),
        (ImageOptions(mean=(0.5,), std=(0.5,)), False),
    ],
)
def test_torchvision_networks_that_rescale_their_inputs(
    options: ImageOptions, rescales: bool, has_heads: bool, tmp_path: Path
) -> None:
    """They rescale as with their published weights, and say so, unless the user gives another mean or std."""
    torch.manual_seed(0)
    arguments = {"aux_logits": has_heads, "transform_input": rescales}
    network = get_model("googlenet", num_classes=3, init_weights=False, **arguments)
    with pytest.warns(GradmeterWarning, match="transform_input") if rescales else nullcontext():
        classifier = open_model("torchvision:googlenet", saved(network, tmp_path), options)
    inputs = classifier.batch(IMAGES)
    with torch.inference_mode():
        assert torch.equal(classifier.network(inputs), network.eval()(inputs))


@pytest.mark.parametrize("name", ["resnet17", "fcn_resnet50", "raft_small"])
def test_torchvision_names(name: str) -> None:
    with pytest.raises(InputError, match=f"'{name}'"):
        open_model(f"torchvision:{name}")


def test_torchvision_is_not_grey() -> None:
    with pytest.raises(InputError, match="--grey"):
        open_model("torchvision:resnet18", None, ImageOptions(grey=True))


# --- a function of the user


MODULE = """
import os

import timm
import torch
from torch import nn

def small():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

def of_timm():
    return timm.create_model("test_resnet", num_classes=3)

def of_timm_compiled():
    return torch.compile(of_timm(), backend="eager")

def exported():
    return torch.export.export(small().eval(), (torch.zeros(2, 1, 8, 8),)).module()

def failing():
    raise RuntimeError("no such luck")

class Own(nn.Linear):
    pretrained_cfg = "mine"

def own():
    return Own(64, 3)

class Stubborn(nn.Linear):
    def eval(self):
        raise ValueError("never")

def stubborn():
    return Stubborn(64, 3)

number = 3
network = small()

def text():
    return "text"

def elsewhere():
    os.chdir("/")
    print("loading")
    return small()
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_networks.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return "own_networks"


def test_function(module: str, tmp_path: Path) -> None:
    options = ImageOptions(8, (0.5,), (0.25,), grey=True)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    classifier = open_model(f"{module}:small", saved(network, tmp_path), options)
    assert classifier.classes == tuple(NAMES)
    white = [Image.new("L", (8, 8), 255)]
    torch.testing.assert_close(answers(classifier, white), network(torch.full((1, 1, 8, 8), 2.0)))


@pytest.mark.parametrize("function", ["of_timm", "of_timm_compiled"])
def test_function_that_returns_a_network_of_timm(function: str, module: str) -> None:
    classifier = open_model(f"{module}:{function}")
    assert classifier.batch(IMAGES).shape == (2, 3, 160, 160)  # type: ignore[union-attr]


def test_function_that_returns_an_exported_network(module: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    classifier = open_model(f"{module}:exported", saved(network, tmp_path), ImageOptions(8, grey=True))
    white = [Image.new("L", (8, 8), 255)] * 2
    torch.testing.assert_close(classifier.network(classifier.batch(white)), network(torch.ones(2, 1, 8, 8)))


def test_a_function_neither_prints_nor_goes_elsewhere(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path.cwd()
    open_model(f"{module}:elsewhere", None, ImageOptions(8, grey=True))
    assert Path.cwd() == before
    assert capsys.readouterr() == ("", "loading\n")


def test_what_a_download_prints_goes_to_standard_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch.hub prints the address of the weights; the output of `--json` is to be JSON only."""

    def downloaded(name: str, weights: object) -> nn.Module:
        print("Downloading")
        return get_model(name, weights=None)

    monkeypatch.setattr("gradmeter.sources.models.torchvision_models.get_model", downloaded)
    open_model("torchvision:squeezenet1_1")
    assert capsys.readouterr() == ("", "Downloading\n")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("small", "--image-size"),
        ("absent", "'absent'.*package.module:function"),
        ("failing", "RuntimeError: no such luck"),
        ("number", "TypeError"),
        ("network", "is a network; expected a function"),
        ("stubborn", "ValueError: never"),
        ("own", "--image-size"),
        ("text", "a str; .* torch.nn.Module"),
    ],
)
def test_bad_functions(function: str, message: str, module: str) -> None:
    with pytest.raises(InputError, match=f"{module}:{function}.*{message}"):
        open_model(f"{module}:{function}")


@pytest.mark.parametrize("model", ["resnet18", "", ":", "timm:", ":resnet18"])
def test_bad_names(model: str) -> None:
    with pytest.raises(InputError, match=f"^{model} .*timm:NAME, torchvision:NAME, hf:NAME_OR_FOLDER"):
        open_model(model)


def test_a_module_that_is_not_there() -> None:
    with pytest.raises(InputError, match="'no_such_module'"):
        open_model("no_such_module:function")


@pytest.mark.parametrize(
    ("model", "meant"),
    [
        ("net.py:make", "net:make"),
        ("./models/net.py:make", "models.net:make"),
        ("/mine/net.py:make", "net:make in /mine"),
        ("tim:resnet10t", "timm:resnet10t"),
        ("torchvison:resnet18", "torchvision:resnet18"),
        ("hugging_face:a/b", "hf:a/b"),
    ],
)
def test_what_was_meant_is_named(model: str, meant: str) -> None:
    with pytest.raises(InputError, match=f"{meant}\\?"):
        open_model(model)


# --- names of classes


class Named(Noise):
    def __init__(self, *classes: str) -> None:
        super().__init__("noise:uniform:1", 4)
        self.classes = classes  # type: ignore[assignment]


def test_classes_are_matched_by_name() -> None:
    classifier = Classifier("m", nn.Identity(), ("cat", "dog", "bird"), None, list)  # type: ignore[arg-type]
    assert classifier.class_numbers(Named("bird", "cat")) == {0: 2, 1: 0}
    assert classifier.class_numbers(Noise("noise:uniform:1", 4)) is None
    with pytest.raises(DataError, match="2 classes named cat"):
        classifier.class_numbers(Named("bird", "cat", "cat"))
    with pytest.raises(DataError, match=r"\(bird, fish\).* m .*\(cat, dog, bird\)"):
        classifier.class_numbers(Named("bird", "fish"))
    assert classifier.named(["a", "b", "c"]).classes == ("a", "b", "c")
    with pytest.raises(InputError, match=r"\(a, a, c\)"):
        classifier.named(["a", "a", "c"])


@pytest.mark.parametrize(
    ("given", "own", "shown"),
    [
        ("cafe\u0301", "caf\u00e9", ('"cafe\\u0301"', '"caf\\u00e9"')),
        ("caf\u00e9", "cafe\u0301", ('"caf\\u00e9"', '"cafe\\u0301"')),
        ("\uff21", "A", ('"\\uff21"', '"A"')),
        ("hot\u00a0dog", "hot dog", ('"hot\\u00a0dog"', '"hot dog"')),
        ("dog ", "dog", ('"dog "', '"dog"')),
    ],
)
def test_names_that_look_alike_are_told_apart(given: str, own: str, shown: tuple[str, str]) -> None:
    classifier = Classifier("m", nn.Identity(), (own, "bird"), None, list)  # type: ignore[arg-type]
    with pytest.raises(DataError) as caught:
        classifier.class_numbers(Named("bird", given))
    assert all(name in str(caught.value) for name in shown)


def test_a_name_that_is_there_twice_in_two_normalisations_is_matched() -> None:
    both = ("caf\u00e9", "cafe\u0301")
    classifier = Classifier("m", nn.Identity(), both, None, list)  # type: ignore[arg-type]
    assert classifier.class_numbers(Named(*reversed(both))) == {0: 1, 1: 0}
    with pytest.raises(DataError, match=r"\(fish, caf\u00e9\)"):
        classifier.class_numbers(Named("fish", "caf\u00e9"))


def test_names_that_several_classes_have() -> None:
    # ImageNet has two classes called crane: the bird and the machine.
    classifier = Classifier("m", nn.Identity(), ("crane", "dog", "crane"), None, list)  # type: ignore[arg-type]
    assert classifier.class_numbers(Named("dog")) == {0: 1}
    assert classifier.class_numbers(Named("crane", "dog", "crane")) == {0: 0, 1: 1, 2: 2}
    with pytest.raises(DataError, match="crane"):
        classifier.class_numbers(Named("crane", "dog"))


@pytest.mark.parametrize("parts", [("test", "train"), ("Train", "VAL", "test")], ids=", ".join)
def test_parts_of_a_data_set_are_no_classes(parts: tuple[str, ...]) -> None:
    for names in (None, ("cat", "dog", "test")):
        with pytest.raises(
            DataError, match=r"^noise:uniform:1 has the classes .*, which are named after parts of a data"
        ):
            small(names).class_numbers(Named(*parts))
    assert small(("bus", "test", "train")).class_numbers(Named("test", "train")) == {0: 1, 1: 2}
    assert small().class_numbers(Named("bus", "test", "train")) is None


def test_devices_that_are_not_there() -> None:
    for device in ("nosuch", "cuda:-1", "privateuseone", "hpu", ""):
        with pytest.raises(InputError, match=f"--device {device}: "):
            small().move(device)


def test_no_values() -> None:
    with pytest.raises(InputError, match=r"^--device meta: its tensors have no values; expected cpu"):
        small().move("meta")
    classifier = small()
    classifier.network.to("meta")
    with pytest.raises(UnsupportedModelError, match=r"^m: '1\.weight' is on the device meta and has no values"):
        classifier.move("cpu")


def test_long_lists_are_cut() -> None:
    classifier = Classifier("m", nn.Identity(), tuple(map(str, range(1000))), None, list)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"\(0, 1, .*, 11 and 988 more\)"):
        classifier.class_numbers(Named("x"))


def small(classes: tuple[str, ...] | None = None) -> Classifier:
    """A classifier of three classes."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))

    def batch(images: Sequence[Any]) -> torch.Tensor:
        return torch.stack([torch.from_numpy(np.asarray(image, np.float32)) for image in images])

    return Classifier("m", network, classes, ImageKind("L", 4), batch)


def test_the_trial_is_compared_with_a_saved_one() -> None:
    classifier = small()
    saved = classifier.trial.tolist()
    assert classifier.answers_as(saved)
    assert not classifier.answers_as([[-logit for logit in row] for row in saved])
    largest = max(abs(logit) for row in saved for logit in row)
    assert classifier.answers_as([[logit + 0.015 * largest for logit in row] for row in saved])
    assert not classifier.answers_as([[logit + 0.025 * largest for logit in row] for row in saved])
    assert not any(classifier.answers_as(other) for other in ([], [[]], saved[:1]))


def test_without_names_only_their_number_can_be_compared() -> None:
    assert small().outputs == 3
    assert small().class_numbers(Named("a", "b", "c")) is None
    with pytest.raises(DataError, match=r"2 classes \(a, b\).* m has 3.*--classes"):
        small().class_numbers(Named("a", "b"))


def test_the_numbers_of_classes_are_noted() -> None:
    note = str(small().numbering(Named("a", "b", "c")))
    assert all(
        value in note
        for value in ("noise:uniform:1", "a is 0, b is 1, c is 2;", "--classes (for a TrustModel, to gradmeter fit)")
    )
    assert "a is 0, b is 1, c is 2, and so on;" in str(small().numbering(Named("a", "b", "c", "d")))
    assert small().numbering(Noise("noise:uniform:1", 4)) is None
    assert small(("a", "b", "c")).numbering(Named("a", "b")) is None


def test_every_class_has_a_name() -> None:
    small().require_names()
    small(("a", "b", "c")).require_names()
    with pytest.raises(InputError, match=r"2 .*m has 3"):
        small(("a", "b")).require_names()


PIXELS = ArrayKind((ArrayField("", "float32", (3, 40, 40), -2.0, 2.0),))


def test_arrays_get_no_preprocessing(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=3).eval()
    classifier = open_model("timm:test_resnet", saved(network, tmp_path), arrays=PIXELS)
    assert (classifier.image, classifier.texts, classifier.arrays, classifier.outputs) == (None, False, PIXELS, 3)
    pixels = np.random.default_rng(0).normal(size=(2, 3, 40, 40)).astype(np.float32)
    batch = classifier.batch([{"": image} for image in pixels])
    assert isinstance(batch, torch.Tensor)
    assert np.array_equal(batch.numpy(), pixels)
    assert classifier.named(["a", "b", "c"]).arrays == PIXELS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ImageOptions(size=8), "^--image-size given"),
        (ImageOptions(mean=(0.5,), std=(0.5,)), "^--mean and --std given"),
        (ImageOptions(grey=True), "^--grey given"),
    ],
)
def test_options_of_images_for_arrays(options: ImageOptions, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"{message}.*float32 \[3, 40, 40\]"):
        open_model("timm:test_resnet", None, options, PIXELS)


def test_arrays_of_another_size_get_a_note(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet", num_classes=3).eval()
    classifier = open_model("timm:test_resnet", saved(network, tmp_path), arrays=PIXELS)
    notes = []
    for name, side in (("same", 40), ("other", 48)):
        np.savez(tmp_path / f"{name}.npz", inputs=np.zeros((2, 3, side, side)))
        notes.append(classifier.resized(open_source(str(tmp_path / f"{name}.npz"), None, arrays=PIXELS)))
    assert notes[0] is None
    assert notes[1] is not None
    assert "[3, 48, 48]" in notes[1]
    assert open_model("timm:test_resnet", saved(network, tmp_path)).resized(Noise("noise:uniform", 8)) is None


def test_only_functions_of_the_user_are_searched_in_the_current_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the folder of `gradmeter demo`, a file may be named like a module of Python."""
    for model, searched in (("gradmeter.research.study.network:PaperCNN", False), ("torchvision.models:alexnet", True)):
        monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
        open_model(model, options=ImageOptions(size=28, grey=True))
        assert ("" in sys.path) is searched
