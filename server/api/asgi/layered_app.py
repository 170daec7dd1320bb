"""A FastAPI app with layers around it: what they answer by themselves passes nothing of FastAPI's."""

from collections.abc import Callable
from functools import partial
from typing import Any

from fastapi import FastAPI
from starlette.types import ASGIApp

__all__ = ["LayeredApp"]


class LayeredApp(FastAPI):
    """FastAPI puts middleware inside its own (limits, errors, telemetry), which cost a twentieth of an answer; here
    layers are outside of all that. The outermost must answer for every error."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._layers: list[Callable[[ASGIApp], ASGIApp]] = []

    def add_layer(self, layer: Callable[..., ASGIApp], **settings: Any) -> None:
        """Put an ASGI middleware around all that is there."""
        self._layers.append(partial(layer, **settings))

    def build_middleware_stack(self) -> ASGIApp:
        """Starlette's own hook, called once, with the first request."""
        stack = super().build_middleware_stack()
        for layer in self._layers:
            stack = layer(stack)
        return stack
