"""The Python blocks of the README and of the page on the library run; the rule on the engine page is in the code."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch

from docs.code import blocks
from gradmeter import GradientMeter
from gradmeter.reading.layers import elementwise, registry
from gradmeter.research.study.network import PaperCNN


@pytest.fixture
def variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    """The variables that a reader of the pages has: a network, images, labels and readings."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "MODULE_RULES", dict(registry.MODULE_RULES))
    torch.manual_seed(0)
    model = PaperCNN()
    images = torch.rand(120, 1, 28, 28)
    readings = GradientMeter(model.eval())(images)
    labels = readings.predictions.clone()
    labels[::3] = (labels[::3] + 1) % 10
    return {
        "model": model,
        "images": images,
        "labels": labels,
        "validation_images": images,
        "validation_labels": labels,
        "first": readings,
        "second": readings,
    }


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_python_runs(page: str, variables: dict[str, Any]) -> None:
    for language, content in blocks(page):
        if language == "python":
            exec(content, variables)
    assert tuple(variables["readings"].layers) == ("conv1", "conv2", "conv3", "dense", "all")


def test_the_rule_of_the_engine_page_is_that_of_the_code() -> None:
    ((_, content),) = [block for block in blocks("docs/engine.md") if block[0] == "python"]
    decorator, _, body = content.strip().splitlines()  # the page has neither types nor a docstring
    source = inspect.getsource(elementwise.expand)
    assert decorator in source
    assert body in source


def test_the_plan_of_the_architecture_page() -> None:
    """The plan has the indices, inputs and dimensions that the page's table shows."""
    variables: dict[str, Any] = {}
    ((_, content),) = [block for block in blocks("docs/architecture.md") if block[0] == "python"]
    exec(content, variables)
    plan = variables["plan"]
    convolution, dense = plan.operations
    assert (convolution.index, convolution.inputs, convolution.terminal) == (0, (1, 2), True)
    assert (dense.index, dense.inputs, dense.terminal) == (5, (0, 2), False)
    assert {axis.dim for planned in plan.operations for axis in planned.axes} == {0}
    assert set(plan.contributions.values()) == {1}
    assert plan.reusable
