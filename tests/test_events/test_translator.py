"""Messages of another shape become events, or say why they do not."""

import io
import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import fastavro
import pytest

from data.default_shop import SHOP, decode_event
from data.errors import ConfigurationError, UnavailableError
from data.event import Event, Rejection
from events.translation.avro import AvroDecoder
from events.translation.mapping import load_live_mapping
from events.translation.translator import Translator

ORDERS = """
topic = "shop-orders"
each = "lines"
ignore = [{ path = "kind", values = ["ping"] }]

[event]
event_id = ["id", ".sku"]
event_type = { path = "kind", values = { gekauft = "purchase", "zurück" = "return" } }
user_id = "customer.id"
product_id = ".sku"
amount = ".price"
quantity = ".count"
category = "shop.0.name"
device = { value = "phone" }

[time]
path = "at"
form = "%d.%m.%Y %H:%M"
zone = "Europe/Berlin"
"""

ORDER: dict[str, Any] = {
    "id": 4711,
    "kind": "gekauft",
    "customer": {"id": 17850.0, "name": "Ann"},
    "shop": [{"name": "Tee"}],
    "at": "24.11.2026 14:05",
    "lines": [{"sku": "p1", "price": "12.50", "count": 2}, {"sku": "p2", "price": 3}],
}


def translator(folder: Path, text: str = ORDERS) -> Translator:
    path = folder / "live.toml"
    path.write_text(text)
    return Translator(SHOP, load_live_mapping(path, SHOP))


def made(translate: Translator, message: Any) -> list[Event]:
    found = translate(json.dumps(message).encode(), "t-0-7")
    assert not isinstance(found, Rejection), found
    events = [decode_event(value, key=key, now_us=2**60) for key, value in found]
    assert all(isinstance(event, Event) for event in events)
    return events  # type: ignore[return-value]


def refused(translate: Translator, message: Any) -> str:
    found = translate(message if isinstance(message, bytes) else json.dumps(message).encode(), "t-0-7")
    assert isinstance(found, Rejection)
    return f"{found.kind}: {found.reason}"


def test_each_line_of_an_order_is_an_event(tmp_path: Path) -> None:
    first, second = made(translator(tmp_path), ORDER)
    assert (first.event_id, first.event_type, first.user_id, first.product_id) == ("4711-p1", "purchase", "17850", "p1")
    assert (first.amount, first.quantity, first.category, first.device) == (12.5, 2, "Tee", "phone")
    assert first.timestamp.isoformat() == "2026-11-24T14:05:00+01:00"
    assert (second.event_id, second.amount, second.quantity) == ("4711-p2", 3.0, 1)
    assert made(translator(tmp_path), {**ORDER, "lines": []}) == []
    assert made(translator(tmp_path), {"kind": "ping"}) == []


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("iso", "2026-03-29T02:30:00", "2026-03-29T02:30:00+01:00"),  # left out: standard time
        ("iso", "2026-10-25T02:30:00", "2026-10-25T02:30:00+01:00"),  # twice: standard time
        ("iso", "2026-07-01T12:00:00Z", "2026-07-01T12:00:00+00:00"),
        ("unix", 1_767_225_600.5, "2026-01-01T00:00:00.500000+00:00"),
        ("unix_ms", "1767225600123", "2026-01-01T00:00:00.123000+00:00"),
        ("unix_us", 1_767_225_600_123_456, "2026-01-01T00:00:00.123456+00:00"),
    ],
)
def test_times_of_every_form(tmp_path: Path, form: str, value: Any, expected: str) -> None:
    translate = translator(tmp_path, ORDERS.replace("%d.%m.%Y %H:%M", form))
    assert made(translate, {**ORDER, "at": value})[0].timestamp.isoformat() == expected


def test_without_an_id_the_place_is_the_id(tmp_path: Path) -> None:
    text = ORDERS.replace('event_id = ["id", ".sku"]\n', "")
    assert [event.event_id for event in made(translator(tmp_path, text), ORDER)] == ["t-0-7-0", "t-0-7-1"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"{", "invalid: not JSON"),
        (b"\xff\xfe", "invalid: not JSON"),
        ({**ORDER, "kind": "gestohlen"}, "invalid: event_type: 'gestohlen' is none of the values"),
        ({**ORDER, "kind": None}, "invalid: Object missing required field `event_type`"),
        ({**ORDER, "customer": 7}, "invalid: Object missing required field `user_id`"),
        ({**ORDER, "customer": {"id": True}}, "invalid: bool where a text or number is expected"),
        ({**ORDER, "customer": {"id": ["a"]}}, "invalid: list where a text or number is expected"),
        ({**ORDER, "at": "2026-11-24"}, "invalid: no time of the form %d.%m.%Y %H:%M at `at`: '2026-11-24'"),
        ({**ORDER, "at": None}, "invalid: no time"),
        ({**ORDER, "lines": {"sku": "p"}}, "invalid: no list of up to 10000 elements"),
        ({**ORDER, "lines": [{"sku": "p", "price": -1}]}, "invalid: Expected `float` >= 0.0 - at `$.amount`"),
        ({**ORDER, "lines": [{"sku": "p", "price": "much"}]}, "invalid: Expected `float`"),
        ({**ORDER, "id": "x" * 100}, "invalid: Expected `str` of length <= 64 - at `$.event_id`"),
        ([ORDER], "invalid: no list of up to"),
    ],
)
def test_what_is_no_event_is_said(tmp_path: Path, message: Any, reason: str) -> None:
    assert refused(translator(tmp_path), message).startswith(reason)


def test_a_message_without_a_value_is_refused(tmp_path: Path) -> None:
    assert translator(tmp_path)(None, "t-0-7") == Rejection("invalid", "the message has no value")


AVRO = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "id", "type": "long"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["gekauft", "ping"]}},
        {"name": "customer", "type": {"type": "record", "name": "C", "fields": [{"name": "id", "type": "string"}]}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {
            "name": "lines",
            "type": {
                "type": "array",
                "items": {
                    "type": "record",
                    "name": "Line",
                    "fields": [
                        {"name": "sku", "type": "string"},
                        {
                            "name": "price",
                            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
                        },
                        {"name": "count", "type": ["null", "int"], "default": None},
                    ],
                },
            },
        },
    ],
}


class Registry(BaseHTTPRequestHandler):
    """Knows the schema 7, says of 8 that it is busy, and of others that there are none."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        """Answer as a schema registry does."""
        self.asked.append(self.path)
        status = {"/schemas/ids/7": 200, "/schemas/ids/8": 500}.get(self.path, 404)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps({"schema": json.dumps(AVRO)} if status == 200 else {"error_code": status}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def registry() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Registry)
    Registry.asked.clear()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()
    thread.join()


def avro(number: int, message: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    fastavro.schemaless_writer(out, fastavro.parse_schema(AVRO), message)
    return b"\0" + number.to_bytes(4, "big") + out.getvalue()


@pytest.mark.integration
def test_avro_is_read_by_the_schemas_of_a_registry(tmp_path: Path, registry: str) -> None:
    path = tmp_path / "live.toml"
    path.write_text(ORDERS.replace('category = "shop.0.name"\n', ""))
    translate = Translator(SHOP, load_live_mapping(path, SHOP), AvroDecoder(registry))
    at = datetime(2026, 11, 24, 13, 5, tzinfo=UTC)
    lines = [{"sku": "p1", "price": Decimal("12.50"), "count": 2}, {"sku": "p2", "price": Decimal("3.00")}]
    order = {"id": 4711, "kind": "gekauft", "customer": {"id": "ann"}, "at": at, "lines": lines}
    for _ in range(3):
        found = translate(avro(7, order), "t-0-7")
        assert not isinstance(found, Rejection)
        first, second = (decode_event(value, key=key, now_us=2**60) for key, value in found)
        assert isinstance(first, Event)
        assert isinstance(second, Event)
        assert (first.event_id, first.user_id, first.amount, first.quantity) == ("4711-p1", "ann", 12.5, 2)
        assert (first.timestamp, second.amount, second.quantity) == (at, 3.0, 1)
    assert Registry.asked == ["/schemas/ids/7"]
    assert refused(translate, avro(9, order)) == "invalid: schema 9 is not in the registry"
    assert refused(translate, avro(7, order)[:-3]).startswith("invalid: not Avro of schema 7: ")
    assert refused(translate, b"{}").startswith("invalid: not Avro of a registry")
    with pytest.raises(UnavailableError, match="it answers 500"):
        translate(avro(8, order), "t-0-7")
    with pytest.raises(UnavailableError, match="SCHEMA_REGISTRY_URL"):
        AvroDecoder("http://127.0.0.1:1")(avro(7, order))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (("amount =", "cost ="), ":11: event.cost: an event has no such column"),
        (('user_id = "customer.id"', ""), ":6: event: it says nothing of user_id"),
        (('gekauft = "purchase"', 'gekauft = "bought"'), ":8: event.event_type: 'bought' is no declared type"),
        (('each = "lines"', ""), ":7: event.event_id: .sku is of an element of a list, and `each` names none"),
        (("Europe/Berlin", "Europe/Nowhere"), ":19: time.zone: no time zone is called 'Europe/Nowhere'"),
        (('{ value = "phone" }', '{ value = "phone", path = "d" }'), ":14: event.device: say a path or a value"),
        (
            ('path = "kind", values = ["ping"]', 'path = ".kind", values = ["ping"]'),
            ":4: ignore: .kind: is of an element",
        ),
        (('path = "at"', 'path = ".at"\nzone = "UTC" #'), ": no mapping of a topic: Cannot overwrite a value"),
        (('topic = "shop-orders"', ""), ": Object missing required field `topic`"),
        (("[time]", "[times]"), ":16: times: Object contains unknown field `times`"),
        (("topic =", "topic"), ": no mapping of a topic: Expected '='"),
    ],
)
def test_a_wrong_mapping_is_refused_by_place(tmp_path: Path, wrong: tuple[str, str], told: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        translator(tmp_path, ORDERS.replace(*wrong))
    assert str(caught.value).startswith(f"{tmp_path / 'live.toml'}{told}")
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml"):
        load_live_mapping(tmp_path / "nowhere.toml", SHOP)
