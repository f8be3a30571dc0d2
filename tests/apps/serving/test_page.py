"""The page's files, headers and description of the network, without a server."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("ray.serve", reason="the extra serve is not installed")

from fastapi import FastAPI
from fastapi.testclient import TestClient

from gradmeter import GradientMeter, TrustModel
from gradmeter.apps.serving import Limits, Page, read_examples
from gradmeter.apps.serving.details import MOST_CLASSES, Details
from gradmeter.errors import DataError
from gradmeter.sources.models import Classifier
from gradmeter.sources.samples import ImageKind
from sources.samples.pictures import save
from trust.trained import digits, loader, trained

KIND = ImageKind("L", 8)
NAME = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def trust() -> TrustModel:
    trust = TrustModel(GradientMeter(trained()), "ridge_cv").fit(loader(300, 900))
    trust.set_risk(0.1, loader(900, 1400))
    return trust


def classifier(image: ImageKind | None = KIND) -> Classifier:
    return Classifier(NAME, trained(), tuple("abcdefghij"), image, lambda images: digits()[0][: len(images)])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty images, half of them light, in folders named by a class and by markup."""
    folder = tmp_path_factory.mktemp("images")
    for number in range(20):
        save(folder / "a" / f"{number:02}.png", 2 * number)
        save(folder / "<b>" / f"{number:02}.png", 255 - 2 * number)
    (folder / "a/00.png").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def client(trust: TrustModel, images: Path) -> TestClient:
    return client_of(Page.of(trust, classifier(), read_examples(str(images), KIND)))


def client_of(page: Page) -> TestClient:
    from gradmeter.apps.serving.page import described, page_routes

    api = FastAPI()
    api.include_router(page_routes(page, described(page, Limits())))
    return TestClient(api)


@pytest.mark.slow
def test_only_its_own_files_are_loaded_and_no_script_stands_in_the_page(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assert page.headers["content-security-policy"].startswith("default-src 'self';")
    assert "unsafe" not in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|//|<base", page.text)
    files = re.findall(r'(?:src|href)="(page/[^"]+)"', page.text)
    assert {"page/page.js", "page/page.css"} <= {*files}
    for file in files:
        answer = client.get(f"/{file}")
        assert answer.status_code == 200
        assert answer.headers["x-content-type-options"] == "nosniff"
        # What a script imports exists, too.
        for module in re.findall(r"from '\./(\w+\.js)'", answer.text):
            assert client.get(f"/page/{module}").headers["content-type"].startswith("text/javascript")


def test_scripts_never_interpret_text_as_markup(client: TestClient) -> None:
    folder = Path(__file__).parents[3] / "src/gradmeter/apps/serving/static"
    scripts = [path.read_text() for path in folder.glob("*.js")]
    assert len(scripts) > 5
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser|https?:"
    assert not [found for script in scripts for found in re.findall(forbidden, script)]


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fpage.py", "%2e%2e/page.py", "index.html%00", "/etc/passwd"])
def test_other_files_are_not_served(name: str, client: TestClient) -> None:
    assert client.get(f"/page/{name}").status_code == 404


def test_the_network_is_described(client: TestClient, trust: TrustModel) -> None:
    model = client.get("/model").json()
    assert (model["model"], model["classes"], model["mode"], model["side"]) == (NAME, 10, "L", 8)
    assert trust.guarantee is not None
    assert model["guarantee"]["threshold"] == trust.guarantee.threshold
    assert model["levels"] == sorted(model["levels"])
    assert model["largest"] == Limits().largest


def test_examples(client: TestClient, images: Path) -> None:
    """They are taken evenly; one that cannot be read is left out."""
    examples = client.get("/model").json()["examples"]
    assert len(examples) == 23
    assert [example["name"] for example in examples].count("<b>") == 12
    assert all(example["light"] == (example["name"] == "<b>") for example in examples)
    for example in examples:
        answer = client.get(example["address"])
        assert answer.headers["content-type"] == "image/png"
        shade = np.asarray(Image.open(io.BytesIO(answer.content))).mean()
        assert (shade > 127) == example["light"]
    assert client.get("/examples/23").status_code == 404
    assert client.get("/examples/-1").status_code == 404


def test_without_an_example_that_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=tmp_path.name):
        read_examples(str(tmp_path), KIND)


def test_a_network_for_texts_has_no_images(trust: TrustModel) -> None:
    page = Page.of(trust, Classifier("texts", trained(), None, None, lambda texts: digits()[0][: len(texts)]))
    model = client_of(page).get("/model").json()
    assert (model["mode"], model["side"], model["examples"]) == (None, None, [])


def test_details(trust: TrustModel) -> None:
    readings = trust.meter(digits()[0][1400:1403])
    assert trust.judge is not None
    rows = Details(trust.judge, tuple("abcdefghij"))(readings)
    softmax = readings.logits.double().softmax(1)
    (gradient,) = trust.layer_values(readings)
    assert gradient.objections is not None
    for index, row in enumerate(rows):
        probabilities = {entry["name"]: entry["probability"] for entry in row["probabilities"]}
        assert [*probabilities.values()] == sorted(probabilities.values(), reverse=True)
        np.testing.assert_allclose([probabilities[name] for name in "abcdefghij"], softmax[index], rtol=1e-6)
        assert [layer["layer"] for layer in row["layers"]] == ["0", "4", "6"]
        assert [layer["objects"] for layer in row["layers"]] == gradient.objections[index].tolist()
        np.testing.assert_allclose([layer["value"] for layer in row["layers"]], gradient.values[index])


def test_of_many_classes_the_most_probable_are_shown(trust: TrustModel) -> None:
    assert trust.judge is not None
    readings = trust.meter(digits()[0][1400:1401])
    many = replace(readings, logits=torch.arange(100.0)[None])
    (row,) = Details(replace(trust.judge, classifier=Layerless()), None)(many)
    names = [entry["name"] for entry in row["probabilities"]]
    assert names == [str(number) for number in range(99, 99 - MOST_CLASSES, -1)]


class Layerless:
    """A meta classifier without distances."""

    def layer_distances(self, block: Any) -> list[Any]:
        return []
