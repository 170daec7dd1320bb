"""The API as processes: several workers, a stop that loses nobody, slow clients, logs and traces."""

import itertools
import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from polling import poll_until
from redis import Redis
from serving import NOON, TestClient, fold_events, make_app, served

import server.api.asgi.patient_http
from data.clock import ManualClock
from data.errors import ConfigurationError
from features.state.online.states import OnlineStates
from server.api.serving import serve_api
from server.api.tracing import Tracing
from server.logs import JsonLines
from server.process.server_process import free_port
from server.process.store import Store
from server.settings import read_settings


def get(url: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return answer.status, answer.read()
    except OSError as error:
        return getattr(error, "code", 0), b""


@pytest.mark.long
def test_two_workers_share_their_meters_and_end_what_they_began(
    home: Path, store: Store, redis_client: "Redis[bytes]", tmp_path: Path
) -> None:
    fold_events(OnlineStates(redis_client))
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    settings = {"ENCORE_HOME": str(home), "REDIS_HOST": store.host, "REDIS_PORT": str(store.port)}
    log = tmp_path / "log"
    with log.open("wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "server.cli", "serve", "--workers", "2"],
            env=os.environ | settings | {"API_PORT": str(port), "ENCORE_LOG": "json"},
            stderr=output,
        )
    try:
        poll_until(lambda: server.poll() is not None or get(f"{base}/health/ready")[0] == 200, 180)
        assert server.poll() is None, log.read_text()
        asked = f"{base}/predict?user_id=ann&product_id=coffee"
        assert {get(asked)[0] for _ in range(20)} == {200}
        for _ in range(6):  # whichever worker is scraped
            assert b"\nencore_predictions_total 20.0" in get(f"{base}/metrics")[1]
        late: list[int] = []
        redis_client.execute_command("CLIENT", "PAUSE", 700, "ALL")
        waiting = threading.Thread(target=lambda: late.append(get(asked)[0]))
        waiting.start()
        poll_until(lambda: any(b'"GET /health/ready"' in line for line in log.read_bytes().splitlines()))
        with socket.create_connection(("127.0.0.1", port)):
            server.send_signal(signal.SIGTERM)
        waiting.join()
        assert server.wait(20) == 0 or server.returncode == -signal.SIGTERM
        assert late in ([200], [0]), "answered, or refused before it was taken"
    finally:
        server.kill()
        server.wait()
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    requests = [line for line in lines if line["logger"] == "encore.request"]
    assert len([line for line in requests if line["message"] == "GET /predict"]) >= 20
    assert all(line["status"] and line["ms"] > 0 and line["request_id"] for line in requests)
    assert len({line["request_id"] for line in requests}) == len(requests)
    assert not re.search(r"\bann\b|coffee", log.read_text()), "nothing personal at level info"


@pytest.fixture
def patient(home: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a server that waits for a request for a fifth of a second."""
    monkeypatch.setattr(server.api.asgi.patient_http, "PATIENCE_S", 0.2)
    monkeypatch.setattr(server.api.asgi.patient_http, "READ_PATIENCE_S", 0.5)
    app = make_app(home, store.host, store.port, ManualClock(NOON))
    with served(app, http=server.api.asgi.patient_http.PatientHttp) as port:
        yield port


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /predict HTTP/1.1\r\nhost: x\r\n",
        b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{",
    ],
)
def test_a_client_that_does_not_finish_is_left(patient: int, sent: bytes) -> None:
    with socket.create_connection(("127.0.0.1", patient), timeout=20) as slow:
        slow.sendall(sent)
        assert b"200 OK" not in slow.recv(1000), "the end of the connection, or a refusal"
    assert get(f"http://127.0.0.1:{patient}/health/live")[0] == 200


def test_an_answer_is_sent_whole(patient: int) -> None:
    body = b'{"user_id": "ann", "product_id": "coffee"}'
    head = b"POST /predict HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n" % patient
    head += b"content-type: application/json\r\ncontent-length: %d\r\n" % len(body)
    with socket.create_connection(("127.0.0.1", patient), timeout=20) as client:
        for _ in range(2):
            client.sendall(head + b"\r\n" + body)
            answer = client.recv(100_000)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b'"user_id":"ann"' in answer.partition(b"\r\n\r\n")[2]
        # Whoever asks first whether to send a body is told at once.
        client.sendall(head + b"expect: 100-continue\r\n\r\n")
        assert client.recv(100_000).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        assert client.recv(100_000).startswith(b"HTTP/1.1 200 ")
        client.sendall(b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nconnection: close\r\n\r\n" % patient)
        assert client.recv(100_000).startswith(b"HTTP/1.1 200 ")
        assert client.recv(100_000) == b""


HUGE = b"a" * 70_000
MANY = b"".join(b"x-%d: %s\r\n" % (number, b"a" * 90) for number in range(800))


@pytest.mark.parametrize(
    "head",
    [
        b"GET /health/live HTTP/1.1\r\nx-huge: " + HUGE + b"\r\n\r\n",
        b"GET /health/live HTTP/1.1\r\n" + MANY + b"\r\n",
        b"GET /health/live HTTP/1.1\r\n" + MANY,
        b"GET /health/live?" + HUGE + b" HTTP/1.1\r\n\r\n",
        b"GET /" + HUGE,
        b"GET /health/live HTTP/1.1\r\n" + HUGE,
        HUGE,
        b"POST /predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n1;" + HUGE,
        b"POST /predict HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n" + MANY,
    ],
)
@pytest.mark.parametrize("piece", [1_000, 1_000_000])
def test_a_head_without_end_is_refused(patient: int, head: bytes, piece: int) -> None:
    with socket.create_connection(("127.0.0.1", patient), timeout=20) as client:
        try:
            for place in range(0, len(head), piece):
                client.sendall(head[place : place + piece])
        except OSError:
            pass  # it was refused while more was sent
        answer = client.recv(100_000)
    assert re.match(rb"HTTP/1.1 (431|400) ", answer), answer[:200]
    assert answer.startswith(b"HTTP/1.1 431 ") or b"x-huge" not in head
    assert b"content-type: application/problem+json" in answer.lower()
    assert get(f"http://127.0.0.1:{patient}/health/live")[0] == 200


def test_heads_are_bounded_at_64_kib(patient: int) -> None:
    def ask(size: int) -> bytes:
        with socket.create_connection(("127.0.0.1", patient), timeout=20) as client:
            head = b"GET /health/live HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nconnection: close\r\nx-filler: " % patient
            client.sendall(head + b"a" * (size - len(head) - 4) + b"\r\n\r\n")
            return client.recv(100_000)[:13]

    assert [ask(size) for size in (60_000, 65_000, 67_000)] == [b"HTTP/1.1 200 ", b"HTTP/1.1 200 ", b"HTTP/1.1 431 "]


@pytest.mark.parametrize("place", [b"/predict?product_id=coffee&user_id=%s", b"/features/%s"])
def test_bytes_beyond_ascii_are_no_letters(patient: int, place: bytes) -> None:
    """Starlette would read each byte as a letter, and ask about "Å¾ofie"."""
    with socket.create_connection(("127.0.0.1", patient), timeout=20) as client:
        head = b"GET %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nconnection: close\r\n\r\n"
        client.sendall(head % (place % "žofie".encode(), patient))
        assert re.match(rb"HTTP/1.1 4(00|22) ", client.recv(100_000))


def test_trailers_are_no_headers(patient: int, home: Path) -> None:
    key = (home / "run" / "admin.key").read_bytes().strip()
    head = b"POST /models/repeat_purchase/rollback HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n" % patient
    head += b"content-type: application/json\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
    with socket.create_connection(("127.0.0.1", patient), timeout=20) as client:
        client.sendall(head + b"2\r\n{}\r\n0\r\nx-api-key: " + key + b"\r\n\r\n")
        assert client.recv(100_000).startswith(b"HTTP/1.1 403 ")


@pytest.mark.long
def test_an_answer_that_nobody_takes_ends_its_connection(patient: int) -> None:
    """Far more than the system's buffers hold is asked for, and nothing of it is read."""
    ask = b"GET /openapi.json HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n\r\n" % patient
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(30)
        client.connect(("127.0.0.1", patient))
        asked = itertools.repeat(ask * 100)
        with pytest.raises(ConnectionError):
            deque(map(client.sendall, asked), maxlen=0)


@pytest.mark.parametrize("path", ["/predict", "/predict/batch", "/rank", "/predict/what-if"])
def test_a_client_that_hangs_up_is_no_error_of_ours(patient: int, path: str, caplog: pytest.LogCaptureFixture) -> None:
    head = b"POST %s HTTP/1.1\r\nhost: 127.0.0.1:%d\r\ncontent-type: application/json\r\n" % (path.encode(), patient)
    with socket.create_connection(("127.0.0.1", patient)) as client:
        client.sendall(head + b"content-length: 500\r\n\r\n{")
    counted = rb'encore_responses_total{route="%s",status="(\d+)"}' % path.encode()
    metrics = f"http://127.0.0.1:{patient}/metrics"
    poll_until(lambda: re.search(counted, get(metrics)[1]))
    assert set(re.findall(counted, get(metrics)[1])) <= {b"499", b"400"}
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def test_a_port_that_is_taken_is_named_in_a_line(home: Path, store: Store) -> None:
    """By the error that ends a command with one line, and not by uvicorn's lines and its own exit code."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = read_settings(home=home, redis_port=store.port, api_port=port)
        with pytest.raises(ConfigurationError, match=rf"API \(API_PORT\): port {port} on 127.0.0.1 is in use"):
            serve_api(settings)


def test_json_lines_carry_what_was_given() -> None:
    record = logging.makeLogRecord({"msg": "%s is here", "args": ("ann",), "name": "some.where", "status": 200})
    told = json.loads(JsonLines().format(record))
    assert (told["message"], told["logger"], told["status"]) == ("ann is here", "some.where", 200)
    try:
        raise ValueError("no\nway")
    except ValueError:
        record.exc_info = sys.exc_info()
    assert "ValueError" in json.loads(JsonLines().format(record))["error"]


def test_a_request_is_a_span_of_its_callers_trace(home: Path, store: Store, redis_client: "Redis[bytes]") -> None:
    spans = InMemorySpanExporter()
    app: Any = make_app(home, store.host, store.port, ManualClock(NOON))
    app.add_middleware(Tracing, endpoint="http://127.0.0.1:1", exporter=spans)
    caller = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with TestClient(app) as client:
        client.get("/predict?user_id=ann&product_id=coffee", headers={"traceparent": caller})
        client.get("/features/eve")
    found = {span.name: span for span in spans.get_finished_spans()}
    assert set(found) == {"GET /predict", "GET /features/{user_id:path}"}
    assert f"{found['GET /predict'].context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    of_nobody = found["GET /features/{user_id:path}"]
    assert of_nobody.attributes is not None
    assert of_nobody.attributes["http.response.status_code"] == 404
    assert of_nobody.attributes["http.request.method"] == "GET"
    assert of_nobody.status.status_code is StatusCode.UNSET
    assert not any("eve" in str(value) for value in of_nobody.attributes.values()), "nothing personal"


def test_the_span_of_a_failure_is_an_error(home: Path) -> None:
    spans = InMemorySpanExporter()
    app: Any = make_app(home, "127.0.0.1", free_port(), ManualClock(NOON))
    app.add_middleware(Tracing, endpoint="http://127.0.0.1:1", exporter=spans)
    with TestClient(app) as client:
        assert client.get("/features/zoe").status_code == 503
    [failed] = spans.get_finished_spans()
    assert failed.attributes is not None
    assert (failed.attributes["http.response.status_code"], failed.status.status_code) == (503, StatusCode.ERROR)
    assert "zoe" not in failed.to_json()
