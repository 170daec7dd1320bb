"""The capacity plan: its arithmetic holds for every load, and its unit costs are measured for real."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from data.errors import ConfigurationError, DataError
from server.capacity.capacity_plan import CapacityPlan, plan_capacity
from server.capacity.load import Load, Terms
from server.capacity.unit_costs import StateCost, UnitCosts, keep_costs, unit_costs
from server.cli import app
from server.cli.terminal import out
from server.settings import read_settings

COSTS = UnitCosts(
    at="2026-11-26T12:00:00+00:00",
    machine="a test",
    events=100_000,
    partitions=4,
    worker_us_per_event=50,
    redis_us_per_event=20,
    log_bytes_per_event=25,
    message_bytes_per_event=300,
    rebuild_us_per_event=80,
    api_us_per_answer=200,
    redis_us_per_answer=10,
    one_key_us=500,
    states={
        "user": StateCost(800, 20_000, of_ordering_key=True),
        "product": StateCost(1_500, 2_000, of_ordering_key=False),
        "user_product": StateCost(320, 60_000, of_ordering_key=True),
    },
)

ONES_OWN_SIZE = {"workers", "worker cores", "API replicas", "Redis shards", "Redis cores", "cores", "partitions"}


@dataclass(frozen=True)
class Asked:
    """A load and its terms, in numbers."""

    events: float = 1_000
    requests: float = 100
    users: float = 1e6
    products: float = 1e5
    pairs: float = 1e7
    headroom: float = 0.3
    kept_days: float = 365
    replicas: int = 1

    def plan(self, costs: UnitCosts = COSTS) -> CapacityPlan:
        states = {"user": self.users, "product": self.products, "user_product": self.pairs}
        load = Load.of(costs, events_per_second=self.events, requests_per_second=self.requests, states=states)
        return plan_capacity(
            load, costs, Terms(headroom=self.headroom, kept_days=self.kept_days, replicas=self.replicas)
        )


numbers = st.floats(0, 1e11)
askings = st.builds(
    Asked,
    events=st.floats(0, 1e8),
    requests=st.floats(0, 1e8),
    users=numbers,
    products=numbers,
    pairs=numbers,
    headroom=st.floats(0, 0.95),
    kept_days=st.floats(0, 4_000),
    replicas=st.integers(0, 5),
)


@given(asked=askings)
def test_nothing_is_less_than_one_and_all_costs_are_in_the_sum(asked: Asked) -> None:
    found = asked.plan()
    assert all(math.isfinite(need.amount) and need.amount >= 0 and need.because for need in found.needs)
    assert all(found.amount(name) >= 1 and found.amount(name) == int(found.amount(name)) for name in ONES_OWN_SIZE)
    assert found.cost == pytest.approx(sum(need.cost or 0 for need in found.needs))
    assert found.amount("cores") == sum(found.amount(name) for name in ("worker cores", "Redis cores", "API replicas"))
    assert found.amount("Redis shards") != 2, "a cluster has three primaries"
    assert [one.times for one in found.breaks] == sorted(one.times for one in found.breaks)


@given(asked=askings, name=st.sampled_from([*Asked.__dataclass_fields__]), more=st.floats(0, 1e9))
def test_more_of_anything_needs_no_less_and_breaks_no_later(asked: Asked, name: str, more: float) -> None:
    value = getattr(asked, name)
    grown = {"headroom": value + (0.99 - value) * more / 1e9, "replicas": value + int(more) % 5}.get(name, value + more)
    before, after = asked.plan(), Asked(**{**vars(asked), name: grown}).plan()
    for one, other in zip(before.needs, after.needs, strict=True):
        assert one.name == other.name
        assert one.amount <= other.amount * (1 + 1e-9)
        assert (one.cost or 0) <= (other.cost or 0) * (1 + 1e-9)
    times = {one.what: one.times for one in before.breaks}
    assert all(one.times <= times[one.what] * (1 + 1e-9) for one in after.breaks)


def test_units_by_hand() -> None:
    found = Asked(events=10_000, requests=10_000, headroom=0.5, kept_days=10).plan()
    assert found.amount("workers") == 2  # 10,000 x 70 µs = 0.7 s a second, half used
    assert found.amount("partitions") == 4
    assert found.amount("API replicas") == 4  # 2 s a second
    assert found.amount("Redis memory") == pytest.approx((1e6 * 800 + 1e5 * 1_500 + 1e7 * 320) / 1e9 / 0.5)
    assert found.amount("event log a day") == pytest.approx(10_000 * 86_400 * 25 / 1e9)
    assert found.amount("event log") == pytest.approx(216)
    assert found.amount("rebuild") == pytest.approx(10_000 * 86_400 * 10 * 80e-6 / 3_600)
    assert found.amount("Redis shards") == 1


def test_a_shard_has_a_bound_of_memory_and_of_time() -> None:
    assert Asked(pairs=3e9).plan().amount("Redis shards") == math.ceil((0.8 + 0.15 + 960) / 0.7 / 25)
    assert Asked(events=1e6).plan().amount("Redis shards") == math.ceil(1e6 * 20e-6 / 0.7)


def test_a_state_that_all_partitions_touch_names_each_of_them() -> None:
    few, many = Asked(events=1_000).plan(), Asked(events=1_000_000).plan()
    more = (many.amount("partitions") - 4) * 8 * 1e5 / 1e9 / 0.7
    assert many.amount("Redis memory") - few.amount("Redis memory") == pytest.approx(more)


def test_what_breaks_first_is_named_first() -> None:
    assert Asked(events=10_000).plan().breaks[0].what == "rebuild and training in one process"
    assert Asked(events=10_000).plan().breaks[0].times < 1
    assert Asked(events=1e7, kept_days=0).plan().breaks[0].what == "partitions of one topic"


def test_what_is_not_given_is_as_many_as_were_measured() -> None:
    load = Load.of(COSTS, events_per_second=1, requests_per_second=0, states={"user": 2e6})
    assert load.states == {"user": 2e6, "product": 2_000, "user_product": 6e6}
    found = plan_capacity(load, COSTS, Terms())
    memory = next(need for need in found.needs if need.name == "Redis memory")
    assert "6,000,000 user_product (as measured, not given)" in memory.because


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give at least --events-per-second and --users"),
        (["--events-per-second", "1"], "give at least --events-per-second and --users"),
        (["--events-per-second", "nan", "--users", "1"], "--events-per-second nan: give a number of at least 0"),
        (["--events-per-second", "-1", "--users", "1"], "--events-per-second -1: give a number of at least 0"),
        (["--events-per-second", "1", "--users", "inf"], "--states user inf: give a number"),
        (["--events-per-second", "1", "--users", "1", "--headroom", "1"], "--headroom 1: give a share below 1"),
        (["--events-per-second", "1", "--users", "1", "--core-price", "nan"], "--core-price nan: give a number"),
        (["--events-per-second", "1", "--users", "1", "--states", "visit=3"], "--states visit: what one takes was not"),
        (["--events-per-second", "1", "--users", "1", "--states", "visit"], "--states visit: give an entity and a"),
        (["--events-per-second", "1", "--users", "1", "--shard-gb", "0"], "--shard-gb 0: give at least 1 GB"),
    ],
)
def test_what_is_no_load_is_refused(arguments: list[str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(out, "width", 300)
    found = CliRunner().invoke(app, ["plan", *arguments])
    assert isinstance(found.exception, ConfigurationError)
    assert told in str(found.exception)


def test_the_command_says_all_as_json_and_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_HOME", str(tmp_path))
    monkeypatch.setattr(out, "width", 300)
    keep_costs(read_settings(), COSTS)
    asked = ["plan", "--events-per-second", "50000", "--users", "1e8", "--products", "1e6", "--pairs", "3e9"]
    asked += ["--requests-per-second", "20000", "--kept-days", "400"]
    told: dict[str, Any] = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    load = Load.of(
        COSTS,
        events_per_second=50_000,
        requests_per_second=20_000,
        states={"user": 1e8, "product": 1e6, "user_product": 3e9},
    )
    found = plan_capacity(load, COSTS, Terms(kept_days=400))
    assert told["needs"] == msgspec.to_builtins(found.needs)
    assert told["cost"] == found.cost
    assert told["unit_costs"]["machine"] == "a test"
    words = CliRunner().invoke(app, asked).stdout
    assert [need.name for need in found.needs if need.name not in words] == []
    assert [one.what for one in found.breaks if one.what not in words] == []
    assert "measured 2026-11-26 on a test" in words


def test_retention_says_how_long_the_log_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCORE_HOME", str(tmp_path))
    monkeypatch.setenv("ENCORE_RETENTION", "log=30d")
    told = json.loads(CliRunner().invoke(app, ["plan", "--events-per-second", "1", "--users", "1", "--json"]).stdout)
    assert told["terms"]["kept_days"] == 30


def test_unit_costs_are_those_of_the_home_else_those_shipped(tmp_path: Path) -> None:
    settings = read_settings(home=tmp_path)
    shipped = unit_costs(settings)
    assert shipped.events >= 100_000
    assert "cores" in shipped.machine
    path = keep_costs(settings, COSTS)
    assert unit_costs(settings) == COSTS
    for damaged in (b"", b"{}", b"\xff", path.read_bytes().replace(b": 50", b": -50"), b"[" * 100_000):
        path.write_bytes(damaged)
        with pytest.raises(DataError, match="measure again"):
            unit_costs(settings)


@pytest.mark.system
@pytest.mark.timeout(900)  # a minute, where nothing else runs
def test_unit_costs_are_measured_over_real_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says, which is of the home that asks: nothing there is touched."""
    from server.capacity.measure import measure

    monkeypatch.setenv("ENCORE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("ENCORE_STORAGE", str(tmp_path / "storage"))
    monkeypatch.setenv("REDIS_PORT", "1")
    monkeypatch.setenv("KAFKA_USERNAME", "nobody")
    costs = measure(lambda _: None, events=30_000, seconds=1.0)
    assert costs.events == 30_000
    assert {name for name, one in costs.states.items() if not one.of_ordering_key} == {"product", "category"}
    assert 5 < costs.worker_us_per_event < 5_000
    assert 1 < costs.redis_us_per_event < costs.worker_us_per_event
    assert 20 < costs.api_us_per_answer < 20_000
    assert costs.redis_us_per_answer < costs.api_us_per_answer
    assert 100 < costs.states["user_product"].bytes < costs.states["product"].bytes < 100_000
    assert 5 < costs.log_bytes_per_event < costs.message_bytes_per_event < 2_000
    assert list(tmp_path.iterdir()) == []
    assert msgspec.json.decode(msgspec.json.encode(costs), type=UnitCosts) == costs
