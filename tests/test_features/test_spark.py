"""Spark says what DuckDB says: the same expressions, on the engine for more than one machine."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace as changed
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from background import in_background
from event_streams import START_US, TOPIC, Act, Placed, act, as_log, place, sourced
from more_definitions import define_more
from msgspec.structs import replace
from paths import Question, Values, assert_equal, everything, fold_all, keys_of, unknown
from polling import poll_until
from redis import Redis
from target_log import TARGETS
from verifying import verify_log

from data.clock import wall_clock
from data.default_shop import EVENT_TYPES, ShopEvent
from data.errors import ConfigurationError, DataError
from data.event import Event
from data.importers import import_files, load_mapping
from data.log.event_log import EventLog
from data.log.event_table import EVENT_COLUMNS
from data.units import DAY_US, HOUR_US, MINUTE_US
from features.batch.engine import DuckDBEngine, Engine
from features.batch.open import open_engine
from features.batch.spark.engine import SparkEngine
from features.batch.spark.java import check_java
from features.batch.spark.session import SparkConnection
from features.batch.spark.states import OpenStates
from features.entities import ENTITIES, USER
from features.plan.compiler import compile_features
from features.plan.entity_set import entity_set
from features.plan.plan import Plan
from features.state.fold import Fold
from features.state.memory import MemoryStates
from features.state.online.access import RedisAccess
from features.state.states import EntityKey, States
from features.verify.verification import verify
from model.examples.mixture import MIN_SERVED, served_later
from model.examples.outcomes import outcomes
from model.examples.spine import build_spine
from model.targets import Target
from server.process.store import Store

ODD_NAME = "lo[g]s {a,b} 100%41 * ü"
SAMPLES = Path(__file__).parents[1] / "samples"

# Short queries: what Java's second compiler does would never pay.
_FAST_START = "-XX:TieredStopAtLevel=1"


@pytest.fixture(scope="session")
def more() -> Plan:
    """The project's features, and every other kind that compiles."""
    return compile_features(define_more(entity_set()))


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    """A log whose path Hadoop would take for a pattern, with a percent sign that it would take for an escape."""
    return EventLog(tmp_path / ODD_NAME)


def ask(engine: Engine, plan: Plan, keys: Sequence[EntityKey], cutoffs: Sequence[int]) -> list[Values]:
    """Every feature of each entity, all of one kind, at every cutoff."""
    entity = plan.schema.entity(keys[0].entity)
    asked = [(number, key) for number in range(len(cutoffs)) for key in keys]
    spine = pd.DataFrame([key.ids for _, key in asked], columns=list(entity.join_keys))
    spine["time_us"] = [cutoffs[number] for number, _ in asked]
    features = plan.of(entity.name).features
    table = engine.values(plan, entity.name, spine, [feature.name for feature in features])
    types = {feature.name: feature.type + "64" for feature in features}
    assert {field.name: str(field.type).replace("double", "float64") for field in table.schema} == types
    answers: list[Values] = [{} for _ in cutoffs]
    for (number, key), row in zip(asked, table.to_pylist(), strict=True):
        answers[number][key] = row
    return answers


def some_events(number: int, seed: int) -> list[Placed]:
    """Events of a few shoppers over 40 days, late, simultaneous, and on and about the borders of tiles."""
    chance = random.Random(seed)
    events = []
    for count in range(number):
        unit = chance.choice([1, 5 * MINUTE_US, HOUR_US, DAY_US])
        at = chance.randrange(40 * DAY_US) // unit * unit + (chance.choice([-1, 0, 1]) if unit > 1 else 0)
        user, product = chance.choice(["u", "v", "ü ber", "🛒"]), chance.choice(["p", "'; --", "プロ:1"])
        amount = chance.choice([0.0, 0.1, 12.34, 99.99, round(chance.uniform(0, 1000), 2)])
        kind = chance.choice([*EVENT_TYPES, "purchase", "view"])
        event = act(Act(kind, user, product, max(at, 0), amount), f"e{count:03d}")
        labels = {"category": (None, "toys", "b", "ü", "プロ")[count % 5], "brand": (None, "x", "プロ")[count % 3]}
        labels["order_id"] = (None, "1", "ö 2", "2")[count % 4]
        events.append(replace(event, **labels))
    return place(events)


BORDER = START_US + 31 * DAY_US


def real_rows() -> tuple[list[Event], list[int]]:
    """Rows of public data sets, and the ends of their times."""
    fields = ("event_id", "event_type", "user_id", "product_id", "amount", "timestamp", "quantity")
    events, cutoffs = list[Event](), list[int]()
    for data_set in ("online-retail", "rees46", "retailrocket"):
        tables, _ = import_files(
            load_mapping(data_set), [SAMPLES / f"{data_set.replace('-', '_')}.csv"], now_us=wall_clock()
        )
        found = [ShopEvent(*[row[field] for field in fields]) for table in tables for row in table.to_pylist()]
        newest = max(event.timestamp_us for event in found)
        events += found
        cutoffs += [newest, newest // DAY_US * DAY_US]
    return events, cutoffs


def hard_amounts() -> list[Event]:
    """Sums of 1e15 in micro-units have 21 digits, floats 15; and squares of close amounts cancel in floats."""
    large = (1e15, 1e15 - 0.125, 999_999_999_999_999.875, 123_456_789_012_345.67, 0.0, 9_007_199_254.740993)
    acts = [Act("purchase", "large", "l", number * HOUR_US, amount) for number, amount in enumerate(large)]
    acts += [Act("purchase", "close", "bc", HOUR_US + n * 1000, 50_000 + n % 3 / 100) for n in range(7)]
    return [act(one, f"hard{number}") for number, one in enumerate(acts)]


Ask = Callable[[str, int], Values]
"""All features of every entity of a kind at a cutoff."""


@pytest.fixture(scope="module")
def ask_both(spark: SparkConnection, more: Plan, tmp_path_factory: pytest.TempPathFactory) -> Ask:
    """What DuckDB and Spark say alike of events on and about the borders of tiles, of real rows, and of hard amounts.

    They are in one log and asked about once, since most of Spark's time is that of planning. Their entities differ, and
    each kind of them is compared by the scale of its own amounts.
    """
    real, ends = real_rows()
    parts = [place(events) for events in ([one.event for one in some_events(300, seed=1)], real, hard_amounts())]
    placed = place(one.event for part in parts for one in part)
    cutoffs = [START_US - DAY_US, START_US + DAY_US, BORDER - 1, BORDER, BORDER + 1, BORDER + 7 * HOUR_US]
    cutoffs += [BORDER + 12_345_678_901, BORDER + 90 * DAY_US, *ends]
    log = as_log(EventLog(tmp_path_factory.mktemp("asked") / ODD_NAME), placed, rows_per_file=400)

    @cache
    def answers(name: str) -> list[Values]:
        keys = [keys_of(more.schema.entity(name), part) for part in parts]
        asked = list(dict.fromkeys(chain.from_iterable(keys)))
        with DuckDBEngine(log, threads=1) as duckdb, SparkEngine(log) as engine:
            theirs, ours = (ask(one, more, asked, cutoffs) for one in (duckdb, engine))
        for at_us, expected, found in zip(cutoffs, theirs, ours, strict=True):
            for part, named in zip(parts, keys, strict=True):
                of_part = {key: expected[key] for key in named}
                assert_equal(Question(more, part, at_us), {"duckdb": of_part, "spark": found})
        return ours

    return lambda entity, at_us: answers(entity)[cutoffs.index(at_us)]


@pytest.mark.parametrize("entity", [entity.name for entity in ENTITIES])
def test_every_feature_agrees(ask_both: Ask, entity: str) -> None:
    assert len(ask_both(entity, BORDER)) > 1, "somebody beside the unknown one"


def test_every_feature_has_a_value_on_the_border_of_a_tile(ask_both: Ask, more: Plan) -> None:
    asked = ask_both(USER.name, BORDER)
    assert [name for name, value in asked[EntityKey(USER.name, ("u",))].items() if value is None] == []
    nobody = asked[EntityKey(USER.name, unknown(USER))]
    assert {nobody[feature.name] for feature in more.of("user").features if feature.type == "int"} == {0}
    assert nobody["user_more_trend"] is None


def test_deviations_of_close_amounts_do_not_cancel(ask_both: Ask) -> None:
    close = ask_both(USER.name, START_US + DAY_US)[EntityKey(USER.name, ("close",))]
    assert close["user_std_transaction_amount"] == pytest.approx(0.00899735410842437, rel=1e-9)
    assert close["user_more_std_amount_30d"] == pytest.approx(0.00899735410842437, rel=1e-9)


def test_both_read_the_same_events_and_every_offset_once(spark: SparkConnection, log: EventLog) -> None:
    """Overlapping files are left by a worker that crashed; half micro-units are rounded to even."""
    amounts = (1e15, 123_456_789_012_345.67, 5e-7, 15e-7, 25e-7, 0.1 + 0.2, 4_611_686_018_427.387904, 1 / 3)
    acts = [Act("view", "u", "p", number, amount) for number, amount in enumerate(amounts)]
    events = [act(one, f"e{number}") for number, one in enumerate(acts)]
    columns = {name: [getattr(event, name) for event in events] for name in EVENT_COLUMNS.names}
    table = pa.table(columns, schema=EVENT_COLUMNS).append_column("offset", pa.array(range(len(events))))
    for first, end in ((0, 2), (1, 6), (2, 4), (3, 8)):
        log.append("kafka-00", 0, range(first, end), table[first:end])
    assert [file.start for file in log.files()] == [0, 2, 6]

    def rows(engine: Engine, execute: Any) -> list[tuple[Any, ...]]:
        columns = ("offset", "source", "partition", "event_id", "time_us", "amount", "quantity")
        return sorted(tuple(row.values()) for row in execute(engine.events().select(*columns)))

    with DuckDBEngine(log) as duckdb, SparkEngine(log) as engine:
        theirs = rows(duckdb, lambda table: duckdb.connection.to_pyarrow(table).to_pylist())
        compile_ = engine.connection.compile
        ours = rows(engine, lambda table: engine.connection.raw_sql(compile_(table)).toArrow().to_pylist())
    assert [row[0] for row in ours] == list(range(len(amounts)))
    assert [int(row[5]) for row in ours] == [round(amount * 1e6) for amount in amounts]
    assert ours == theirs


def test_rows_come_in_the_order_asked_and_may_be_none(spark: SparkConnection, more: Plan, log: EventLog) -> None:
    placed = place([act(Act("view", f"u{n}", "p", n), f"e{n}") for n in range(9)])
    with SparkEngine(as_log(log, placed)) as engine:
        users = [f"u{n}" for n in (8, 3, 3, 0, 7)] + ["nobody"]
        spine = pd.DataFrame({"user_id": users, "time_us": START_US + 7})
        views = engine.values(more, USER.name, spine, ["user_view_count"])
        assert views.to_pydict() == {"user_view_count": [0, 1, 1, 1, 1, 0]}
        none = engine.values(more, USER.name, spine[:0], ["user_view_count"])
        assert (none.num_rows, none.schema) == (0, views.schema)


@pytest.mark.parametrize(("at_us", "told"), [((DAY_US,), "ARITHMETIC_OVERFLOW"), ((34, DAY_US), "OUT_OF_RANGE")])
def test_what_overflows_raises(
    spark: SparkConnection,
    more: Plan,
    log: EventLog,
    capfd: pytest.CaptureFixture[str],
    at_us: tuple[int, ...],
    told: str,
) -> None:
    """A sum of time times amount past 38 digits is no number, and none is invented.

    Whether it is that of the events between two probes, or only the running total of several.
    """
    from pyspark.errors import ArithmeticException

    placed = place([act(Act("purchase", "u", "p", n, 1e15), f"e{n}") for n in range(70)])
    spine = pd.DataFrame({"user_id": ["u"] * len(at_us), "time_us": [START_US + at for at in at_us]})
    with SparkEngine(as_log(log, placed, rows_per_file=100)) as engine:
        with pytest.raises(ArithmeticException, match=told):
            engine.values(more, USER.name, spine, ["user_more_trend"])
        assert capfd.readouterr() == ("", "")
        *_, spend = engine.values(more, USER.name, spine, ["user_total_spend"])["user_total_spend"].to_pylist()
        assert spend == pytest.approx(7e16, rel=1e-15)


def test_it_is_quiet_local_and_does_not_stop_a_session_it_found(spark: SparkConnection, log: EventLog) -> None:
    context = spark.session.sparkContext
    with SparkEngine(log, master="spark://nowhere:7077") as engine:
        session = engine.connection.raw_sql("SELECT 1").sparkSession
        assert session.sparkContext is context, "Spark was running already"
        assert session is not spark.session
        assert session.conf.get("spark.sql.session.timeZone") == "UTC"
        assert session.conf.get("spark.sql.ansi.enabled") == "true"
        with pytest.raises(DataError, match="encore generate"):
            engine.events()
    assert context.uiWebUrl is None
    assert context.getConf().get("spark.driver.bindAddress") == "127.0.0.1"
    assert context.getConf().get("spark.driver.host") == "127.0.0.1"
    assert spark.session.range(3).count() == 3, "it is still running"


def test_whoever_starts_spark_stops_it_and_it_says_nothing(spark: SparkConnection, tmp_path: Path) -> None:
    script = f"""
        from pathlib import Path
        from pyspark import SparkContext
        from data.errors import ConfigurationError
        from data.log.event_log import EventLog
        from features.batch.spark.engine import SparkEngine
        log = EventLog(Path({str(tmp_path)!r}))
        try:
            SparkEngine(log, master="local[x]")
        except ConfigurationError as error:
            print(error)
        for again in range(2):
            with SparkEngine(log, master="local[1]") as engine:
                with SparkEngine(log):
                    pass
                print(engine.connection.raw_sql("SELECT 1").count(), end=" ")
            print(SparkContext._active_spark_context)
    """
    python = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(script)]
    environment = {**os.environ, "JAVA_TOOL_OPTIONS": _FAST_START}
    told = subprocess.run(python, capture_output=True, text=True, env=environment, timeout=250, check=False)
    complaint = "Spark: it did not start with the master 'local[x]': "
    complaint += "org.apache.spark.SparkException: Could not parse Master URL: 'local[x]'"
    assert told.stdout.splitlines() == [complaint, "1 None", "1 None"]
    assert told.stderr == ""


def test_the_engine_is_the_one_that_is_named(spark: SparkConnection, log: EventLog) -> None:
    with open_engine(log) as by_default, open_engine(log, on="spark", master="local[1]") as engine:
        assert isinstance(by_default, DuckDBEngine)
        assert isinstance(engine, SparkEngine)


def test_states_are_those_of_duckdb_byte_by_byte(
    spark: SparkConnection, more: Plan, log: EventLog, tmp_path: Path
) -> None:
    """Saved by the executors: every kind of entity and of aggregate, over files of which parts overlap."""
    as_log(log, some_events(400, seed=3), rows_per_file=60)
    with DuckDBEngine(log, threads=1) as duckdb, SparkEngine(log) as engine:
        assert engine.entities() == duckdb.entities()
        for entity in more.entities:
            folder = tmp_path / "saved" / entity.entity
            engine.save_states(entity, f"file:{folder}")
            rows = pq.read_table(folder).to_pylist()
            saved = {tuple(row[key] for key in entity.join_keys): (row["state"], row["last_event_us"]) for row in rows}
            assert saved == {one.key.ids: (one.pack(), one.last_event_us) for one in duckdb.states(entity)}
            assert len(saved) == len(rows) > 0


def test_executors_write_states_beside_a_stream_that_is_ahead(
    spark: SparkConnection, plan: Plan, log: EventLog, store: Store, redis_client: "Redis[bytes]"
) -> None:
    placed = some_events(200, seed=4)
    opened = OpenStates(RedisAccess(port=store.port), "encore", plan.schema)
    states = opened()
    Fold(plan, states, TOPIC).apply(sourced(placed, plan.schema))  # all of it; the log has all but the newest events
    log = as_log(log, placed[:150], rows_per_file=40)
    before = {entity.entity: states.counts()[entity.entity] for entity in plan.entities}
    with SparkEngine(log) as engine:
        written = {entity.entity: engine.write_states(entity, opened) for entity in plan.entities}
    assert all(counts.ahead > 0 for counts in written.values())
    assert states.counts() == before
    twin = MemoryStates(plan.schema)
    fold_all(plan, placed, twin, seed=0)
    assert everything(plan, states, placed) == everything(plan, twin, placed)


def test_what_an_executor_refuses_is_said_in_its_words(
    spark: SparkConnection, plan: Plan, log: EventLog, store: Store, redis_client: "Redis[bytes]"
) -> None:
    placed = place([act(Act("view", "u", "p", n), f"e{n}") for n in range(8)])
    opened = OpenStates(RedisAccess(port=store.port), "encore", plan.schema)
    states = opened()
    Fold(plan, states, TOPIC).apply(sourced(placed, plan.schema))
    log = as_log(log, [one for one in placed if one.offset != 0])
    with (
        SparkEngine(log) as engine,
        pytest.raises(DataError, match=r"in Redis, and .* no state was"),
    ):
        engine.write_states(plan.of("user"), opened)


def test_an_executor_that_is_killed_in_the_middle_changes_no_value(
    spark: SparkConnection, plan: Plan, log: EventLog, store: Store, redis_client: "Redis[bytes]"
) -> None:
    acts = [Act("view", f"u{n % 3000}", f"p{n % 7}", n * 1000, n) for n in range(12_000)]
    log = as_log(log, place([act(one, f"e{n}") for n, one in enumerate(acts)]), rows_per_file=6_000)
    opened = OpenStates(RedisAccess(port=store.port), "encore", plan.schema)
    states, pairs = opened(), plan.of("user_product")
    with DuckDBEngine(log) as duckdb:
        expected = {one.key: one.state for one in duckdb.states(pairs)}

    def kill(stop: threading.Event) -> None:
        poll_until(lambda: redis_client.dbsize() > 500, 300)
        os.kill(executors()[0], signal.SIGKILL)

    with in_background(kill), SparkEngine(log) as engine:
        counts = engine.write_states(pairs, opened)
    assert counts == (len(expected), 0)
    keys = list(expected)
    assert {key: one.state for key, one in zip(keys, states.read(keys), strict=True)} == expected
    assert states.counts()["user_product"] == len(expected)


def executors() -> list[int]:
    """The processes of Spark's executors on this machine that this test run has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"org.apache.spark.executor.CoarseGrainedExecutorBackend" in words and is_ours(int(path.parent.name)):
                found.append(int(path.parent.name))
    return found


def is_ours(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return False


def test_verification_compares_spark_too(spark: SparkConnection, plan: Plan, log: EventLog, states: States) -> None:
    placed = some_events(60, seed=2)
    fold_all(plan, placed, states, seed=0)
    at_us = START_US + 40 * DAY_US
    with SparkEngine(as_log(log, placed, rows_per_file=100)) as engine:
        verdict = verify_log(plan, log, states, sample=2, at_us=at_us, beside={"spark": engine})
    assert verdict.ok, verdict.disagreements
    assert verdict.compared["spark"] == verdict.agreeing["spark"] == verdict.compared["batch"] > 0


def test_verification_on_spark_alone_draws_what_duckdb_draws(
    spark: SparkConnection, plan: Plan, log: EventLog, states: States
) -> None:
    placed = some_events(60, seed=2)
    fold_all(plan, placed, states, seed=0)
    at_us = START_US + 40 * DAY_US
    with SparkEngine(as_log(log, placed, rows_per_file=100)) as engine:
        verdict = verify(plan, engine, states, None, sample=2, at_us=at_us)
    assert verdict.ok, verdict.disagreements
    assert verdict == verify_log(plan, log, states, sample=2, at_us=at_us)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_questions_and_their_answers_are_those_of_duckdb(spark: SparkConnection, log: EventLog, target: Target) -> None:
    """Over all kinds of rules, in a log of which parts overlap: the same draws, the same sample, to the last bit."""
    as_log(log, some_events(400, seed=3), rows_per_file=60)
    short = changed(target, horizon_us=3 * HOUR_US)
    with DuckDBEngine(log) as duckdb, SparkEngine(log) as engine:
        one, other = (build_spine(on, short, max_rows=80, seed=5) for on in (duckdb, engine))
        pd.testing.assert_frame_equal(one, other)
        assert len(one) > 20
        assert one.attrs == other.attrs
        questions = pa.Table.from_pandas(
            one[["user_id", "product_id"]].assign(as_of=one["event_timestamp"]), preserve_index=False
        )
        many = pa.concat_tables([questions] * (MIN_SERVED // 20))
        np.testing.assert_array_equal(outcomes(duckdb, short, many), outcomes(engine, short, many))
        assert served_later(duckdb, short, many) == served_later(engine, short, many)


def test_without_pyspark_it_names_the_extra(monkeypatch: pytest.MonkeyPatch, log: EventLog) -> None:
    monkeypatch.setitem(sys.modules, "pyspark", None)
    with pytest.raises(ConfigurationError, match=r"pip install '\.\[spark\]'"):
        SparkEngine(log)


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        ("""echo 'openjdk version "11.0.2" 2019-01-15' >&2""", r"Java 11\.0\.2 is too old; install Java 17 or newer"),
        ("""echo 'java version "1.8.0_292"' >&2""", r"Java 1\.8\.0_292 is too old; install Java 17 or newer"),
        ("exit 1", "no Java that runs here; install Java 17 or newer"),
        (None, "no Java that runs here; install Java 17 or newer"),
    ],
)
def test_java_is_missing_or_too_old(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, says: str | None, complaint: str
) -> None:
    if says is not None:
        java = tmp_path / "bin" / "java"
        java.parent.mkdir()
        java.write_text(f"#!/bin/sh\n{says}\n")
        java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ConfigurationError, match=complaint):
        check_java("Spark")
