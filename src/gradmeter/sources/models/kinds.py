"""The libraries of models that MODEL can name."""

from __future__ import annotations

import difflib

KINDS = {
    "timm": ("gradmeter.sources.models.timm_models", "timm"),
    "torchvision": ("gradmeter.sources.models.torchvision_models", "torchvision"),
    "hf": ("gradmeter.sources.models.transformers_models", "transformers"),
}
"""Prefix of MODEL -> the module that opens such models, and the extra that installs their library."""
# Other common names of these libraries.
_ALIASES = {"huggingface": "hf", "transformers": "hf"}
EXPECTED = "timm:NAME, torchvision:NAME, hf:NAME_OR_FOLDER or package.module:function"


def runs_code(model: str) -> bool:
    """Whether MODEL names a function, which is called when the model is opened."""
    return model.partition(":")[0] not in KINDS


def nearest_kind(module: str) -> str | None:
    """The prefix in `KINDS` that a user may have misspelt as `module`; None if there is no similar one."""
    near = difflib.get_close_matches(module, [*KINDS, *_ALIASES], 1)
    return _ALIASES.get(near[0], near[0]) if near else None
