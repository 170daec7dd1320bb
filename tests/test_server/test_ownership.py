"""Two homes on one Redis and one Kafka: each has a project of its own, and none touches the other's."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from event_streams import Act, act, as_log, place
from redis import Redis
from serving import make_home

from data.errors import ConfigurationError, DataError, UnavailableError
from data.log.event_log import EventLog
from data.log.identity import Identity, make_identity, read_identity
from data.units import HOUR_US
from features.state.online.owner import Ownership
from features.state.online.states import OnlineStates
from features.state.states import EntityKey, Stored
from server.api.serving import serve_api
from server.jobs.build import materialize, states_command
from server.jobs.rollout.rollout import rebuild
from server.jobs.status import Observer
from server.jobs.verification import run_verification
from server.process.server_process import free_port
from server.process.store import Store
from server.redis.ownership import claim_project
from server.settings import Settings, environment_of, read_settings


def home_with_events(folder: Path, events: int, *, first: int = 0) -> Path:
    home = make_home(folder)
    acts = [Act("view", f"u{n % 3}", "p", n * HOUR_US) for n in range(first, first + events)]
    as_log(EventLog(home / "log"), place([act(one, f"e{one.at}") for one in acts], 1))
    return home


def views(client: "Redis[bytes]", settings: Settings) -> int:
    """How many states the project has."""
    return sum(OnlineStates(client, settings.project).counts().values())


@pytest.fixture
def one(tmp_path: Path, store: Store, redis_client: "Redis[bytes]") -> Settings:
    """A home whose states are in Redis."""
    settings = read_settings(home=home_with_events(tmp_path / "one", 12), redis_port=store.port, clock="events")
    materialize(settings, lambda _: None)
    return settings


def test_the_first_home_has_todays_names(one: Settings, redis_client: "Redis[bytes]") -> None:
    settings = read_settings(home=one.home)
    assert settings.project == "encore"
    assert settings.kafka_names == ("ecommerce-events", "predictions", "encore-stream")
    assert redis_client.get("encore:materialized")
    owner = Ownership(redis_client, "encore").owner()
    identity = read_identity(one.log)
    assert owner is not None
    assert identity is not None
    assert (owner.id, owner.home) == (identity.id, str(one.home))


@pytest.mark.long
def test_a_second_home_is_a_project_of_its_own(one: Settings, tmp_path: Path, redis_client: "Redis[bytes]") -> None:
    before = {key: redis_client.dump(key) for key in redis_client.keys("*encore*")}
    home = home_with_events(tmp_path / ".Second one", 5)
    told: list[str] = []
    second = claim_project(read_settings(home=home, redis_port=one.redis_port, clock="events"), told.append)
    assert second.project == "second_one"
    assert second.kafka_names == ("second_one-events", "second_one-predictions", "second_one-stream")
    assert environment_of(second)["ENCORE_PROJECT"] == "second_one"
    assert [line for line in told if "another home" in line and "second_one" in line]
    assert materialize(second, lambda _: None) == {
        "user": 3,
        "product": 1,
        "user_product": 3,
        "category": 0,
        "user_category": 0,
    }
    assert run_verification(second, sample=3, as_of_us=None, seed=0).ok
    assert {key: redis_client.dump(key) for key in before} == before, "not one key of the first home was touched"
    assert run_verification(one, sample=3, as_of_us=None, seed=0).ok
    again = read_settings(home=home)
    assert again.project == "second_one", "the home knows, without Redis"


def test_another_homes_states_are_refused_by_name(one: Settings, tmp_path: Path, redis_client: "Redis[bytes]") -> None:
    home = home_with_events(tmp_path / "other", 5)
    other = read_settings(home=home, redis_port=one.redis_port, project="encore", clock="events")
    make_identity(other.log, Identity("another", "encore"))
    before = {key: redis_client.dump(key) for key in redis_client.keys("*")}
    for work in (materialize, rebuild):
        with pytest.raises(ConfigurationError, match=rf"of the home {one.home}.*ENCORE_PROJECT"):
            work(other, lambda _: None)
    with pytest.raises(ConfigurationError, match=str(one.home)):
        run_verification(other, sample=1, as_of_us=None, seed=0)
    with pytest.raises(ConfigurationError, match=str(one.home)):
        claim_project(other)
    with pytest.raises(ConfigurationError, match=str(one.home)):
        serve_api(other)
    observer = Observer(other, kafka_wait_s=0.01)
    try:
        assert [problem for problem in observer.look().problems if str(one.home) in problem]
    finally:
        observer.close()
    assert {key: redis_client.dump(key) for key in redis_client.keys("*")} == before


def test_new_homes_that_come_at_once_have_a_project_each(
    tmp_path: Path, store: Store, redis_client: "Redis[bytes]"
) -> None:
    """A name that was free a moment ago is another's by now: the next one is taken, not the start refused."""
    homes = [make_home(tmp_path / f"new{number}") for number in range(6)]
    gate = Barrier(2 * len(homes))

    def come(home: Path) -> str:
        gate.wait()
        return claim_project(read_settings(home=home, redis_port=store.port)).project

    with ThreadPoolExecutor(2 * len(homes)) as threads:
        projects = list(threads.map(come, [*homes, *homes]))  # two commands of each home
    assert projects[: len(homes)] == projects[len(homes) :]
    assert len(set(projects)) == len(homes)
    owners = [Ownership(redis_client, project).owner() for project in projects]
    assert [owner.home for owner in owners if owner] == [str(home) for home in [*homes, *homes]]
    assert len(redis_client.keys("*:home")) == len(homes), "nobody owns two"


def test_a_project_may_be_chosen(one: Settings, tmp_path: Path) -> None:
    home = home_with_events(tmp_path / "other", 5)
    chosen = claim_project(read_settings(home=home, redis_port=one.redis_port, project="retail"))
    assert chosen.project == read_settings(home=home).project == "retail"


@pytest.mark.long
def test_a_home_that_moved_or_was_restored_is_itself(one: Settings, tmp_path: Path) -> None:
    moved = one.home.rename(tmp_path / "moved")
    settings = read_settings(home=moved, redis_port=one.redis_port)
    assert claim_project(settings).project == "encore"
    assert rebuild(settings, lambda _: None)["user"] == 3


def test_states_of_an_older_encore_are_found_by_the_home_that_has_events(
    tmp_path: Path, store: Store, redis_client: "Redis[bytes]"
) -> None:
    """They do not say whose they are."""
    OnlineStates(redis_client).note_event(1)
    empty = claim_project(read_settings(home=make_home(tmp_path / "empty"), redis_port=store.port))
    assert empty.project == "empty"
    old = claim_project(read_settings(home=home_with_events(tmp_path / "old", 3), redis_port=store.port))
    assert old.project == "encore"


def test_names_that_end_alike_are_apart(redis_client: "Redis[bytes]") -> None:
    """A key ends in its project's name: `shop` must not find the keys of `my_shop`."""
    from features.state.fence import Fence

    for project in ("shop", "my_shop"):
        states = OnlineStates(redis_client, project)
        for key in (EntityKey("user", ("u",)), EntityKey("user_product", ("shop", "shop"))):
            states.compare_and_set({key: (Stored(b"", b""), b"state", Fence(b"t" * 16, {0: 1}))})
    assert OnlineStates(redis_client, "shop").counts() == {
        "user": 1,
        "product": 0,
        "user_product": 1,
        "category": 0,
        "user_category": 0,
    }
    assert OnlineStates(redis_client, "shop").clear() == 2
    assert OnlineStates(redis_client, "my_shop").counts() == {
        "user": 1,
        "product": 0,
        "user_product": 1,
        "category": 0,
        "user_category": 0,
    }


def test_a_damaged_identity_is_named(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "identity.json").write_bytes(b"{\xff")
    with pytest.raises(DataError, match=r"identity\.json cannot be read"):
        read_settings(home=tmp_path)


@pytest.mark.parametrize("name", ["", "Encore", "_x", "a-b", "a b", "a:b", "x" * 49, "ü"])
def test_names_that_are_none_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="ENCORE_PROJECT"):
        read_settings(project=name)


def test_whose_states_they_are_can_wait_for_redis(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match="REDIS_HOST"):
        claim_project(read_settings(home=tmp_path, redis_port=free_port()))
    assert read_identity(tmp_path / "log") is None


def test_what_is_to_do_for_states(one: Settings, redis_client: "Redis[bytes]") -> None:
    from features.plan.cache import load_plan

    plan = load_plan(one.plan)
    assert states_command(one, plan) == ()
    mark = redis_client.get("encore:materialized")
    redis_client.set("encore:materialized", "1/2/3/elsewhere")
    with pytest.raises(ConfigurationError, match=r"another plan or history.*`encore rollout start`"):
        materialize(one, lambda _: None)
    assert states_command(one, plan) == ("rollout", "start", "--finish")
    redis_client.delete("encore:materialized")
    assert states_command(one, plan) == ("materialize",)
    materialize(one, lambda _: None)
    assert redis_client.get("encore:materialized") == mark
