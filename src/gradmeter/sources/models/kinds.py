"""The kinds of models that a user can name."""

from __future__ import annotations

import difflib

KINDS = {
    "timm": ("gradmeter.sources.models.timm_models", "timm"),
    "torchvision": ("gradmeter.sources.models.torchvision_models", "torchvision"),
    "hf": ("gradmeter.sources.models.transformers_models", "transformers"),
}
"""Module that opens each kind of model, and the extra that installs what it needs."""
# What people call them otherwise.
_OTHERWISE = {"huggingface": "hf", "transformers": "hf"}
EXPECTED = "timm:NAME, torchvision:NAME, hf:NAME_OR_FOLDER or package.module:function"


def runs_code(model: str) -> bool:
    """Whether MODEL names a function, which runs when the model is opened."""
    return model.partition(":")[0] not in KINDS


def nearest_kind(module: str) -> str | None:
    """The kind of model that somebody may have meant who wrote `module`."""
    near = difflib.get_close_matches(module, [*KINDS, *_OTHERWISE], 1)
    return _OTHERWISE.get(near[0], near[0]) if near else None
