"""The table of docs/engine.md against PyTorch's own list of derivatives."""

import pytest
import torch

from gradmeter.reading.layers import measured_operations
from reading.layers.operations import ENTRIES, RULE, SAMPLES, documented, ways


def test_every_operation_that_joins_a_parameter_to_data_is_documented() -> None:
    """Fails for a new operation of PyTorch: add a rule, or update the table with the output of `operations.py`."""
    page = documented()
    missing = {name: way for name, way in ways().items() if page.get(name) != way}
    assert missing == {}


def test_the_page_names_no_rule_that_there_is_not() -> None:
    assert {name for name, way in documented().items() if way == RULE} == set(measured_operations())


def test_weights_that_real_networks_have_are_known() -> None:
    """The derived list contains operations that are known to exist."""
    derived = ways()
    assert derived["MkldnnRnnLayerBackward0"] == derived["ConvolutionBackward0"] == RULE
    assert derived["MaximumBackward0"] == ENTRIES
    assert derived["EuclideanDistBackward0"] == SAMPLES
    assert "ExpBackward0" not in derived
    assert len(derived) > 150


@pytest.mark.parametrize("name", measured_operations())
def test_rules_are_for_operations_of_autograd(name: str) -> None:
    """A rule with a misspelt name would never be used."""
    if name == "FusedRmsNormBackward0" and not hasattr(torch, "_fused_rms_norm"):
        pytest.skip("this PyTorch has no fused RMSNorm")
    assert name in ways()
