"""Traces of events: from the span of who sends one to the span of the batch with which it came into the features."""

import gzip
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from confluent_kafka import Consumer
from event_streams import shop
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from polling import poll_until
from redis import Redis
from stream_system import System

from data.event import encode_event
from data.log.event_log import EventLog
from events.kafka.sender import Sender
from events.trace import NO_TRACE, Batch
from events.tracing import EventTracing
from features.plan.plan import Plan
from server.process.server_process import free_port
from server.settings import read_settings
from server.tracing import traced

NOBODY = "http://127.0.0.1:1"
SOMEBODYS = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def system(plan: Plan, kafka_servers: str, topic: str, redis_client: "Redis[bytes]", tmp_path: Path) -> System:
    return System(plan, kafka_servers, topic, redis_client, EventLog(tmp_path / "log"))


def traces(spans: list[ReadableSpan]) -> set[int]:
    return {span.context.trace_id for span in spans}


def linked(spans: list[ReadableSpan]) -> set[int]:
    return {link.context.trace_id for span in spans for link in span.links}


def test_every_event_leads_to_the_batch_with_which_it_came_into_the_features(system: System) -> None:
    sent, folded = InMemorySpanExporter(), InMemorySpanExporter()
    sending, system.trace = EventTracing("producer", NOBODY, sent), EventTracing("stream", NOBODY, folded)
    events = shop(30)
    with Sender(system.servers, system.topic, None, trace=sending) as sender:
        for event in events:
            sender.send(event.user_id.encode(), encode_event(event))
        sender.send(b"u", b"no event")
    sending.close()
    with system.running():
        system.await_logged(30)
        poll_until(lambda: system.committed() == 31)
    system.trace.close()
    senders, batches = list(sent.get_finished_spans()), list(folded.get_finished_spans())
    assert {span.name for span in senders} == {f"send {system.topic}"}
    assert {(span.kind, span.status.status_code) for span in senders} == {(SpanKind.PRODUCER, StatusCode.UNSET)}
    assert {(span.name, span.kind) for span in batches} == {(f"process {system.topic}", SpanKind.CONSUMER)}
    assert len(traces(senders)) == 31
    assert traces(senders) == linked(batches)
    assert sum(dict(span.attributes or {})["messaging.batch.message_count"] for span in batches) == 31  # type: ignore[misc]
    assert sum(dict(span.attributes or {})["encore.events"] for span in batches) == 30  # type: ignore[misc]
    assert all((span.end_time or 0) > (span.start_time or 0) for span in batches)
    common = {"messaging.system", "messaging.destination.name", "messaging.operation.type"}
    assert {frozenset(span.attributes or ()) for span in senders} == {frozenset(common)}, "nothing personal"
    counts = {"messaging.batch.message_count", "encore.events"}
    assert {frozenset(span.attributes or ()) for span in batches} == {frozenset(common | counts)}


def test_where_nobody_traces_a_message_is_as_it_was(system: System) -> None:
    with Sender(system.servers, system.topic, None) as sender:
        sender.send(b"u", b"v")
    consumer = Consumer({"bootstrap.servers": system.servers, "group.id": "look", "auto.offset.reset": "earliest"})
    consumer.subscribe([system.topic])
    message = poll_until(lambda: consumer.poll(1))
    consumer.close()
    assert message.headers() is None


@pytest.mark.parametrize("headers", [[], [("traceparent", None)], [("traceparent", b"\xff" * 900)], [("x", b"y")]])
def test_a_header_that_names_no_span_links_nothing(system: System, headers: list[tuple[str, bytes | None]]) -> None:
    folded = InMemorySpanExporter()
    system.trace = EventTracing("stream", NOBODY, folded)
    event = shop(1)[0]
    with Sender(system.servers, system.topic, None) as sender:
        sender._producer.produce(system.topic, encode_event(event), event.user_id.encode(), headers=headers)  # noqa: SLF001 - what others send
    with system.running():
        system.await_logged(1)
        poll_until(lambda: system.committed() == 1)
    system.trace.close()
    (batch,) = folded.get_finished_spans()
    assert not batch.links


@pytest.mark.integration
def test_what_kafka_refuses_is_an_error_and_what_is_not_sampled_is_no_link() -> None:
    exporter = InMemorySpanExporter()
    trace = EventTracing("producer", NOBODY, exporter)
    with Sender(f"127.0.0.1:{free_port()}", "t", None, trace=trace, delivery_s=0.2) as sender:
        sender.send(b"u", b"v")
    others = [SOMEBODYS[:-1] + "0", "no span", f"00-{'0' * 32}-{'0' * 16}-01"]
    trace.folded(Batch("t", 1, 3, 2, [SOMEBODYS, *others]))
    trace.close()
    refused, batch = exporter.get_finished_spans()
    assert refused.status.status_code is StatusCode.ERROR
    assert [f"{link.context.trace_id:032x}" for link in batch.links] == ["0af7651916cd43dd8448eb211c80319c"]


@pytest.mark.integration
def test_the_settings_say_where_spans_go() -> None:
    posts: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posts.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        with traced(read_settings(otlp_endpoint=endpoint), "encore-stream") as trace:
            trace.folded(Batch("events", 1, 3, 2, []))
        server.shutdown()
    ((path, body),) = posts
    assert path == "/v1/traces"
    assert b"encore-stream" in (gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body)
    with traced(read_settings(), "encore-stream") as trace:
        assert trace is NO_TRACE
