"""Scripts and data inside HTML pages, and the content security policy that lets only these scripts run."""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from markupsafe import Markup

# In a script element, HTML ends at "</script" and changes its rules at "<!--". In JSON these characters occur only
# inside strings, where an escape means the same.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


@dataclass(frozen=True)
class Script:
    """A script that is part of a page.

    Attributes:
        text: the content of its element.
        hash: the source of a content security policy that allows it.
    """

    text: Markup
    hash: str


def script(*names: str) -> Script:
    """Return JavaScript files of `gradmeter.report` as one script."""
    text = "".join(files("gradmeter.report").joinpath(name).read_text(encoding="utf-8") for name in names)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), f"'sha256-{digest}'")


def data_element(value: Any) -> Markup:
    """Return a JSON value as the content of a script element of type application/json; NaN is not allowed."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))
