"""Partials of the log in a home: a command makes them, rebuilds use them, and nobody who is forgotten stays in them."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from byte_scan import places_of
from event_streams import Act, act, as_log, place
from monitor_look import started_by
from redis import Redis
from serving import make_home, plan
from typer.testing import CliRunner, Result

from data.log.event_log import EventLog
from data.log.person import Person
from data.units import HOUR_US
from features.batch.engine import DuckDBEngine
from features.partials.merging import Merged
from features.partials.partials import FOLDER, Partials
from features.state.fence import Fence
from features.state.states import EntityKey
from server.cli import app
from server.jobs.backup.cut import cut_of
from server.jobs.build import materialize
from server.jobs.monitor import Monitor
from server.jobs.privacy.forget import forget
from server.jobs.rollout import drop
from server.jobs.rollout.rollout import rebuild
from server.process.store import Store
from server.redis.editions import open_live
from server.settings import Settings, read_settings

THEM = "ann-unmistakable-71c0de"


def quiet(_: str) -> None:
    """Tell nobody."""


@pytest.fixture(autouse=True)
def _small_and_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("features.partials.partials.FEWEST", 4)
    monkeypatch.setattr(drop, "_SETTLES_S", 0.0)


@pytest.fixture
def settings(tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch) -> Settings:
    home = make_home(tmp_path / "home")
    users = [THEM, "ben", "cleo"]
    events = [act(Act(("view", "purchase")[n % 2], users[n % 3], f"p{n % 2}", n * HOUR_US), f"e{n}") for n in range(60)]
    as_log(EventLog(home / "log"), place(events))
    monkeypatch.setenv("ENCORE_HOME", str(home))
    return read_settings(home=home, redis_port=store.port, clock="events", kafka_servers="127.0.0.1:1")


def encore(*command: str) -> Result:
    return CliRunner().invoke(app, command, env={"COLUMNS": "200"})


def test_the_command_makes_what_is_missing_and_deletes_all(settings: Settings) -> None:
    partials = Partials(EventLog(settings.log))
    found = msgspec.json.decode(encore("log", "partials", "--json").output)
    assert (found["made"] > 0, found["deleted"], found["bytes"] > 0) == (True, 0, True)
    assert "0 partials made, 0 deleted" in encore("log", "partials").output
    with partials.one_maker():
        busy = encore("log", "partials")
    assert "another process makes the partials" in str(busy.exception)
    with cut_of(settings) as cut:
        assert (cut / "log").is_dir(), "a backup has the log"
        assert not (cut / "log" / FOLDER).exists()
    assert msgspec.json.decode(encore("log", "partials", "--delete", "--json").output)["deleted"] == found["made"]
    assert not partials.are_used()


@pytest.mark.long
def test_a_rebuild_from_partials_is_one_from_the_log(
    settings: Settings, redis_client: "Redis[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    def states() -> dict[EntityKey, tuple[bytes, dict[int, int]]]:
        live = open_live(redis_client, settings)
        with DuckDBEngine(EventLog(settings.log), threads=1) as engine:
            keys = [one.key for entity in live.plan.entities for one in engine.states(entity)]
        read = live.states.read(keys)
        return {key: (one.state, Fence.decode(one.fence).offsets) for key, one in zip(keys, read, strict=True)}

    materialize(settings, quiet)
    right = states()
    assert encore("log", "partials").exit_code == 0
    entered = list[int]()
    enter = Merged.__enter__

    def counted(self: Merged) -> Any:
        entered.append(1)
        return enter(self)

    monkeypatch.setattr(Merged, "__enter__", counted)
    assert sum(rebuild(settings, quiet).values()) == len(right)
    assert len(entered) == 2, "once for what there is room for, once for the states"
    assert states() == right


@pytest.mark.long
def test_who_is_forgotten_is_in_no_partial(settings: Settings, redis_client: "Redis[bytes]") -> None:
    materialize(settings, quiet)
    encore("log", "partials")
    assert THEM in keys_in(settings)
    forget(settings, Person("user_id", THEM), quiet)
    assert THEM not in keys_in(settings)
    assert places_of(THEM, redis_client, settings.log) == []
    encore("log", "partials")
    assert "ben" in keys_in(settings)


def test_the_monitor_keeps_up_what_there_is(settings: Settings) -> None:
    assert started_by(settings, Monitor._apply_retention)["partials"] == 0  # noqa: SLF001 - one look
    encore("log", "partials")
    assert started_by(settings, Monitor._apply_retention)["partials"] == 1  # noqa: SLF001 - one look


def keys_in(settings: Settings) -> set[str]:
    """The users in the partials that there are."""
    import pyarrow.parquet as pq

    partials = Partials(EventLog(settings.log))
    users = [partials.path(one) for one in partials.listed(plan()).kept if one.plan.entity == "user"]
    return {value for path in users for value in pq.read_table(path, columns=["key_0"]).column(0).to_pylist()}
