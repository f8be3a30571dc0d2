"""The reference documents every public name."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx", reason="needs the packages of the extra docs")

from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace

pytestmark = pytest.mark.slow

DOCS = Path(__file__).parents[1] / "docs"


# Deprecations in Sphinx concern its extensions, not this package.
@pytest.mark.exhaustive
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::PendingDeprecationWarning")
def test_every_public_name_of_a_module_with_a_page_is_shown(tmp_path: Path) -> None:
    with docutils_namespace():
        reference_only = {"root_doc": "api/index", "include_patterns": ["api/**"]}
        application = Sphinx(DOCS, DOCS, tmp_path, tmp_path, "dummy", reference_only, status=None, warning=None)
        application.builder.read()
    reference = application.env.domains.python_domain
    public = {name for module in reference.modules for name in getattr(sys.modules[module], "__all__", ())}
    shown = {name.rpartition(".")[2] for name in reference.objects}
    # Sphinx skips names without a docstring, such as this constant.
    assert public - shown == {"__version__"}
