import pytest


@pytest.fixture(scope="module", autouse=True)
def small_fits(quick_fits: None) -> None:
    """Make the fits of all tests small."""
