"""`encore log iceberg`: a home's log as a table, kept up by the monitor, and read by Feast's own source of Iceberg."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from byte_scan import places_of
from event_streams import Act, act, as_log, place
from log_rows import read
from monitor_look import started_by
from redis import Redis
from serving import make_home
from typer.testing import CliRunner, Result

from data.errors import ConfigurationError, DataError, UnavailableError
from data.log.event_log import EventLog
from data.log.person import Person
from data.units import HOUR_US
from server.cli import app
from server.jobs.monitor import Monitor
from server.jobs.privacy.forget import forget
from server.log_table import TableName, kept_table
from server.process.store import Store
from server.settings import Settings, read_settings

THEM = "ann-unmistakable-71c0de"


@pytest.fixture
def settings(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Settings:
    home = make_home(tmp_path / "a home")
    events = [act(Act("view", (THEM, "ben", "cleo")[n % 3], f"p{n % 2}", n * HOUR_US), f"e{n}") for n in range(60)]
    as_log(EventLog(home / "log"), place(events))
    monkeypatch.setenv("ENCORE_HOME", str(home))
    return read_settings(home=home, redis_port=store.port, clock="events", kafka_servers="127.0.0.1:1")


def encore(*command: str) -> Result:
    return CliRunner().invoke(app, command, env={"COLUMNS": "200"})


def named(*options: str) -> dict[str, object]:
    found: dict[str, object] = msgspec.json.decode(encore("log", "iceberg", "--json", *options).output)
    return found


def changed() -> tuple[object, ...]:
    """The table and its rows, and the files that came, went, and are copies."""
    found = named()
    return tuple(found[name] for name in ("table", "rows", "added", "removed", "copies"))


def test_the_log_is_a_table_under_the_name_that_was_said_first(settings: Settings) -> None:
    assert kept_table(settings) is None
    assert named("--table", "shop.all")["rows"] == 60
    assert kept_table(settings) == TableName("shop.all")
    assert changed() == ("shop.all", 60, 0, 0, 0)
    assert "shop.all names 18 files of 60 events" in encore("log", "iceberg").output
    assert "shop.all is not kept any more" in encore("log", "iceberg", "--leave").output
    assert kept_table(settings) is None


def test_feast_reads_it_by_its_own_source(settings: Settings) -> None:
    from feast.infra.data_sources.contrib.iceberg_catalog.iceberg_source import IcebergSource

    named()
    source = IcebergSource(
        warehouse="",
        namespace="encore",
        table="events",
        catalog_type="sql",
        catalog_name="encore",
        endpoint=f"sqlite:///{settings.iceberg}/catalog.db",
        timestamp_field="timestamp",
    )
    found = source.get_catalog_client().load_table("encore.events").scan().to_arrow()
    assert sorted(found.to_pylist(), key=str) == sorted(read(EventLog(settings.log)).to_pylist(), key=str)


@pytest.mark.long
def test_nothing_of_who_is_forgotten_is_in_it(settings: Settings, redis_client: "Redis[bytes]") -> None:
    named()
    forget(settings, Person("user_id", THEM), tell=lambda _: None)
    assert changed() == ("encore.events", 40, 0, 0, 0)
    assert places_of(THEM, redis_client, settings.log, settings.home) == []


def test_the_monitor_keeps_it_up(settings: Settings) -> None:
    assert started_by(settings, Monitor._update_table)["table"] == 0  # noqa: SLF001 - one look
    named()
    assert started_by(settings, Monitor._update_table)["table"] == 1  # noqa: SLF001 - one look


def busy(settings: Settings) -> Result:
    with EventLog(settings.log).storage.lock(".iceberg.lock"):
        return encore("log", "iceberg")


def unknown_catalog(_: Settings) -> Result:
    return encore("log", "iceberg", "--catalog", "nobody")


def no_namespace(_: Settings) -> Result:
    return encore("log", "iceberg", "--table", "events")


def damaged(settings: Settings) -> Result:
    named()
    (settings.log / "iceberg" / "table.json").write_text("{")
    return encore("log", "iceberg")


def damaged_catalog(settings: Settings) -> Result:
    named()
    (settings.iceberg / "catalog.db").write_bytes(b"no database" * 1000)
    return encore("log", "iceberg")


def strange_catalog(settings: Settings) -> Result:
    named()
    with closing(sqlite3.connect(settings.iceberg / "catalog.db")) as somebody:
        somebody.execute("DROP TABLE iceberg_tables")
        somebody.execute("CREATE TABLE iceberg_tables (other INT)")
        return encore("log", "iceberg")


@pytest.mark.parametrize(
    ("done", "kind", "said"),
    [
        (busy, ConfigurationError, "another process names the files of encore.events"),
        (unknown_catalog, ConfigurationError, "the catalog 'nobody' cannot be used"),
        (no_namespace, ConfigurationError, "--table: NAMESPACE.TABLE, and not 'events'"),
        (damaged_catalog, DataError, "the catalog of the log's table cannot be read"),
        (strange_catalog, UnavailableError, "the table encore.events cannot be reached"),
        (damaged, DataError, "this does not say which table the log is"),
    ],
)
def test_what_cannot_be_is_said(
    settings: Settings, done: Callable[[Settings], Result], kind: type[Exception], said: str
) -> None:
    result = done(settings)
    assert isinstance(result.exception, kind)
    assert said in str(result.exception)
