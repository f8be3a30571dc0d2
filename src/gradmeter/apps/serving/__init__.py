"""An HTTP server for verdicts of a TrustModel."""

from gradmeter.runs.engines.ray import configure_ray

configure_ray()  # before the modules below import Ray

from gradmeter.apps.serving.application import application  # noqa: E402
from gradmeter.apps.serving.receiving import Limits  # noqa: E402
from gradmeter.apps.serving.running import serve  # noqa: E402

__all__ = ["Limits", "application", "serve"]
