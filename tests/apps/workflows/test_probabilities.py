import pytest

from gradmeter.report.probabilities import compared, percent, significant


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


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0.0"),
        (1.0, "100.0"),
        (0.1234, "12.3"),
        (0.9994, "99.9"),
        (0.99996, "99.996"),
        (19_999 / 20_000, "99.995"),
        (1e-6, "0.0001"),
        (1 - 2**-53, "99.99999999999999"),
        (1e-300, "0.0000000000000000"),
    ],
)
def test_no_share_is_rounded_to_none_or_all(share: float, text: str) -> None:
    assert percent(share, 1) == text


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.5, "0.5"), (0.7536016, "0.753602"), (1.7e-5, "1.7e-05"), (0.99999997, "0.99999997"), (1.0, "1"), (0.0, "0")],
)
def test_no_threshold_is_rounded_to_one(probability: float, text: str) -> None:
    assert significant(probability, 6) == text
