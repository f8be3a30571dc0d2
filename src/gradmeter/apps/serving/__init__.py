"""An HTTP server for verdicts of a TrustModel."""

from gradmeter.runs.engines.ray import configure_ray

configure_ray()  # before the modules below import Ray

from gradmeter.apps.serving.application import application  # noqa: E402
from gradmeter.apps.serving.examples import read_examples  # noqa: E402
from gradmeter.apps.serving.page import Page  # noqa: E402
from gradmeter.apps.serving.receiving import Limits  # noqa: E402
from gradmeter.apps.serving.running import require_free_port, serve  # noqa: E402

__all__ = ["Limits", "Page", "application", "read_examples", "require_free_port", "serve"]
