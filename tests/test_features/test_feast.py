"""Feast as its users know it: its commands from the repo's folder, its registry, and errors that say what is wrong."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pandas as pd
import pytest
from event_streams import TOPIC, Act, act, as_log, place, sourced
from feast_shop import feast_store
from redis import Redis
from serving import HOUR, TestClient, fold_events, make_app, make_home
from serving import NOON as NOON_US

from data.clock import ManualClock
from data.errors import DataError
from data.event import Event
from data.log.event_log import EventLog
from data.units import DAY_US
from features.entities import ENTITIES, PRODUCT, USER, USER_PRODUCT
from features.plan.cache import load_plan
from features.plan.describe import describe
from features.plan.plan import Plan
from features.state.fold import Fold
from features.state.online.states import OnlineStates
from server.process.store import Store

ROOT = Path(__file__).parents[2]
NOON = datetime(2026, 1, 3, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, store: Store) -> Iterator[Any]:
    """A feature store over two purchases of one pair, on the first and the second day."""
    home = tmp_path_factory.mktemp("home")
    as_log(EventLog(home / "log"), place(shop_events()))
    with Redis(host=store.host, port=store.port) as client:
        yield feast_store(home, client, project="registry")


def shop_events() -> list[Event]:
    acts = [Act("purchase", "u", "p", 0, 10.0), Act("purchase", "u", "p", DAY_US, 20.0)]
    acts += [Act("purchase", user, "q", DAY_US, 1.0) for user in ("5", "None", "nan", "NaT", "<NA>")]
    return [act(one, f"e{number}") for number, one in enumerate(acts)]


def ask(shop: Any, features: list[str], **columns: Any) -> pd.DataFrame:
    frame = pd.DataFrame({"user_id": ["u"], "product_id": ["p"], "event_timestamp": [NOON]} | columns)
    frame = frame[[column for column in frame if frame[column].notna().any() or column in columns]]
    answer: pd.DataFrame = shop.get_historical_features(entity_df=frame, features=features).to_df()
    return answer


def test_views_read_well(shop: Any, plan: Plan) -> None:
    for entity in ENTITIES:
        view = shop.get_feature_view(entity.view)
        assert view.description == f"What is known of {entity.description}, true at the moment of asking."
        assert view.owner == "encore"
        assert view.tags == {"plan": plan.hash, "entity": entity.name}
        described = {field.name: field.description for field in view.features}
        assert described.pop("state")
        assert described == {feature.name: describe(feature, plan.schema) for feature in plan.of(entity.name).features}
    request = shop.get_on_demand_feature_view("request_features")
    assert {field.name for field in request.features} == {f.name for f in plan.request} - {"request_amount"}
    assert request.tags["hour_of_day"] == "Hour of the request, UTC."


def test_the_service_holds_every_feature(shop: Any, plan: Plan) -> None:
    service = shop.get_feature_service("repeat_purchase")
    names = {field.name for projection in service.feature_view_projections for field in projection.features}
    assert names == set(plan.names) - {"request_amount"}
    using = {"models": "repeat_purchase", "asked at": "purchase", "horizon": "30 days"}
    assert (service.owner, service.tags) == ("encore", {"plan": plan.hash, **using})
    assert "repeat_purchase, whether the user buys the product again within 30 days" in service.description
    project = shop.get_project(shop.project)
    assert project.description
    assert (project.owner, project.tags["models"]) == ("encore", "repeat_purchase")


def test_a_feature_at_a_time(shop: Any) -> None:
    answer = ask(shop, ["user_features:user_purchase_count", "user_product_features:user_product_total_spend"])
    assert answer[["user_purchase_count", "user_product_total_spend"]].iloc[0].tolist() == [2, 30.0]
    before = ask(shop, ["user_features:user_purchase_count"], event_timestamp=[NOON - timedelta(days=2)])
    assert before.loc[0, "user_purchase_count"] == 1


def test_names_may_be_full_and_keys_renamed(shop: Any) -> None:
    frame = pd.DataFrame({"user_id": ["u", "nobody"], "event_timestamp": [NOON, NOON]})
    refs = ["user_features:user_purchase_count"]
    answer = shop.get_historical_features(entity_df=frame, features=refs, full_feature_names=True).to_df()
    assert answer["user_features__user_purchase_count"].tolist() == [2, 0]


def test_rows_keep_their_order(shop: Any) -> None:
    ids = ["u", "x", "u", "y", "u"]
    frame = pd.DataFrame({"user_id": ids, "event_timestamp": [NOON - timedelta(days=n) for n in range(5)]})
    answer = shop.get_historical_features(entity_df=frame, features=["user_features:user_purchase_count"]).to_df()
    assert answer["user_id"].tolist() == ids
    assert answer["user_purchase_count"].tolist() == [2, 0, 1, 0, 0]


def test_a_time_without_a_zone_is_utc_to_feast_and_refused_by_the_store(shop: Any) -> None:
    """Feast itself calls such times UTC before its store sees them; the store asked directly guesses nothing."""
    from features.feast_stores.offline import EncoreOfflineStore  # importing Feast takes seconds

    features = ["user_features:user_purchase_count"]
    naive = pd.DataFrame({"user_id": ["u"], "event_timestamp": pd.to_datetime(["2026-01-01T12:00:00"])})
    assert shop.get_historical_features(entity_df=naive, features=features).to_df()["user_purchase_count"].tolist() == [
        1
    ]
    view = shop.get_feature_view("user_features")
    with pytest.raises(DataError, match=r"entity_df: `event_timestamp` has no time zone; use pd.to_datetime"):
        EncoreOfflineStore.get_historical_features(shop.config, [view], features, naive, shop.registry, "registry")


def test_a_missing_time_is_refused(shop: Any) -> None:
    frame = pd.DataFrame({"user_id": ["u", "u"], "event_timestamp": pd.to_datetime([str(NOON), ""], utc=True)})
    with pytest.raises(DataError, match="`event_timestamp` is missing in row 1"):
        shop.get_historical_features(entity_df=frame, features=["user_features:user_purchase_count"]).to_df()


def test_a_missing_key_is_named(shop: Any) -> None:
    frame = pd.DataFrame({"user_id": ["u"], "event_timestamp": [NOON]})
    with pytest.raises(DataError, match="entity_df: the column product_id is missing; product_features is keyed by it"):
        shop.get_historical_features(entity_df=frame, features=["product_features:product_view_count"]).to_df()


def test_an_unknown_feature_is_named(shop: Any) -> None:
    with pytest.raises(Exception, match="user_wishes"):
        ask(shop, ["user_features:user_wishes"])


def test_a_service_of_a_whole_view_works_in_history_where_its_state_is_null(shop: Any) -> None:
    from feast import FeatureService

    service = FeatureService(name="whole", features=[shop.get_feature_view("user_features")])
    shop.apply([service])
    frame = pd.DataFrame({"user_id": ["u", "x"], "event_timestamp": [NOON, NOON]})
    answer = shop.get_historical_features(entity_df=frame, features=shop.get_feature_service("whole")).to_df()
    assert answer["user_purchase_count"].tolist() == [2, 0]
    assert answer["state"].isna().all()
    assert ask(shop, ["user_features:state"])["state"].isna().all()


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NaT, pd.NA, ""])
def test_a_missing_id_is_nobody(shop: Any, missing: object) -> None:
    """Neither the user "None" nor "nan", nor a row that refuses the others."""
    frame = pd.DataFrame({"user_id": pd.Series(["u", missing, "x"], dtype=object), "product_id": ["p", "p", missing]})
    features = ["user_features:user_purchase_count", "user_product_features:user_product_purchase_count"]
    answer = shop.get_historical_features(frame.assign(event_timestamp=NOON), features).to_df()
    assert answer["user_purchase_count"].fillna(-1).tolist() == [2, -1, 0]
    assert answer["user_product_purchase_count"].fillna(-1).tolist() == [2, -1, -1]
    nobody = pd.DataFrame({"user_id": pd.Series([missing], dtype=object), "event_timestamp": [NOON]})
    assert shop.get_historical_features(nobody, features[:1]).to_df()["user_purchase_count"].isna().all()


@pytest.mark.parametrize(
    ("ids", "counts"),
    [
        ([5, 6], [1, 0]),
        ([5.0, None], [1, -1]),
        (pd.array([5, None], dtype="Int64"), [1, -1]),
        (pd.Categorical(["5", "6"]), [1, 0]),
        (pd.array(["5", None], dtype="string"), [1, -1]),
        ([np.int64(5), UUID(int=7)], [1, 0]),
        (["u", 5, 5.0, None], [2, 1, 1, -1]),
        (["5.0", "05"], [0, 0]),
    ],
)
def test_a_whole_number_is_its_digits(shop: Any, ids: Any, counts: list[int]) -> None:
    """Pandas makes a float of an integer beside a missing one."""
    frame = pd.DataFrame({"user_id": ids, "event_timestamp": NOON})
    answer = shop.get_historical_features(frame, ["user_features:user_purchase_count"]).to_df()
    assert answer["user_purchase_count"].fillna(-1).tolist() == counts


@pytest.fixture
def folded(shop: Any, plan: Plan, redis_client: "Redis[bytes]") -> Any:
    """The shop, with its events in the states."""
    states = OnlineStates(redis_client, "registry")
    Fold(plan, states, TOPIC).apply(sourced(place(shop_events())))
    return shop


@pytest.mark.parametrize(
    ("ids", "counts"),
    [
        ([5, 6], [1, 0]),
        ([5.0, None], [1, None]),
        ([float("nan"), pd.NA, pd.NaT, ""], [None] * 4),
        ([np.int64(5), np.float64(5), UUID(int=7)], [1, 1, 0]),
        (["u", 5, 5.0, None], [2, 1, 1, None]),
        (["5.0", "05", "None"], [0, 0, 1]),
    ],
)
def test_online_ids_are_read_as_in_history(folded: Any, ids: list[Any], counts: list[int | None]) -> None:
    feature = ["user_features:user_purchase_count"]
    rows = [{"user_id": one} for one in ids]
    for asked in (rows, {"user_id": ids}):
        assert folded.get_online_features(feature, asked).to_dict()["user_purchase_count"] == counts


def test_what_is_no_id_is_named_online_too(folded: Any) -> None:
    with pytest.raises(DataError, match=r"entity_rows: 5\.5 of type float in column user_id, row 1, is no id"):
        folded.get_online_features(["user_features:user_purchase_count"], [{"user_id": "u"}, {"user_id": 5.5}])


def test_online_ids_under_another_name(folded: Any) -> None:
    from feast import FeatureService

    buyers = folded.get_feature_view("user_features")[["user_purchase_count"]].with_join_key_map({"user_id": "buyer"})
    folded.apply([service := FeatureService(name="buyers", features=[buyers])])
    answer = folded.get_online_features(service, [{"buyer": 5.0}, {"buyer": None}]).to_dict()
    assert answer["user_purchase_count"] == [1, None]


@pytest.mark.parametrize("wrong", [5.5, True, float("inf"), 2.0**53, b"u", NOON, ["u"]])
def test_what_is_no_id_is_named_with_its_row(shop: Any, wrong: object) -> None:
    frame = pd.DataFrame({"user_id": pd.Series(["u", wrong], dtype=object), "event_timestamp": [NOON, NOON]})
    with pytest.raises(DataError, match="in column user_id, row 1, is no id; give texts, or whole numbers"):
        shop.get_historical_features(frame, ["user_features:user_purchase_count"]).to_df()


def test_a_missing_time_of_a_request_leaves_its_features_null(shop: Any) -> None:
    frame = pd.DataFrame({"user_id": ["u", "u"], "product_id": ["p", "p"], "event_timestamp": [NOON, NOON]})
    frame["request_time"] = pd.to_datetime(pd.Series([NOON, None], dtype=object), utc=True)
    frame["request_amount"] = [15.0, 15.0]
    features = ["user_features:user_purchase_count", "request_features:hour_of_day"]
    answer = shop.get_historical_features(frame, features).to_df()
    assert answer["user_purchase_count"].tolist() == [2, 2]
    assert answer["hour_of_day"].fillna(-1).tolist() == [12, -1]
    rows = [{"user_id": "u", "product_id": "p", "request_amount": 15.0, "request_time": at} for at in (NOON, None)]
    assert shop.get_online_features(features, rows).to_dict()["hour_of_day"] == [12, None]


@pytest.mark.parametrize("name", ["user_purchase_count", "hour_of_day"])
def test_a_column_with_the_name_of_a_feature_is_refused(shop: Any, name: str) -> None:
    frame = pd.DataFrame({"user_id": ["u"], "product_id": ["p"], "event_timestamp": [NOON], "request_time": [NOON]})
    frame["request_amount"] = 1.0
    features = ["user_features:user_purchase_count", "request_features:hour_of_day"]
    with pytest.raises(DataError, match=f"the column {name} has the name of a feature that is asked for; rename it"):
        shop.get_historical_features(frame.assign(**{name: 7}), features).to_df()
    full = shop.get_historical_features(
        frame.drop(columns=["request_time", "request_amount"]).assign(user_purchase_count=7),
        features[:1],
        full_feature_names=True,
    ).to_df()
    assert (full["user_purchase_count"][0], full["user_features__user_purchase_count"][0]) == (7, 2)


def test_sql_is_refused(shop: Any) -> None:
    with pytest.raises(DataError, match="as a pandas DataFrame"):
        shop.get_historical_features(entity_df="SELECT 1", features=["user_features:user_view_count"])


def test_an_empty_log_is_named(tmp_path: Path, redis_client: "Redis[bytes]") -> None:
    empty = feast_store(tmp_path / "home", redis_client, project="empty")
    with pytest.raises(DataError, match=r"nothing in .*make history with `encore generate`"):
        ask(empty, ["user_features:user_view_count"])


@pytest.mark.long
def test_commands_work_by_hand_from_the_repo(tmp_path: Path, redis_client: "Redis[bytes]") -> None:
    """A copy of feast/feature_repo with another port: apply, list, materialize, read."""
    repo = tmp_path / "feast" / "feature_repo"
    shutil.copytree(ROOT / "feast" / "feature_repo", repo, ignore=shutil.ignore_patterns("__pycache__"))
    settings = repo / "feature_store.yaml"
    port = redis_client.connection_pool.connection_kwargs["port"]
    settings.write_text(settings.read_text().replace("port: 6379", f"port: {port}"))
    placed = place([act(Act("purchase", "u", "p", 0, 10.0), "e0"), act(Act("view", "v", "p", 5), "e1")])
    as_log(EventLog(tmp_path / ".encore" / "log"), placed)
    (tmp_path / ".encore" / "feast").mkdir()

    # One process for all commands: importing Feast takes seconds.
    commands = [
        ["apply"],
        ["materialize-incremental", "2026-02-01T00:00:00"],
        ["get-online-features", "-f", "user_features:user_purchase_count", "-e", "user_id=u"],
    ]
    program = "import sys, json; from feast.cli.cli import cli\n"
    program += "for command in json.loads(sys.argv[1]): cli.main(command, standalone_mode=False)"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, json.dumps(commands)],
        cwd=repo,
        env={**os.environ, "PYTHONPATH": str(ROOT), "FEAST_USAGE": "False", "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("user_product_features", "user_features: 2 states written"):
        assert words in done.stdout, done.stdout
    answer = done.stdout.split("states written")[-1]
    assert re.search(r"user_purchase_count\W+1\b", answer), answer


def test_feast_and_the_server_read_the_same_values(tmp_path: Path, store: Store, redis_client: "Redis[bytes]") -> None:
    """Feast's `get_online_features` and `/features`, over one store at one time, to the last bit."""
    home = make_home(tmp_path / "home")
    fold_events(OnlineStates(redis_client))
    newest = NOON_US - HOUR  # which is now to a Feast store whose clock is the events'
    rows = [
        {"user_id": user, "product_id": product} for user in ("ann", "bob") for product in ("coffee", "sofa", "tea")
    ]
    views = feast_store(home, redis_client)
    names = [
        f"{entity.view}:{feature.name}"
        for entity in (USER, PRODUCT, USER_PRODUCT)
        for feature in load_plan(home / "plan.json").of(entity.name).features
    ]
    online = views.get_online_features(features=names, entity_rows=rows).to_dict()
    with TestClient(make_app(home, store.host, store.port, ManualClock(newest))) as client:
        for number, row in enumerate(rows):
            known = client.get(f"/features/{row['user_id']}", params={"product_id": row["product_id"]}).json()
            told = {name: online[name][number] for name in known["features"]}
            assert told == known["features"], row
            assert len(told) == len(names)


@pytest.mark.long
def test_feast_is_loaded_without_its_type_checks_and_typeguard_stays_as_it_was() -> None:
    program = (
        "import typeguard; from features.feast_stores.loading import load_feast\n"
        "before = typeguard.typechecked; load_feast(); assert typeguard.typechecked is before\n"
        "import feast; print('typeguard' in feast.Entity.__init__.__code__.co_names)\n"
    )
    loaded, plain = (
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", text],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for text in (program, "import feast\n" + program)
    )
    assert (loaded, plain) == ("False\n", "True\n"), "imported before, Feast stays as it is"
