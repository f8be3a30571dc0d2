from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """As a judge fits: small matrices take longer with more, and much longer where other tests use them too."""
    with threadpool_limits(1):
        yield
