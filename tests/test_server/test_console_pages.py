"""Every page of the console over a small real system, and over one where something is missing."""

import logging
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from console import Shop, running_shop
from redis import Redis

from data.clock import wall_clock
from data.drafts.project import project_files
from data.drafts.shop import plain_shop
from data.project import open_project
from events.kafka.topics import dead_letter_topic, ensure_topics
from model.registry.published import Registry
from server.jobs.quality import write_report
from server.meters.past import Reading, append_reading, past_folder
from server.process.server_process import free_port
from server.settings import read_settings

streamlit = pytest.importorskip("streamlit", reason="the extra `console` is not installed")

from streamlit.components.v2 import manifest_scanner  # noqa: E402 - only where Streamlit is installed
from streamlit.testing.v1 import AppTest  # noqa: E402 - only where Streamlit is installed

from server.console.answer import explained  # noqa: E402
from server.console.calculators.asked_pair import AskedPair, asked_pair  # noqa: E402
from server.console.calculators.scored_pairs import scored_regulars  # noqa: E402
from server.console.screens.catalogue import SCREENS  # noqa: E402
from server.process.kafka_broker import KafkaBroker  # noqa: E402
from server.process.store import Store  # noqa: E402

pytestmark = pytest.mark.integration  # it draws whole pages

PATHS = [screen.path for screen in SCREENS]

SCRIPT = """
from server.console.frame import guarded
from server.console.screens import SCREENS
guarded(next(screen.draw for screen in SCREENS if screen.path == "{module}"))()
"""


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, broker: KafkaBroker, store: Store) -> Iterator[Shop]:
    with Redis(host=store.host, port=store.port) as client:
        client.flushall()
    ensure_topics(broker.servers)
    with running_shop(tmp_path_factory.mktemp("shop") / "home", broker.servers, store.host, store.port) as shop:
        yield shop


_scanned = cache(manifest_scanner.scan_component_manifests)


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each run of a page would parse the metadata of all packages anew, for most of its time; a server does so once.
    monkeypatch.setattr(manifest_scanner, "scan_component_manifests", _scanned)
    streamlit.cache_data.clear()
    streamlit.cache_resource.clear()


@pytest.fixture
def in_shop(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in shop.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def in_ruins(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Nothing runs, and nothing was ever built."""
    monkeypatch.setenv("ENCORE_HOME", str(tmp_path_factory.mktemp("ruins") / "home"))
    monkeypatch.setenv("KAFKA_SERVERS", f"127.0.0.1:{free_port()}")
    for name in ("API_PORT", "REDIS_PORT"):
        monkeypatch.setenv(name, str(free_port()))


@pytest.fixture
def in_another_shop(in_ruins: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A project with entities of its own, of which nothing runs yet."""
    for name, text in project_files("library", plain_shop("library"), 0).items():
        (tmp_path / name).write_text(text)
    monkeypatch.delenv("ENCORE_HOME")
    monkeypatch.setenv("ENCORE_PROJECT", str(tmp_path))


def page(module: str, **query: str) -> AppTest:
    at = AppTest.from_string(SCRIPT.format(module=module), default_timeout=60)
    for name, value in query.items():
        at.query_params[name] = value
    return at


def run(at: AppTest) -> AppTest:
    at.run()
    assert [exception.value for exception in at.exception] == []
    return at


def texts(at: AppTest) -> str:
    """All that the page says in messages."""
    return "\n".join(
        element.value
        for kind in (at.error, at.warning, at.info, at.success, at.caption, at.markdown)
        for element in kind
    )


@pytest.mark.long
@pytest.mark.parametrize("module", PATHS)
def test_a_page_draws_for_another_shop(in_another_shop: None, module: str) -> None:
    at = run(page(module))
    assert at.title[0].value
    assert "user" not in texts(at).lower() or module in {"model", "quality"}


def test_pages_name_what_a_project_asks(in_another_shop: None) -> None:
    at = run(page("ask", customer_id="ann", item_id="tea"))
    assert [box.label for box in at.selectbox] == ["Customer", "Item"]
    assert [box.label for box in at.number_input] == ["Amount"]
    for module in ("shoppers", "decide"):
        assert "This needs" not in texts(run(page(module)))


def test_pages_of_pairs_follow_the_project(tmp_path: Path) -> None:
    draft = plain_shop("library")
    for asks, wanted in (
        (
            ("customer_id", "item_id", "amount"),
            AskedPair("customer_id", "item_id", "purchase", "purchases", "amount"),
        ),
        (("item_id", "customer_id"), AskedPair("customer_id", "item_id", "purchase", "purchases", None)),
        (("customer_id",), None),
    ):
        folder = tmp_path / "-".join(asks)
        folder.mkdir()
        asking = replace(draft, schema=msgspec.structs.replace(draft.schema, asks=asks))
        for name, text in project_files("library", asking, 0).items():
            (folder / name).write_text(text)
        assert asked_pair(open_project(folder)) == wanted


@pytest.mark.parametrize("module", PATHS)
def test_a_page_draws_over_a_running_system(in_shop: None, module: str, caplog: pytest.LogCaptureFixture) -> None:
    at = run(page(module))
    # No worker runs here, which the pages that tell of the system as a whole call wrong.
    told = {"overview": ("Something is wrong",), "alerts": ("**EncoreStreamUnwell**", "**EncoreFeaturesOld**")}
    assert [error.value for error in at.error if not error.value.startswith(told.get(module, "-"))] == []
    assert at.title[0].value
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("module", PATHS)
def test_a_page_says_what_to_do_where_nothing_runs(
    in_ruins: None, module: str, caplog: pytest.LogCaptureFixture
) -> None:
    at = run(page(module))
    said = texts(at)
    assert "Traceback" not in said
    assert [record for record in caplog.records if "could not draw" in record.message] == []
    if module != "batch":
        assert "encore" in said, said


@pytest.fixture
def in_silence(in_ruins: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Kafka, Redis and the API accept connections, and never answer."""
    with ExitStack() as stack:
        for name in ("KAFKA_SERVERS", "REDIS_PORT", "API_PORT"):
            deaf = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=100))
            port = deaf.getsockname()[1]
            monkeypatch.setenv(name, f"127.0.0.1:{port}" if name == "KAFKA_SERVERS" else str(port))
        yield


@pytest.mark.slow
@pytest.mark.parametrize("module", PATHS)
def test_a_page_says_in_words_who_hangs_and_does_not_hang_itself(in_silence: None, module: str) -> None:
    at = page(module, user="ann", product="coffee")
    began = time.monotonic()
    run(at)
    took_s = time.monotonic() - began
    said = texts(at)
    assert module == "batch" or "within" in said or "does not answer" in said
    assert "no model" not in said.lower()
    assert '{"' not in said
    # Each of the three is waited for once, two seconds at most; then importing, on a machine that does other work.
    assert took_s < 10, said


def test_a_page_tells_no_model_from_no_api(in_ruins: None) -> None:
    for module in ("model", "version", "quality", "feature", "ask"):
        said = texts(run(page(module, user="ann", product="coffee")))
        assert "does not answer" in said, module
        assert "no model" not in said.lower(), module


def test_the_overview_says_what_sells_who_is_due_and_what_it_is_worth(in_shop: None) -> None:
    at = run(page("overview"))
    values = {metric.label: metric.value for metric in at.metric}
    assert values["Purchases"] == "3"
    assert values["Different users"] == "1"
    assert "Nothing is wrong" not in texts(at)
    assert any("product" in table.value and "against before" in table.value for table in at.dataframe)


def test_scores_say_when_they_were_made_and_keep_their_question(in_shop: None, monkeypatch: pytest.MonkeyPatch) -> None:
    at = run(page("shoppers"))
    at.toggle[0].set_value(False)
    at.slider[0].set_value(30)
    assert re.search(r"Scored at \S+ \S+ UTC\.", texts(run(at)))
    # The API is gone, and with it whoever could say what the scores of before answer.
    monkeypatch.setenv("API_PORT", str(free_port()))
    streamlit.cache_resource.clear()
    before = scored_regulars(2_000)
    assert before.question is not None
    assert before.question.within == "within 30 days"


def test_a_probability_has_its_horizon_and_base_rate_beside_it(in_shop: None) -> None:
    said = texts(run(page("ask", user="ann", product="coffee")))
    assert "within 30 days the user buys the product again" in said
    assert "on average" in said


def test_a_slider_stays_where_it_was_moved_while_its_value_changes(
    in_shop: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This shop's clock stands still, so each answer is given as of an hour later than the one before."""
    feature, hours = "user_days_since_first_event", count()

    def later(question: dict[str, Any]) -> dict[str, Any] | None:
        answer = explained(question)
        assert answer is not None
        answer["features_used"][feature] += next(hours) / 24
        return answer

    monkeypatch.setattr("server.console.screens.shop.ask.explained", later)
    at = run(page("ask", user="ann", product="coffee"))
    at.multiselect(key="moved").set_value([feature])
    key = f"what_if:ann:coffee:{feature}"
    slider = run(at).slider(key=key)
    slider.set_value(slider.max)
    for _ in range(3):
        assert run(at).slider(key=key).value == slider.max
        assert r"Hypothetical\." in texts(at)


def test_a_version_tells_its_origin_and_when_it_will_be_judged(in_shop: None) -> None:
    at = run(page("version"))
    said = texts(at)
    assert "It is the champion" in said
    assert "live predictions are kept" in said
    assert "Champion of repeat purchase" in said
    assert {"Promote", "Roll back", "Retrain", "Try as challenger"} <= {button.label for button in at.button}


def test_a_feature_tells_its_formula_and_who_uses_it(in_shop: None) -> None:
    at = run(page("feature", feature="user_purchases_7d"))
    assert at.subheader[0].value == r"Purchases\, last 7 days \(user\)"
    assert at.code[0].value == "Total(count of purchase, 7d in tiles of 1 hour)"
    [use] = [table.value for table in at.dataframe if "importance" in table.value]
    assert use["is"].tolist() == ["champion"]
    assert "feature services with it" in texts(at)


def test_the_past_is_drawn_from_what_the_monitor_kept(in_shop: None, shop: Shop) -> None:
    settings = read_settings(home=shop.home)
    at = run(page("past"))
    assert "Nothing is kept of this time" in texts(at)
    append_reading(past_folder(settings), Reading(wall_clock(), {"lag": 7.0, "lag.0": 7.0}))
    at = run(page("past"))
    assert "As the monitor kept it" in texts(at)
    assert [one.value for one in at.markdown if one.value.startswith("**Lag")] == ["**Lag**", "**Lag by partition**"]


def test_asking_scores_and_shows_what_it_rests_on(in_shop: None) -> None:
    at = run(page("ask", user="ann", product="coffee"))
    assert "the threshold of" in texts(at)
    [ages, features, done] = at.dataframe
    assert ages.value["of"].tolist() == ["user", "product", "user and product"]
    count = features.value.set_index("name").loc["user_purchase_count"]
    assert count["value"] == "3"
    assert (count["feature"], count["of"]) == ("Purchases", "user")
    assert "Number of purchases" in count["meaning"]
    assert len(done.value) == 5


def test_a_user_that_nobody_knows_is_a_cold_start(in_shop: None) -> None:
    at = run(page("ask", user="<b>eve</b>", product="**tea**"))
    said = texts(at)
    assert "cold start" in said
    assert "nobody has seen user" in said
    assert "has no history" in said
    assert "<b>eve" not in said


def test_who_is_due_and_what_a_user_buys_again(in_shop: None) -> None:
    at = run(page("shoppers", user="ann"))
    at.toggle[0].set_value(False)
    at.slider[0].set_value(30)
    run(at)
    due, bought = at.dataframe
    assert due.value[["user", "product", "events"]].to_numpy().tolist() == [["ann", "coffee", 3]]
    # 20, 10 and 0 days ago: due ten days after the last, which was an hour before noon.
    assert due.value["due"].tolist() == ["in 10.0 d"]
    assert bought.value["product"].tolist() == ["coffee"]


def test_dead_letters_are_shown_as_text(in_shop: None, shop: Shop) -> None:
    from kafka import KafkaProducer

    producer = KafkaProducer(bootstrap_servers=shop.environment["KAFKA_SERVERS"])
    headers = [("kind", b"invalid"), ("reason", b"<img src=x>"), ("partition", b"2"), ("offset", b"7")]
    producer.send(dead_letter_topic(), b'{"user_id": "<script>alert(1)</script>"', headers=headers).get(10)
    producer.close()
    at = run(page("live"))
    [letters] = [table for table in at.dataframe if "reason" in table.value]
    letter = letters.value.iloc[0]
    assert letter[["kind", "reason", "stood at"]].tolist() == ["invalid", "<img src=x>", "2:7"]
    assert "<script>" in letter["message"]


def test_drift_is_told_under_the_model_that_it_was_found_for(in_shop: None, shop: Shop) -> None:
    """After a rollback the report is still of the champion before."""
    champion = Registry(shop.home / "models").resolve("repeat_purchase")
    settings = read_settings(home=shop.home)
    for model, shown in ((champion, True), ("20260101-000000-abcdef", False)):
        found = {
            "target": "repeat_purchase",
            "at": "2026-03-01T12:00:00Z",
            "model": model,
            "rows": 700,
            "psi": {"user_view_count": 0.4},
            "drifted": ["user_view_count"],
            "note": "",
        }
        write_report(settings, "drift", [found])
        at = run(page("quality"))
        assert any("PSI" in table.value for table in at.dataframe) == shown
        assert (f"Champion is `{champion}`; drift was last looked for under `{model}`" in texts(at)) != shown
    (settings.quality / "drift.json").unlink()


def test_an_experiment_is_planned_and_read(in_shop: None) -> None:
    at = run(page("decide"))
    values = {metric.label: metric.value for metric in at.metric}
    assert values["Customers per arm"] == r"3\,841"
    assert values["p\\-value" if "p\\-value" in values else "p-value"] == r"0\.0100"
    at.number_input(key="x2").set_value(999_999)
    run(at)
    assert any("no more buyers than customers" in error.value for error in at.error)
