"""What other libraries fetch from the internet, and one line where that fails."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from gradmeter.errors import InputError

Fetched = TypeVar("Fetched")


def fetched(model: str, fetch: Callable[[], Fetched]) -> Fetched:
    """What `fetch` returns.

    Raises:
        InputError: if it fails, for want of a network or of what was asked for.
    """
    # It tells of every one of its five attempts; what matters is the last.
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        return fetch()
    except Exception as error:  # hubs fail in as many ways as there are libraries between
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{model} cannot be had ({type(error).__name__}: {reason}); check the name and the connection, or give "
            "--weights FILE"
        ) from error
    finally:
        hub.setLevel(level)
