"""Answers to HEAD, which monitors of servers send instead of GET."""

from typing import Any


class HeadAsGet:
    """An ASGI application that treats HEAD as GET; the server leaves out the body."""

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """Answer a request."""
        if scope.get("method") == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)
