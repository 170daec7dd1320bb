"""Whatever bytes come, what reads them answers, or raises an error of ours: events, states, fences, plans, predictions,
heartbeats, model artifacts.

Each is looked at for ten seconds in `.ci/run`, for a minute in `make test-all`: `FUZZ_S`.
"""

import json
import os
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
from event_streams import Act, act, place, sourced
from facts import distincts, fact_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prediction_stream import prediction
from serving import tiny_model
from strategies import json_objects
from thorough import THOROUGH

from data.default_shop import ShopEvent, decode_event
from data.errors import EncoreError, LayoutError, ModelError, StateError, UnavailableError, UndecidedError
from data.event import Event, Rejection, encode_event
from data.log.event_table import PlacedEvent, placed_events, placed_table
from events.predictions.archive import Archived, PredictionArchive
from events.predictions.message import decode_prediction, encode_prediction
from events.stream.heartbeat import WorkerStatus, _decoded
from features.batch.backfill import Backfilled
from features.plan.cache import kept_plan
from features.plan.plan import Plan
from features.state.algebra import DAMAGE
from features.state.fence import Fence
from features.state.fold import Fold
from features.state.states import EntityKey, Stored
from features.state.values import EntityValues
from model.artifact.artifact import read_artifact, write_artifact
from model.artifact.predictor import Predictor
from model.registry.published import Registry

pytestmark = pytest.mark.fuzz

LOOK_S = float(os.environ.get("FUZZ_S", 10 * THOROUGH))


def fuzzed(test: Callable[..., None]) -> Callable[..., None]:
    """Look at ever other examples until the time is over."""
    fine = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
    some = settings(deadline=None, max_examples=20, suppress_health_check=fine)(test)

    @wraps(some)
    def look(*arguments: object, **named: object) -> None:
        began_s = time.monotonic()
        while time.monotonic() - began_s < LOOK_S:
            some(*arguments, **named)

    return look


NOW_US = 1_800_000_000_000_000


@st.composite
def damaged(draw: st.DrawFn, sound: st.SearchStrategy[bytes]) -> bytes:
    """Sound bytes with some of them changed, cut out, doubled or put in."""
    data = bytearray(draw(sound))
    for _ in range(draw(st.integers(1, 4))):
        start, stop = sorted((draw(st.integers(0, len(data))), draw(st.integers(0, len(data)))))
        match draw(st.sampled_from(["change", "cut", "double", "put"])):
            case "change":
                if data:
                    data[min(start, len(data) - 1)] = draw(st.integers(0, 255))
            case "cut":
                del data[start : min(stop, start + 40)]
            case "double":
                data[start:start] = data[start : min(stop, start + 40)]
            case _:
                data[start:start] = draw(st.binary(max_size=12) | st.sampled_from(_TOKENS))
    return bytes(data)


_TOKENS = [
    b"null", b"-1", b"1e999", b"NaN", b'"\\ud800"', b"\xff", b"\x00", b"[" * 3_000, b"{", b'"', b"\xc1",
    b"\xdd\xff\xff\xff\xff",
    b"\xc7\x08\x01\xff\xff\xff\xff\xff\xff\xff\xff", b"9" * 400, b"true", b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00",
]  # fmt: skip

EVENT = encode_event(
    ShopEvent("e", "purchase", "u", "p", 12.5, prediction(0).timestamp, 2, "s", "c", {"device": ["x"]})
)


@fuzzed
@given(
    damaged(st.just(EVENT)) | st.binary(max_size=200) | json_objects().map(msgspec.json.encode), st.binary(max_size=5)
)
def test_events(raw: bytes, key: bytes) -> None:
    for name in (b"u", key):
        event = decode_event(raw, key=name, now_us=NOW_US)
        if isinstance(event, Event):
            fact_of(event)
            (back,) = placed_events(placed_table([PlacedEvent(7, event)]))
            assert back == (7, event, None)
            assert decode_event(encode_event(event), key=name, now_us=NOW_US) == event
        else:
            assert isinstance(event, Rejection)


class _Named:
    """What is set aside."""

    def __init__(self, named: set[EntityKey]) -> None:
        self.add = named.update


class _Held:
    """A store of one answer, in memory."""

    def __init__(self, stored: Stored) -> None:
        self.stored = stored
        self.named = set[EntityKey]()
        self.inventory = self
        self.aside = _Named(self.named)

    def read(self, keys: list[EntityKey]) -> list[Stored]:
        return [self.stored for _ in keys]

    def compare_and_set(self, writes: dict[EntityKey, Any]) -> list[EntityKey]:
        for _, state, fence in writes.values():
            assert isinstance(state, bytes)
            Fence.decode(fence.encode())
        return []

    def add(self, counts: dict[str, int]) -> None:
        pass


def checked(body: bytes) -> bytes:
    return b"\x02" + struct.pack(">I", zlib.crc32(body, zlib.crc32(b"\x02"))) + body


def state_of(plan: Plan, entity: str) -> bytes:
    algebra = EntityValues(plan.of(entity)).algebra
    state = algebra.empty()
    for number in range(6):
        fact = fact_of(act(Act("purchase", "u", "p", number * 10**11, 2.5), f"e{number}"))
        algebra.update(state, fact, () if number else distincts(algebra, fact))
    return algebra.encode(state)


@st.composite
def states(draw: st.DrawFn, plan: Plan, entity: str) -> bytes:
    """Bytes that may be a state: damaged, or sound in their checksum and not in what they say."""
    sound = state_of(plan, entity)
    if draw(st.booleans()):
        return draw(damaged(st.just(sound)))
    if draw(st.booleans()):
        return checked(draw(damaged(st.just(sound[5:]))))
    fields = msgspec.msgpack.decode(sound[5:], ext_hook=lambda _, data: bytes(data))
    odd = st.one_of(st.none(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=3), st.booleans(), st.floats(),
                    st.lists(st.integers(-5, 2**62), max_size=6), st.binary(max_size=3), json_objects())  # fmt: skip
    for _ in range(draw(st.integers(1, 3))):
        fields[draw(st.integers(1, len(fields) - 1))] = draw(odd)
    return checked(msgspec.msgpack.encode(fields))


@fuzzed
@given(data=st.data())
def test_states(plan: Plan, data: st.DataObject) -> None:
    entity = data.draw(st.sampled_from([one.entity for one in plan.entities]))
    raw = data.draw(states(plan, entity))
    values = EntityValues(plan.of(entity))
    with suppress(*DAMAGE):
        values.get(values.algebra.decode(raw), NOW_US)
    sound = Fence(b"t" * 16, {0: 3}).encode()
    fence = data.draw(st.just(sound) | damaged(st.just(sound)))
    placed = place([act(Act("purchase", "u", "p", 10**12), "e")])
    with suppress(LayoutError, UndecidedError):  # where the user's state is damaged, it waits to be made anew
        held: Any = _Held(Stored(raw, fence))
        Fold(plan, held, b"t" * 16, store=held).apply(sourced(placed), watch=data.draw(st.booleans()))


@fuzzed
@given(damaged(st.just(Fence(b"t" * 16, {0: 3, 7: 2**40}, 5).encode())) | st.binary(max_size=60))
def test_fences(raw: bytes) -> None:
    try:
        fence = Fence.decode(raw)
    except StateError:
        return
    assert Fence.decode(fence.encode()) == fence
    fence.ahead_of(Fence(b"t" * 16, {0: 1}))


@fuzzed
@given(damaged(st.just(Backfilled(EntityKey("user", ("u",)), b"s", Fence(), 1).pack())) | st.binary(max_size=60))
def test_packed_states(raw: bytes) -> None:
    with suppress(StateError):
        Backfilled.unpack(raw)


@fuzzed
@given(data=st.data())
def test_plans(plan: Plan, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    sound = msgspec.json.encode({"sources": "x", "plan": plan})
    path.write_bytes(data.draw(damaged(st.just(sound))))
    kept_plan(path)


@fuzzed
@given(damaged(st.just(encode_prediction(prediction(1)))) | st.binary(max_size=100))
def test_predictions(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    found = decode_prediction(raw)
    if found is not None:
        archive = PredictionArchive(tmp_path_factory.mktemp("predictions"))
        archive.append("topic", [Archived(0, 1, found)])
        table = archive.read(["timestamp", "as_of", "features"], target=found.target)
        assert isinstance(table, pa.Table)
        assert all(isinstance(row, dict) for row in map(json.loads, table["features"].to_pylist()))


@fuzzed
@given(damaged(st.just(msgspec.json.encode(WorkerStatus("w", 1, 1, 0, 0, 0.0, {}, 0, {0: 1}, {0: 1}, None)))))
def test_heartbeats(raw: bytes) -> None:
    assert isinstance(_decoded(raw), WorkerStatus | None)


@fuzzed
@given(data=st.data())
def test_model_artifacts(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    artifact = tiny_model(("user_view_count", "user_purchase_count"))
    folder = tmp_path_factory.mktemp("model") / artifact.metadata.version
    write_artifact(folder, artifact)
    path = folder / data.draw(st.sampled_from(["metadata.json", "model.onnx", "explainer.npz"]))
    path.write_bytes(data.draw(damaged(st.just(path.read_bytes()))))
    try:
        predictor = Predictor(read_artifact(folder))
    except (ModelError, UnavailableError):
        return
    assert predictor.score([[0.0] * len(predictor.features)]).shape == (1,)


@fuzzed
@given(raw=st.binary(max_size=60) | damaged(st.just(b"20261121-030405-ab12cd 0.25\n")))
def test_aliases(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    registry = Registry(tmp_path_factory.mktemp("models"))
    path: Path = registry.root / "repeat_purchase" / "champion"
    path.parent.mkdir()
    path.write_bytes(raw)
    try:
        _, share = registry.resolve_share("repeat_purchase", "champion")
    except EncoreError:
        return
    assert 0 <= share <= 1
