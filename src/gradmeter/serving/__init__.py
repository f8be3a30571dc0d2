"""A TrustModel that answers over HTTP."""

from gradmeter.serving.application import application
from gradmeter.serving.receiving import Limits
from gradmeter.serving.running import serve

__all__ = ["Limits", "application", "serve"]
