"""OpenTelemetry traces of events: a span for each that is sent, and one for each batch, linked to those of its events.

A span names the topic and counts, and no key, id or value of an event (ADR 54). Needs the extra `tracing`.
"""

from importlib.metadata import version

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, get_current_span, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from events.trace import TRACE_HEADER, Batch

__all__ = ["EventTracing", "provider_of"]

_W3C = TraceContextTextMapPropagator()

_MOST_LINKS = 128
"""OpenTelemetry's default limit of the links of a span."""


def provider_of(service: str, endpoint: str, exporter: SpanExporter | None = None) -> TracerProvider:
    """Return a provider of a service's spans, sent in the background to `endpoint` (OTLP over HTTP) or by `exporter`.

    OpenTelemetry's own variables say which are sampled (`OTEL_TRACES_SAMPLER`).
    """
    resource = Resource.create({"service.name": service, "service.version": version("encore-features")})
    provider = TracerProvider(resource=resource)
    sent_by = exporter or OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=5)
    provider.add_span_processor(BatchSpanProcessor(sent_by))
    return provider


class EventTracing:
    """Implements `events.trace.Trace`. Close it at the end, which sends what is left."""

    def __init__(self, service: str, endpoint: str, exporter: SpanExporter | None = None) -> None:
        self._provider = provider_of(service, endpoint, exporter)
        self._tracer = self._provider.get_tracer("encore")

    def send(self, topic: str) -> "_Sending":
        """Begin a span for one message, of a trace of its own; its headers name it."""
        span = self._tracer.start_span(
            f"send {topic}", Context(), kind=SpanKind.PRODUCER, attributes=_attributes(topic, "send")
        )
        return _Sending(span)

    def folded(self, batch: Batch) -> None:
        """Make the span of a batch, linked to the spans of its events that are sampled."""
        carriers = ({TRACE_HEADER: parent} for parent in batch.parents)
        contexts = (get_current_span(_W3C.extract(carrier, Context())).get_span_context() for carrier in carriers)
        links = [Link(context) for context in contexts if context.is_valid and context.trace_flags.sampled]
        span = self._tracer.start_span(
            f"process {batch.topic}",
            Context(),
            kind=SpanKind.CONSUMER,
            links=links[:_MOST_LINKS],
            start_time=batch.began_ns,
            attributes=_attributes(batch.topic, "process")
            | {"messaging.batch.message_count": batch.messages, "encore.events": batch.events},
        )
        span.end()

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


class _Sending:
    def __init__(self, span: Span) -> None:
        self._span = span
        carrier: dict[str, str] = {}
        _W3C.inject(carrier, set_span_in_context(span, Context()))
        self.headers: list[tuple[str, bytes]] | None = [(TRACE_HEADER, carrier[TRACE_HEADER].encode())]

    def end(self, error: str = "") -> None:
        if error:
            self._span.set_status(StatusCode.ERROR, error)
        self._span.end()


def _attributes(topic: str, operation: str) -> dict[str, str | int]:
    return {
        "messaging.system": "kafka",
        "messaging.destination.name": topic,
        "messaging.operation.type": operation,
    }
