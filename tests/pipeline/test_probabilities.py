import pytest

from gradmeter.pipeline.probabilities import compared


@pytest.mark.parametrize(
    ("probability", "text"),
    [
        (0.93124, "=0.9312"),
        (0.0001, "=0.0001"),
        (0.9999, "=0.9999"),
        (1.7e-5, "<0.0001"),
        (0.0, "<0.0001"),
        (0.99996, ">0.9999"),
        (1.0, ">0.9999"),
    ],
)
def test_no_probability_is_rounded_to_certainty(probability: float, text: str) -> None:
    assert compared(probability) == text
