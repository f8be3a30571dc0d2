"""Models that other libraries download or load, with one-line errors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from gradmeter.errors import InputError

Result = TypeVar("Result")


def download(model: str, function: Callable[[], Result]) -> Result:
    """Return the result of a function that downloads a model, or loads it from a cache or a folder.

    Raises:
        InputError: if the function fails, for example because there is no connection or no such model.
    """
    # The library warns about each of its five attempts; the error of the last one is enough.
    hub = logging.getLogger("huggingface_hub")
    level = hub.level
    hub.setLevel(logging.ERROR)
    try:
        return function()
    except Exception as error:  # each hub's library raises errors of its own
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{model} cannot be loaded ({type(error).__name__}: {reason}); check the name and the connection, or "
            "give --weights FILE"
        ) from error
    finally:
        hub.setLevel(level)
