"""Models that other libraries download or load, with one-line errors."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any, TypeVar

from gradmeter.errors import NO_THREAD, InputError, is_out_of_memory

Result = TypeVar("Result")

NO_CODE: dict[str, Any] = {"trust_remote_code": False}
"""For `from_pretrained`; by default transformers asks the user whether to run code of a repository."""
# What its errors of such repositories name.
_CODE = "trust_remote_code"


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
        if is_out_of_memory(error) or NO_THREAD in str(error):  # no fault of the model
            raise
        if _CODE in str(error):
            raise InputError(
                f"{model} has code of its own, which is not run; expected a network of transformers: open it in a "
                "function of yours, and give package.module:function"
            ) from error
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{model} cannot be loaded ({type(error).__name__}: {reason}); {_advice(model)}") from error
    finally:
        hub.setLevel(level)


def _advice(model: str) -> str:
    kind, _, name = model.partition(":")
    if kind != "hf":
        return "check the name and the connection, or give --weights FILE"
    if os.path.isdir(name):
        return (
            "expected what save_pretrained of transformers writes for a network and its tokenizer or image processor; "
            "for weights in another file, give --weights FILE"
        )
    return (
        "check the name and the connection, or give --weights FILE; if it is a folder that has moved, give hf: and its "
        "path, for a TrustModel with --model"
    )
