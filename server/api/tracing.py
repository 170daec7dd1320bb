"""OpenTelemetry traces: a span for every request, continuing the caller's trace. Needs the extra `tracing`.

A span has the route's name, but no path, address or shopper's id (ADR 54).
"""

from opentelemetry.propagate import extract
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from events.tracing import provider_of
from server.api.asgi.envelope import request_id

__all__ = ["Tracing"]


class Tracing:
    """ASGI middleware. Spans are sent in the background, to `endpoint` (OTLP over HTTP) or by a given exporter."""

    def __init__(self, app: ASGIApp, endpoint: str, exporter: SpanExporter | None = None) -> None:
        self._app = app
        provider = provider_of("encore-api", endpoint, exporter)
        self._provider = provider
        self._tracer = provider.get_tracer("encore")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request within a span."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            if scope["type"] == "lifespan":
                self._provider.shutdown()  # sends the remaining spans
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        with self._tracer.start_as_current_span(
            scope["method"], context=extract(headers), kind=SpanKind.SERVER
        ) as span:

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            try:
                await self._app(scope, receive, answer)
            finally:
                route = getattr(scope.get("route"), "path", "none")
                span.update_name(f"{scope['method']} {route}")
                span.set_attributes(
                    {
                        "http.request.method": scope["method"],
                        "http.route": route,
                        "encore.request_id": request_id.get(),
                    }
                )
