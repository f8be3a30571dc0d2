"""Models that other libraries download or load, with one-line errors."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

from gradmeter.errors import DataError, InputError
from gradmeter.names import listed

Result = TypeVar("Result")

NO_CODE: dict[str, Any] = {"trust_remote_code": False}
"""For `from_pretrained`; by default transformers asks the user whether to run code of a repository."""
# What its errors of such repositories name.
_CODE = "trust_remote_code"
# The most names of missing weights in an error.
_SHOWN = 3


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
        if _CODE in str(error):
            raise InputError(
                f"{model} has code of its own, which is not run; expected a network of transformers: open it in a "
                "function of yours, and give package.module:function"
            ) from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"{model} cannot be loaded ({type(error).__name__}: {reason}); check the name and the connection, or "
            "give --weights FILE"
        ) from error
    finally:
        hub.setLevel(level)


def pretrained(model: str, auto: Any, name: str) -> Any:
    """Return a network of transformers with all of its weights.

    Args:
        model: the name for messages.
        auto: a class of transformers with `from_pretrained`.
        name: a folder, or a name on the Hugging Face hub.

    Raises:
        InputError: if it cannot be loaded.
        DataError: if weights are missing, for which transformers only warns and takes random numbers.
    """
    network, loaded = download(
        model, lambda: auto.from_pretrained(name, use_safetensors=True, output_loading_info=True, **NO_CODE)
    )
    if missing := sorted(loaded["missing_keys"]):
        raise DataError(
            f"{model} lacks the weights {listed(missing, _SHOWN)}; expected all weights of a trained "
            "network: save it with save_pretrained"
        )
    return network
