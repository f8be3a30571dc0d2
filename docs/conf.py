"""Sphinx configuration: the Markdown pages of this folder and, under api/, the reference from the docstrings.

Build it with `sphinx-build -W docs build/docs`; no network access is needed.
"""

import re
from typing import Any

from numpy.typing import ArrayLike
from sphinx.application import Sphinx
from sphinx.util.typing import stringify_annotation

from gradmeter import __version__

project = "gradmeter"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
# Anchors of headings for links from other pages, the same as on GitHub.
myst_heading_anchors = 3
# Text in single backticks in a docstring is code, and a link if it names a documented object.
default_role = "py:obj"

autodoc_default_options = {
    "members": True,
    "special-members": "__call__, __getitem__, __len__",
    "no-value": True,
}
autodoc_member_order = "bysource"
autodoc_type_aliases = {"ArrayLike": "ArrayLike"}
# Show attributes as a list; their types are in the signature.
napoleon_custom_sections = [("Attributes", "params_style")]
# The heading of each page already names the module.
add_module_names = False
toc_object_entries_show_parents = "hide"
python_maximum_signature_line_length = 100

html_theme = "furo"
html_title = f"gradmeter {version}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_copyright = False

_ARRAY_LIKE = re.compile(re.escape(stringify_annotation(ArrayLike, "smart")))
_NDARRAY = re.compile(r"~numpy\.ndarray\[tuple\[~typing\.Any, \.\.\.\], ~numpy\.dtype\[(.+?)\]\]")
_COMPUTED = re.compile(r"<function \S+>|<factory>")
_DOT_IN_CODE = re.compile(r"(?<![^\s(])`(?=\.)")


def setup(app: Sphinx) -> None:
    """Connect the handlers; called by Sphinx."""
    app.connect("autodoc-process-signature", _shorten)
    app.connect("autodoc-process-docstring", _keep_dots)


def _shorten(_app: Any, _what: Any, _name: Any, _object: Any, _options: Any, *parts: str | None) -> Any:
    """Shorten NumPy types, which are long when spelled out, to their names, and computed defaults to "..."."""

    def short(part: str) -> str:
        return _COMPUTED.sub("...", _NDARRAY.sub(r"NDArray[\1]", _ARRAY_LIKE.sub("ArrayLike", part)))

    return tuple(part and short(part) for part in parts)


def _keep_dots(_app: Any, _what: Any, _name: Any, _object: Any, _options: Any, lines: list[str]) -> None:
    """Show `.grad` as code with its dot, not as a link to an object of that name."""
    lines[:] = [_DOT_IN_CODE.sub(":code:`", line) for line in lines]
