"""Tracing of a service, as the settings configure it."""

from collections.abc import Iterator
from contextlib import contextmanager

from data.errors import MissingExtraError
from events.trace import NO_TRACE, Trace
from server.settings import Settings

__all__ = ["traced"]


@contextmanager
def traced(settings: Settings, service: str) -> Iterator[Trace]:
    """Yield the trace of a service's spans while the block runs; spans not yet sent are sent at the end."""
    if not settings.otlp_endpoint:
        yield NO_TRACE
        return
    try:
        from events.tracing import EventTracing  # noqa: PLC0415 - the extra `tracing`
    except ImportError as error:
        raise MissingExtraError(
            "OTEL_EXPORTER_OTLP_ENDPOINT is set, and OpenTelemetry is not here", "tracing"
        ) from error

    trace = EventTracing(service, settings.otlp_endpoint)
    try:
        yield trace
    finally:
        trace.close()
