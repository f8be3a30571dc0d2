from collections.abc import Iterator

import pytest
from threadpoolctl import threadpool_limits


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Use one thread, as `Judge.fit` does: more would slow small matrices down, and parallel tests even more."""
    with threadpool_limits(1):
        yield
