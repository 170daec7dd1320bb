"""The routes that score, found by their path in one look: FastAPI's own way to a route costs as much as answering.

For every request FastAPI tries its routes in turn, and keeps two stacks of things to close for dependencies and files.
A `BodyRoute` has neither. What is not here, such as another method, goes FastAPI's way as ever.
"""

from collections.abc import Sequence

from fastapi import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from server.api.asgi.body_route import BodyRoute
from server.api.problems import told_as_problem

__all__ = ["DirectRoutes"]


class DirectRoutes:
    """The innermost layer of ours. `prefixes` are those under which the app has the routes."""

    def __init__(self, app: ASGIApp, *, routes: Sequence[BaseRoute], prefixes: Sequence[str]) -> None:
        self._app = app
        found = [route for route in routes if isinstance(route, BodyRoute) and route.body_field is not None]
        self._routes = {
            (method, prefix + route.path): (route, route.get_route_handler())
            for route in found
            for method in route.methods or ()
            for prefix in prefixes
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        scope["route"], answer = found
        request = Request(scope, receive)
        try:
            response = await answer(request)
        except Exception as error:
            refusal = await told_as_problem(request, error)
            if refusal is None:
                raise
            response = refusal
        await response(scope, receive, send)
